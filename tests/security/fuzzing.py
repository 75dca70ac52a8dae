"""Recorded OpenCode traffic, mutated by structure and by bytes, and what must hold of whatever is made of it.

`python -m tests.security.fuzzing --seconds 600 --seed 7` (`make fuzz SECONDS=600`) goes on until the time is over and
keeps every input that breaks a rule in `tests/fixtures/fuzz`, where the tests play it ever after. Seeded, so that a run
can be had again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from temporalio.contrib.pydantic import pydantic_data_converter

from tests.unit.recordings import FIXTURES, frames
from turnkeeper.errors import ProviderError
from turnkeeper.observations import NotThere, Seen
from turnkeeper.opencode import wire
from turnkeeper.opencode.answers import explain_status, wrong_shape
from turnkeeper.opencode.assess import ChildSession, Snapshot, assess
from turnkeeper.opencode.frames import FrameSplitter
from turnkeeper.opencode.marks import facts_of_session
from turnkeeper.opencode.translate import MAX_DETAIL, MAX_UNKNOWN_TYPES, Tally, translate

CORPUS: Final = Path(__file__).parents[1] / "fixtures" / "fuzz"
TEXT_LIMIT: Final = 2000
MAX_SEEN: Final = 64 * 1024
"""Bytes of one reading as Temporal keeps it: it enters a history with every look."""
MAX_EVENT: Final = 2 * 1024
MAX_FAILURE: Final = 2 * 1024
SLOWEST: Final = 2.0
"""CPU seconds for one input of some hundred kilobytes: what takes longer grows faster than its input."""

NASTY: Final[Sequence[object]] = (
    None, True, False, 0, -1, 1.5, 1e308, -1e308, 10**30, 2**63, "", " ", "\0", "\n", "\x1b[2J", "ses_other", "busy",
    "idle", "retry", "tool", "user", "assistant", "a" * 100_000, "\u202e", "\ud800", "\U0001f600", "{}", "../..", [],
    {}, [[]], {"id": "x"}, {"type": "busy"}, ["x"] * 3000, {"name": "MessageAbortedError"}, {"sessionID": "ses_other"},
)  # fmt: skip
RAW: Final = (
    b"Infinity",
    b"NaN",
    b"1e999",
    b"-1e999",
    b'"\\ud800"',
    b"\xff",
    b"\0",
    b"[" * 5000,
    b"9" * 5000,
    b'"',
    b"}",
)


# --- mutation ---------------------------------------------------------------------------------------------------------


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few changes of the structure, of the bytes, or of both."""
    if rng.random() < 0.75:
        try:
            document = json.loads(data)
        except ValueError:
            pass
        else:
            for _ in range(rng.choice((1, 1, 2, 4))):
                document = _structurally(document, rng)
            data = json.dumps(document, separators=(",", ":")).encode()
    if rng.random() < 0.5:
        for _ in range(rng.choice((1, 1, 3))):
            data = _bytewise(data, rng)
    return data


def _structurally(document: object, rng: random.Random) -> object:
    """One change somewhere: a value replaced, taken out, doubled, moved, or renamed."""
    places: list[tuple[Any, Any]] = []
    _collect(document, places)
    if not places:
        return deepcopy(rng.choice(NASTY))
    holder, key = rng.choice(places)
    match rng.randrange(5):
        case 0 | 1:
            holder[key] = deepcopy(rng.choice(NASTY))
        case 2:
            del holder[key]
        case 3:
            other, place = rng.choice(places)
            try:
                holder[key] = json.loads(json.dumps(other[place]))
            except (KeyError, IndexError):
                holder[key] = None
        case _ if isinstance(holder, dict):
            holder[str(rng.choice(("id", "type", "sessionID", "info", "parts", "state", "x")))] = holder.pop(key)
        case _:
            holder.insert(key, holder[key])
    return document


def _collect(value: object, places: list[tuple[Any, Any]]) -> None:
    if isinstance(value, dict):
        inner: Sequence[tuple[Any, Any]] = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    else:
        return
    for key, below in inner:
        places.append((value, key))
        _collect(below, places)


