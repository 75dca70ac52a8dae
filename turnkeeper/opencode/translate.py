"""Frames of OpenCode's global event stream -> canonical events, facts about sessions, or nothing. Pure.

Events are hints: they make a turn look, they decide nothing. So a frame that cannot be read is counted and skipped,
and the price of a frame matters more than its content: a token of streamed text is a frame of 300 bytes, every stored
change comes twice (the second time as `sync`), and one JavaScript thread behind it sends up to a thousand a second.

What the head of a frame tells is taken from there (`heads`); the JSON is decoded, once, only where its body is needed
or where the head is not as expected. Both ways say the same: tests/unit/test_heads.py.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from turnkeeper.coalescing import Heard
from turnkeeper.opencode.assess import ABORT_ERROR
from turnkeeper.opencode.heads import PROGRESS, SKIPPED, WITH_BODY, Head, head_of, progress_of
from turnkeeper.opencode.marks import SessionFacts, facts_of_session
from turnkeeper.opencode.wire import MAX_ID, MessageError, Session
from turnkeeper.opencode.wording import foreign
from turnkeeper.vocabulary import EventKind

MAX_DECODED_BYTES: Final = 1024 * 1024
"""Of a frame whose body has to be decoded. Those that say something have some kilobytes; a user message's diffs, which
may be megabytes, say nothing to a turn."""

MAX_UNKNOWN_TYPES: Final = 50
"""Names of unknown events that are remembered for an operator. OpenCode has about 90 types in all."""

MAX_DETAIL: Final = 300
"""Characters of an event's detail: it enters histories."""

INTERRUPTED: Final = "All fibers interrupted"
"""In the error of a request whose connection broke while its directory was being started (seen on 1.18.33): it says
what became of the request and nothing against the prompt, which may be stored and is then not run."""

_STATUS: Final = {b"busy": EventKind.BUSY, b"idle": EventKind.IDLE}
"""Statuses that say everything by their type."""

_ERROR: Final = TypeAdapter(MessageError)
_SESSION: Final = TypeAdapter(Session)


@dataclass(slots=True)
class Tally:
    """What became of the frames: for metrics, and for an operator who asks why nothing arrives."""

    frames: int = 0
    translated: int = 0
    skipped: int = 0  # known and of no use here, `sync` twins included
    unknown: int = 0  # of a type that this version does not know
    malformed: int = 0  # not JSON, not of its type's shape, or too big to be decoded
    oversized: int = 0  # dropped unread by the frame splitter
    unknown_types: Counter[str] = field(default_factory=Counter)


class Translated(NamedTuple):
    """What a frame says: an event, facts that route events, or both. A cheap tuple, as one is made for every token."""

    event: Heard | None = None
    session: SessionFacts | None = None


class _MalformedError(Exception):
    """The frame is not what its type promises."""


def translate_batch(frames: Iterable[bytes], tally: Tally) -> list[Translated]:
    """What the frames of one read say, in order. Never raises.

    Progress of a session is folded into one event, until something else is said.
    """
    said: list[Translated] = []
    folded: dict[bytes, Heard] = {}
    for frame in frames:
        tally.frames += 1
        head = head_of(frame)
        progress = progress_of(head) if head is not None else None
        if progress is not None:
            tally.translated += 1
            kind, session, event_id = progress
            event = folded.get(session)
            if event is None:
                folded[session] = Heard(event_id.decode(), kind, session.decode())
                continue
            event.id = event_id.decode()
            event.count += 1
            if kind is EventKind.TOOL:
                event.kind = kind  # the whole of it is then worth a look
        elif (one := _translate_one(frame, head, tally)) is not None:
            said += map(Translated, folded.values())
            folded.clear()
            said.append(one)
    said += map(Translated, folded.values())
    return said


def translate(frame: bytes, tally: Tally) -> Translated | None:
    """Translate the data of one frame. Never raises; None when it says nothing that a turn could use."""
    said = translate_batch((frame,), tally)
    return said[0] if said else None


def _translate_one(frame: bytes, head: Head | None, tally: Tally) -> Translated | None:
    try:
        result = _translate(frame, head, tally)
    except (ValueError, RecursionError, _MalformedError):  # a ValidationError and a JSON error are ValueErrors
        tally.malformed += 1
        return None
    if result is not None:
        tally.translated += 1
    return result


def _translate(frame: bytes, head: Head | None, tally: Tally) -> Translated | None:
    if head is None:
        return _translate_payload(_payload(frame), tally)
    sync, event_id, kind, session, _, role, status = head
    if sync is not None:
        tally.skipped += 1
        return None
    name = kind.decode()
    if name == "session.status" and session is not None and status in _STATUS:
        return _event(event_id.decode(), _STATUS[status], session.decode())
    if name == "message.updated" and role is not None:
        tally.skipped += 1  # not the assistant's: see `_message_event`
        return None
    if name in WITH_BODY or name in PROGRESS:
        return _translate_payload(_payload(frame), tally)
    _skip(name, tally)
    return None


