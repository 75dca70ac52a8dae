"""What one reading of the provider says about one turn. Pure: the decision table of OpenCode 1.18's behaviour.

Two rules. The status must have been read *before* the messages: read the other way round, a turn that ends in
between looks lost. And this module never waits, counts or remembers: readings that can mean "between two writes"
get a standing of their own (UNSTARTED, HALTED), and the core demands a second one before it believes them.

The numbers in the comments are the rows of the table that the behaviour was written down in, kept as the names of
the cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from turnkeeper.limits import MAX_RUNNING_TEXT, MAX_TEXT_BYTES
from turnkeeper.observations import NotThere, OpenRequest, Seen
from turnkeeper.opencode import evidence
from turnkeeper.opencode.asked import open_requests
from turnkeeper.opencode.failures import failure_of_message
from turnkeeper.opencode.family import Family, find_family, is_shell_call
from turnkeeper.opencode.wire import Message, PermissionRequest, QuestionRequest, StatusEntry
from turnkeeper.sizes import fitting
from turnkeeper.vocabulary import Standing

ABORT_ERROR: Final = "MessageAbortedError"
PERSON_SAID_NO: Final = ("The user rejected permission", "The user dismissed")
"""How the error of a refused tool call begins (measured on 1.18.33)."""

SAID_WHY: Final = "with the following feedback"
"""In the error of a refusal that told the agent what to do instead: the agent goes on from there."""

_AT_WORK: Final = frozenset({Standing.RUNNING, Standing.WAITING, Standing.UNSTARTED})

MAX_REQUESTS: Final = 20
"""Open requests of one reading; the others show as these are answered."""


@dataclass(frozen=True, slots=True)
class ChildSession:
    """A child session of an open `task` tool, as far as one reading shows it."""

    session_id: str
    active: bool
    progress: str = ""  # changes when the child stored something


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was read, in the order of reading. `requests` may hold those of the whole directory."""

    status: StatusEntry | None
    messages: Sequence[Message]
    requests: Sequence[PermissionRequest | QuestionRequest] = ()
    children: Sequence[ChildSession] = ()

    @property
    def active(self) -> bool:
        """Does the session work on something, whatever it is?"""
        return self.status is not None and self.status.active


def assess(
    snapshot: Snapshot, message_id: str, text_limit: int, directory: str = "", steers: Sequence[str] = ()
) -> Seen | NotThere:
    """Where the turn of the prompt `message_id` stands. `text_limit` in characters; `directory` is the turn's."""
    family = find_family(snapshot.messages, message_id, steers)
    if family is None:
        return NotThere(what="prompt", busy=snapshot.active)
    requests = _open_requests(snapshot, family)
    standing = _standing(snapshot, family, waiting=bool(requests))
    text = evidence.answer_text(family)
    most = min(text_limit, MAX_RUNNING_TEXT) if standing in _AT_WORK else text_limit
    kept = fitting(text[:most], MAX_TEXT_BYTES)
    last = family.last
    return Seen(
        standing=standing,
        detail=evidence.describe(standing, snapshot.status, family, requests),
        fingerprint=evidence.fingerprint(snapshot.status, family, [child.progress for child in snapshot.children]),
        message_id=last.info.id if last else None,
        text=kept,
        text_truncated=len(text) > len(kept),
        usage=evidence.usage(family),
        tools=evidence.latest_tools(family, directory),
        tool_calls=sum(1 for _ in family.tool_parts()),
        open_tools=sum(part.open for part in family.tool_parts()),
        open_requests=requests if standing is Standing.WAITING else (),
        retry_at=_retry_at(snapshot.status) if standing is Standing.RUNNING else None,
        steered=family.steered,
        unanswered=family.unanswered,
        failure=failure_of_message(last.info) if last and standing is Standing.FAILED else None,
    )


def _standing(snapshot: Snapshot, family: Family, *, waiting: bool) -> Standing:
    last = family.last
    if last is None:
        return _standing_unanswered(snapshot, family)
    if last.info.time.completed is None:
        return _standing_unfinished(snapshot, family, waiting=waiting)
    if snapshot.active and not family.followed:
        return Standing.RUNNING  # 11: the next step, a compaction, or settling
    return _standing_finished(snapshot, family, last)


def _standing_unanswered(snapshot: Snapshot, family: Family) -> Standing:
    if snapshot.active:
        return Standing.RUNNING  # 3: beginning, or another prompt runs first
    if family.overtaken:
        return Standing.ABSORBED  # 4
    return Standing.UNSTARTED  # 5, 6, 7


def _standing_unfinished(snapshot: Snapshot, family: Family, *, waiting: bool) -> Standing:
    if not snapshot.active or family.overtaken:
        return Standing.HALTED  # 10; also when the session already answers a later prompt over its corpse
    return Standing.WAITING if waiting else Standing.RUNNING  # 9, 8


def _standing_finished(snapshot: Snapshot, family: Family, last: Message) -> Standing:
    error = last.info.error
    if error is not None:
        return Standing.ABORTED if error.name == ABORT_ERROR else Standing.FAILED  # 12, 13
    if last.info.compaction:
        return Standing.HALTED  # a summary is never the answer: OpenCode continues after it, or died before it could
    match last.info.finish:
        case "stop":
            return Standing.SUCCEEDED  # 14
        case "length":
            return Standing.TRUNCATED  # 14
        case "tool-calls" | "unknown":
            return _standing_between_steps(snapshot, family, last)
        case None:
            return Standing.SUCCEEDED if is_shell_call(last) else Standing.HALTED  # 19
        case "content-filter" | "error":
            return Standing.FAILED  # OpenCode 1.18 reports these as errors; other builds may not
        case _:
            return Standing.SUCCEEDED  # OpenCode's loop ends on every other finish


def _standing_between_steps(snapshot: Snapshot, family: Family, last: Message) -> Standing:
    if snapshot.active and not family.overtaken:
        return Standing.RUNNING  # a later prompt waits; the next step may still be ours
    if last.info.structured is not None:
        return Standing.SUCCEEDED  # 15
    if family.followed:
        return Standing.ABSORBED  # 17
    if any(_is_final_no(part.state.error) for part in last.parts if part.state is not None):
        return Standing.REFUSED  # 16
    return Standing.HALTED  # 18


def _is_final_no(error: str) -> bool:
    return error.startswith(PERSON_SAID_NO) and SAID_WHY not in error


def _open_requests(snapshot: Snapshot, family: Family) -> tuple[OpenRequest, ...]:
    """Requests of this turn. Stale ones stay listed after an abort, so only those of an open tool or child count."""
    session_id = family.prompt.info.session_id
    open_calls = {part.call_id for part in family.tool_parts() if part.open}
    children = {child.session_id for child in snapshot.children if child.active}
    ours = (
        request
        for request in snapshot.requests
        if request.session_id in children
        or (
            request.session_id == session_id and open_calls and (not request.tool or request.tool.call_id in open_calls)
        )
    )
    return open_requests(islice(ours, MAX_REQUESTS))


def _retry_at(status: StatusEntry | None) -> datetime | None:
    if status is None or status.type != "retry" or status.next <= 0:
        return None
    try:
        return datetime.fromtimestamp(status.next / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None  # a `retry-after` wins without a cap, and may be beyond any calendar
