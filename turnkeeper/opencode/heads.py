"""The head of a frame, read without decoding the frame. Pure, and exact.

A token of streamed text is a frame of 300 bytes and says nothing but that the turn goes on; decoding it costs several
times what everything else costs. The pattern is anchored at the first byte and steps over whole JSON strings, so it
always knows in which object it is: text that looks like a head is inside a string, and other objects are not entered.
It reads members in the order in which OpenCode 1.18.33 writes them in every recording. Whatever stands in another
order does not match, and the frame is decoded.

Two things are taken on trust: that the rest of the frame is JSON, and that no object names a key twice
(`JSON.stringify` cannot).
"""

from __future__ import annotations

import re
from typing import Final, cast

from turnkeeper.opencode.wire import MAX_ID
from turnkeeper.vocabulary import EventKind

HEAD_BYTES: Final = 16 * 1024
"""Where the head must be found: a directory of Linux's PATH_MAX, escaped, stands in front of it."""

PROGRESS: Final = frozenset({"message.part.delta", "message.part.updated", "session.compacted"})
WITH_BODY: Final = frozenset(
    {
        "message.updated",
        "permission.asked",
        "permission.replied",
        "question.asked",
        "question.rejected",
        "question.replied",
        "session.created",
        "session.deleted",
        "session.error",
        "session.status",
        "session.updated",
    }
)
SKIPPED: Final = frozenset(
    {
        "catalog.updated",
        "command.executed",
        "file.edited",
        "file.watcher.updated",
        "global.disposed",
        "installation.update-available",
        "installation.updated",
        "integration.updated",
        "lsp.client.diagnostics",
        "lsp.updated",
        "mcp.tools.changed",
        "message.part.removed",
        "message.removed",
        "plugin.added",
        "project.updated",
        "pty.created",
        "pty.deleted",
        "pty.exited",
        "pty.updated",
        "reference.updated",
        "server.connected",
        "server.heartbeat",
        "server.instance.disposed",
        "session.diff",
        "session.idle",  # the second form of a `session.status`
        "sync",  # the second form of every stored change
        "todo.updated",
        "vcs.branch.updated",
    }
)

_STRING: Final = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_WORD: Final = rf'"([ !#-\[\]-~]{{1,{MAX_ID}}})"'
"""Of printable ASCII without escapes: what the decoding way takes as a word, and no more."""


def _before(key: str) -> str:
    """Members whose values are strings, up to the one named `key`, which is read next."""
    return rf'(?:"(?!{key}")[^"\\]+":{_STRING},)*"{key}":'


_HEAD: Final = re.compile(
    (
        r"\{" + _before("payload") + r'\{(?:"type":"(sync)"|"id":' + _WORD + r',"type":' + _WORD + "(?:"
        r',"properties":\{"sessionID":' + _WORD + "(?:"
        r',"part":\{' + _before("type") + _WORD + "|"
        r',"info":\{' + _before("role") + _WORD + "|"
        r',"status":\{"type":' + _WORD + ")?)?)"
    ).encode()
)

Head = tuple[bytes | None, bytes, bytes, bytes | None, bytes | None, bytes | None, bytes | None]
"""`b"sync"` or None; event id and type, which a `sync` has not; session; the part's type, the message's role, the
status. None: not there, or not in front."""


def head_of(frame: bytes) -> Head | None:
    """The head of a frame, None where it has another form."""
    found = _HEAD.match(frame, 0, HEAD_BYTES)
    return cast("Head", found.groups()) if found is not None else None


def progress_of(head: Head) -> tuple[EventKind, bytes, bytes] | None:
    """Kind, session and event id of what only says that work goes on; None: something else, or not told by the head."""
    _, event_id, name, session, part, role, _ = head
    if session is None:
        return None
    if name == b"message.part.delta":
        return EventKind.PROGRESS, session, event_id
    if name == b"message.part.updated" and part is not None:
        return EventKind.TOOL if part == b"tool" else EventKind.PROGRESS, session, event_id
    if (name == b"message.updated" and role == b"assistant") or name == b"session.compacted":
        return EventKind.PROGRESS, session, event_id
    return None