def _bytewise(data: bytes, rng: random.Random) -> bytes:
    at, length = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 8, 100))
    match rng.randrange(4):
        case 0:
            return data[:at] + rng.choice(RAW) + data[at:]
        case 1:
            return data[:at] + data[at + length :]
        case 2:
            return data[:at] + rng.randbytes(length) + data[at + length :]
        case _:
            return data[:at]


# --- what must hold ---------------------------------------------------------------------------------------------------


def check_frame(data: bytes) -> None:
    """One frame: never an error, and nothing said that is too long, cannot be kept, or was not in the frame."""
    tally = Tally()
    said = translate(data, tally)
    assert tally.frames == 1
    assert tally.translated + tally.skipped + tally.unknown + tally.malformed == 1
    assert len(tally.unknown_types) <= MAX_UNKNOWN_TYPES
    if said is None:
        return
    assert said.event is not None or said.session is not None
    if said.event is not None:
        assert len(said.event.detail) <= MAX_DETAIL
        assert said.event.detail.isprintable() or not said.event.detail
        assert len(_kept(said.event.told())) <= MAX_EVENT
        assert _is_in(said.event.session_id, data)
    if said.session is not None:
        for text in (said.session.thread, said.session.namespace):
            assert text is None or text.encode()
        assert _is_in(said.session.session_id, data)


def check_stream(data: bytes) -> None:
    """A stream cut at any place gives the same frames, and no more is held than the limit."""
    rng = random.Random(len(data))  # noqa: S311 - chance that can be had again
    whole, limit = FrameSplitter(limit=4096), 4096
    expected = whole.feed(data)
    pieces, cut = FrameSplitter(limit=limit), []
    at = 0
    while at < len(data):
        step = rng.choice((1, 2, 7, 100, 5000))
        cut += pieces.feed(data[at : at + step])
        at += step
    # A line that comes whole in one read is in memory already: the limit is about what is held between reads.
    kept = [frame for frame in expected if len(frame) <= limit - 16]
    assert [frame for frame in cut if len(frame) <= limit - 16] == kept
    for frame in cut[:20]:
        check_frame(frame)


def check_messages(data: bytes) -> None:
    """A message list: refused as a whole, or judged. What is said is bounded, can be kept, and is of this turn."""
    try:
        messages = _MESSAGES.validate_json(data)
    except ValidationError as error:
        _check_failure(wrong_shape("reading the messages", error))
        return
    users = [message.info.id for message in messages if message.info.role == "user"][:3]
    statuses = (None, wire.StatusEntry(type="busy"), wire.StatusEntry(type="retry", attempt=3, next=1e300))
    for prompt in [*users, "msg_nowhere"]:
        for status in statuses:
            asking = [_asking("ses_stranger", "call_x"), *(_asking(m.info.session_id, "") for m in messages[:3])]
            snapshot = Snapshot(status, messages, asking, [ChildSession("ses_child", active=True)])
            found = assess(snapshot, prompt, TEXT_LIMIT, "/work", users[1:])
            assert prompt in users or isinstance(found, NotThere)
            if isinstance(found, Seen):
                _check_seen(found, messages, prompt)


def _check_seen(found: Seen, messages: Sequence[wire.Message], prompt: str) -> None:
    assert len(found.text) <= TEXT_LIMIT
    kept = _kept(found)
    assert len(kept) <= MAX_SEEN, len(kept)
    assert TypeAdapter(Seen).validate_json(kept) == found
    ids = {message.info.id for message in messages}
    assert found.message_id is None or found.message_id in ids
    own = next(message.info.session_id for message in messages if message.info.id == prompt)
    assert {request.session_id for request in found.open_requests} <= {own, "ses_child"}


def check_answer(data: bytes) -> None:
    """An error's body, and every other shape that is read: our own errors and nothing else, short and on one line."""
    for shape in _SHAPES:
        try:
            read = shape.validate_json(data)
        except ValidationError as error:
            _check_failure(wrong_shape("asking", error))
        else:
            if isinstance(read, wire.Session):
                facts = facts_of_session(read)
                assert facts.thread is None or facts.thread.encode()
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = None
    for status in (302, 400, 401, 404, 409, 418, 429, 500, 599):
        _check_failure(explain_status("asking", "box", status, body, ("hunter2-of-Ada",)))


def _check_failure(error: ProviderError) -> None:
    assert len(str(error).splitlines()) == 1
    assert len(_kept(error.failure())) <= MAX_FAILURE
    assert "hunter2-of-Ada" not in str(error)