def _translate_payload(payload: dict[str, Any], tally: Tally) -> Translated | None:
    name = _text(payload, "type")
    if name not in WITH_BODY and name not in PROGRESS:
        _skip(name, tally)
        return None
    properties = payload.get("properties")
    if not isinstance(properties, dict):
        raise _MalformedError
    result = _translate_body(name, _text(payload, "id"), properties)
    if result is None:
        tally.skipped += 1
    return result


def _translate_body(name: str, event_id: str, properties: dict[str, Any]) -> Translated | None:
    match name.partition(".")[0]:
        case "permission" | "question":
            return _request_event(name, event_id, properties)
        case "session" if name != "session.compacted":
            return _session_event(name, event_id, properties)
        case _ if name == "message.updated":
            return _message_event(event_id, properties)
        case _:
            part = properties.get("part") if name == "message.part.updated" else None
            tool = isinstance(part, dict) and part.get("type") == "tool"
            return _event(event_id, EventKind.TOOL if tool else EventKind.PROGRESS, _text(properties, "sessionID"))


def _session_event(name: str, event_id: str, properties: dict[str, Any]) -> Translated | None:
    match name:
        case "session.status":
            return _status_event(event_id, properties)
        case "session.error":
            # A failure outside any session (a plugin, say) carries no session and concerns no turn.
            session_id = properties.get("sessionID")
            if not isinstance(session_id, str):
                return None
            session_id = _text(properties, "sessionID")
            error, words = _error_words(properties.get("error"))
            if error == ABORT_ERROR:
                # Said only of a run that has its assistant message, and idle follows at once (measured on 1.18.33). It
                # never explains a prompt that was not run: the abort of an earlier turn may arrive late.
                return None
            if INTERRUPTED in words:
                return _event(event_id, EventKind.IDLE, session_id, words, cut_off=True)
            return _event(event_id, EventKind.SESSION_ERROR, session_id, words)
        case _:
            session = _SESSION.validate_python(properties.get("info"))
            deleted = name == "session.deleted"
            event = _event(event_id, EventKind.SESSION_DELETED, session.id).event if deleted else None
            return Translated(event=event, session=facts_of_session(session))


def _status_event(event_id: str, properties: dict[str, Any]) -> Translated | None:
    status = properties.get("status")
    if not isinstance(status, dict):
        raise _MalformedError
    session_id = _text(properties, "sessionID")
    match status.get("type"):
        case "retry":
            words = f"attempt {status.get('attempt')}: {status.get('message')}"
            return _event(event_id, EventKind.RETRYING, session_id, words)
        case "busy":
            return _event(event_id, EventKind.BUSY, session_id)
        case "idle":
            return _event(event_id, EventKind.IDLE, session_id)
        case _:
            raise _MalformedError


def _message_event(event_id: str, properties: dict[str, Any]) -> Translated | None:
    info = properties.get("info")
    if not isinstance(info, dict):
        raise _MalformedError
    if info.get("role") != "assistant":
        return None  # a prompt's summary is still written after the turn is over: no progress
    return _event(event_id, EventKind.PROGRESS, _text(properties, "sessionID"))


def _request_event(name: str, event_id: str, properties: dict[str, Any]) -> Translated | None:
    session_id = _text(properties, "sessionID")
    if name.endswith(".asked"):
        return _event(event_id, EventKind.REQUEST_OPENED, session_id, f"{name} {_text(properties, 'id')}")
    return _event(event_id, EventKind.REQUEST_CLOSED, session_id, f"{name} {_text(properties, 'requestID')}")


def _error_words(error: object) -> tuple[str, str]:
    """The error's name, and what is told of it."""
    try:
        known = _ERROR.validate_python(error)
    except ValidationError:
        return "", "an error of unknown shape"
    return known.name, f"{known.name}: {known.data.message}"


def _event(event_id: str, kind: EventKind, session_id: str, detail: str = "", *, cut_off: bool = False) -> Translated:
    words = foreign(detail, MAX_DETAIL) if detail else ""
    return Translated(Heard(event_id, kind, session_id, words, cut_off=cut_off))


def _skip(name: str, tally: Tally) -> None:
    if name in SKIPPED:
        tally.skipped += 1
        return
    tally.unknown += 1
    if name in tally.unknown_types or len(tally.unknown_types) < MAX_UNKNOWN_TYPES:
        tally.unknown_types[name] += 1


def _payload(frame: bytes) -> dict[str, Any]:
    if len(frame) > MAX_DECODED_BYTES:
        raise _MalformedError
    envelope = _decoded(frame)
    payload = envelope.get("payload") if isinstance(envelope, dict) else None
    if not isinstance(payload, dict):
        raise _MalformedError
    return payload


def _decoded(frame: bytes) -> object:
    """By the fast parser; what it refuses (half characters, which JavaScript writes) by Python's own."""
    try:
        return from_json(frame)
    except ValueError:
        return json.loads(frame)


def _text(record: dict[str, Any], key: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID or not value.isprintable():
        raise _MalformedError
    return value