def _asking(session: str, call: str) -> wire.PermissionRequest:
    tool = {"messageID": "msg_x", "callID": call} if call else None
    return wire.PermissionRequest.model_validate({"id": "per_1", "sessionID": session, "tool": tool})


def _kept(value: object) -> bytes:
    """As it enters a history."""
    (payload,) = pydantic_data_converter.payload_converter.to_payloads([value])
    return payload.data


def _is_in(session_id: str, data: bytes) -> bool:
    """As it is, or as JSON spells it."""
    return session_id.encode() in data or json.dumps(session_id)[1:-1].encode() in data or b"\\" in data


_MESSAGES: Final = TypeAdapter(tuple[wire.Message, ...])
_SHAPES: Final[Sequence[TypeAdapter[Any]]] = [
    TypeAdapter(shape)
    for shape in (
        wire.Session,
        tuple[wire.Session, ...],
        dict[str, wire.StatusEntry],
        tuple[wire.PermissionRequest, ...],
        tuple[wire.QuestionRequest, ...],
        wire.Providers,
        tuple[wire.Agent, ...],
        wire.Health,
    )
]

CHECKS: Final[dict[str, Callable[[bytes], None]]] = {
    "frame": check_frame,
    "stream": check_stream,
    "messages": check_messages,
    "answer": check_answer,
}


# --- seeds ------------------------------------------------------------------------------------------------------------


@cache
def seeds(target: str) -> tuple[bytes, ...]:
    """Recorded inputs of the target, each kind once."""
    streams = [path for path in sorted(FIXTURES.glob("*.sse")) if not path.stem.startswith("v2_")]
    if target == "stream":
        return tuple(path.read_bytes()[:20_000] for path in streams[:12])
    if target == "frame":
        found: dict[object, bytes] = {}
        for path in streams:
            for _, frame in frames(path.stem):
                payload = json.loads(frame).get("payload", {})
                found.setdefault((payload.get("type"), len(frame) // 400), frame)
        return tuple(found.values())
    records = [
        json.loads(path.read_text()) for path in sorted(FIXTURES.glob("*.json")) if not path.stem.startswith("v2_")
    ]
    finals = [record["final"] for record in records if "final" in record]
    if target == "messages":
        bodies = (final["GET /session/{id}/message"] for final in finals)
        return tuple(json.dumps(body["body"]).encode() for body in bodies if body["http_status"] == 200)
    parts = [final.get(key) for final in finals for key in ("GET /permission", "GET /question", "GET /session/status")]
    errors = [{"name": "NotFoundError", "data": {"message": "Session not found: hunter2-of-Ada"}}, {"message": "x"}]
    sessions = [
        child["session"] for final in finals if isinstance(final["children"], list) for child in final["children"]
    ]
    return tuple({json.dumps(part).encode(): None for part in [*parts, *errors, *sessions]})


def one(target: str, seed: int) -> bytes:
    """The input of that number."""
    rng = random.Random(f"{target} {seed}")  # noqa: S311 - chance that can be had again
    return mutated(rng.choice(seeds(target)), rng)


def judge(target: str, data: bytes) -> None:
    """Check one input, its time included."""
    began = time.process_time()
    CHECKS[target](data)
    assert time.process_time() - began < SLOWEST, "too slow"


def main(arguments: Sequence[str]) -> int:
    """Fuzz until the time is over."""
    parser = argparse.ArgumentParser(prog="fuzz")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    chosen = parser.parse_args(arguments)
    end, number, broken = time.monotonic() + chosen.seconds, chosen.seed, 0
    sys.stdout.write(f"seed {chosen.seed}\n")
    while time.monotonic() < end:
        for target in CHECKS:
            data = one(target, number)
            try:
                judge(target, data)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what was looked for
                broken += 1
                CORPUS.mkdir(exist_ok=True)
                kept = CORPUS / f"{target}-{hashlib.sha256(data).hexdigest()[:12]}"
                kept.write_bytes(data)
                sys.stdout.write(f"{kept.name}: {type(error).__name__}: {str(error)[:200]}\n")
        number += 1
    sys.stdout.write(f"{number - chosen.seed} inputs of each kind, {broken} broke a rule\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
