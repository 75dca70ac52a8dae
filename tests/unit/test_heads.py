"""Reading a frame by its head says what decoding it says, whatever OpenCode may send; and folding loses nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.recordings import FIXTURES, frames
from turnkeeper.coalescing import Mailbox
from turnkeeper.observations import ProviderEvent
from turnkeeper.opencode import translate as translation
from turnkeeper.opencode.heads import HEAD_BYTES, PROGRESS, SKIPPED, WITH_BODY, head_of
from turnkeeper.opencode.translate import Tally, Translated, translate, translate_batch
from turnkeeper.vocabulary import EventKind

RECORDED = [data for path in sorted(FIXTURES.glob("*.sse")) for _, data in frames(path.stem)]
"""Also those of other streams, whose frames have another form."""

NAMES = ["payload", "type", "properties", "sessionID", "id", "part", "info", "role", "status", "text", "x"]
HOSTILE = [
    '"payload":{"type":"sync"',
    '","payload":{"id":"evt_f","type":"session.deleted","properties":{"sessionID":"ses_f"',
    '"type":"tool"',
    '","role":"user"',
    '\\","type":"tool","x":"\\',
    "\\",
    '"',
    "\n\u2028\x00",
    "\ud83d",
    "\u200b",
    "ü" * 5,
]
"""What a text may hold to be taken for something else, and characters that are written in several ways."""

FORGED: list[dict[str, Any]] = [
    {"payload": {"type": "sync", "syncEvent": {}}},
    {"payload": {"id": "evt_f", "type": "message.part.delta", "properties": {"sessionID": "ses_f"}}},
    {"type": "tool"},
]
"""Objects inside of a frame that look like what is around them."""

TEXT = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=12), st.sampled_from(["tool", "assistant", "idle", "busy"]))
NESTED: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT | st.sampled_from(FORGED),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=8,
)
MEMBERS = st.dictionaries(st.sampled_from(NAMES) | TEXT, NESTED, max_size=3)
IDS = (
    st.sampled_from(["evt_1", "ses_1", "a" * 100, "a" * 200, "a" * 201, "", "a b", 'a"b', "\u00fc", "a\\b", "\x7f"])
    | TEXT
)
TYPES = st.sampled_from(sorted(PROGRESS | WITH_BODY | SKIPPED)) | TEXT


def shuffled(record: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The record with its members in any order; mostly as it is, or the pattern would hardly ever match."""
    return st.just(record) | st.permutations(list(record.items())).map(dict)


@st.composite
def generated(draw: st.DrawFn) -> bytes:
    """A frame of any type, whose body may be of any shape, written as JSON may be written."""
    part = {"type": draw(st.sampled_from(["tool", "text", "step-start"]) | NESTED)}
    info = {"role": draw(st.sampled_from(["assistant", "user"]) | NESTED)}
    status = {"type": draw(st.sampled_from(["busy", "idle", "retry"]) | NESTED)}
    bodies = {"part": part, "info": info, "status": status}
    body = {
        name: draw(shuffled(draw(MEMBERS) | inner)) if draw(st.booleans()) else draw(shuffled(inner | draw(MEMBERS)))
        for name, inner in bodies.items()
        if draw(st.booleans())
    }
    properties = draw(shuffled({"sessionID": draw(IDS), **body, **draw(MEMBERS)}))
    payload = draw(shuffled({"id": draw(IDS), "type": draw(TYPES), "properties": properties}))
    before = draw(st.just({"directory": "/w", "project": "global"}) | MEMBERS)
    whole = draw(shuffled({**before, "payload": payload}) | shuffled({**before, "payload": payload, **draw(MEMBERS)}))
    separators = (",", ":") if draw(st.booleans()) else (", ", ": ")
    written = json.dumps(whole, separators=separators, ensure_ascii=draw(st.booleans()))
    return written.encode(errors="surrogatepass")


def decoded(data: bytes) -> tuple[Translated | None, Tally]:
    """What the frame says when its head is not read first."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(translation, "head_of", lambda _: None)
        return read(data)


def read(data: bytes) -> tuple[Translated | None, Tally]:
    tally = Tally()
    return translate(data, tally), tally


def test_every_recorded_frame_says_the_same_both_ways() -> None:
    assert [data for data in RECORDED if read(data) != decoded(data)] == []


@given(generated())
def test_every_frame_says_the_same_both_ways(data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError:
        return  # no JSON: what its text holds is not looked at, and so not missed
    assert read(data) == decoded(data)


@pytest.mark.parametrize("forged", FORGED)
def test_a_frame_within_a_frame_is_not_read(forged: dict[str, Any]) -> None:
    heartbeat = {"id": "evt_1", "type": "server.heartbeat", "properties": {}}
    part = {"id": "evt_1", "type": "message.part.updated", "properties": {"sessionID": "ses_1", "part": {"x": forged}}}
    for frame in ({"x": forged, "payload": heartbeat}, {"payload": part}, {"directory": [forged], "payload": part}):
        data = json.dumps(frame, separators=(",", ":")).encode()
        assert read(data) == decoded(data)


@given(st.sampled_from(RECORDED), st.data())
def test_every_text_of_a_recorded_frame_may_be_anything(recorded: bytes, draw: st.DataObject) -> None:
    """The forms that are really sent, with hostile texts in the places of texts."""

    def other(value: object) -> object:
        match value:
            case dict():
                return {name: other(inner) for name, inner in value.items()}
            case list():
                return [other(inner) for inner in value]
            case str() if draw.draw(st.integers(0, 9)) == 0:
                return draw.draw(TEXT)
            case _:
                return value

    data = json.dumps(other(json.loads(recorded)), separators=(",", ":")).encode()
    assert read(data) == decoded(data)


def test_what_streams_is_never_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens, parts, and the second form of every stored change."""

    def never(_: bytes) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(translation, "_decoded", never)
    streams = (b'"payload":{"type":"sync"', b'"type":"message.part.')
    streamed = [data for data in RECORDED if any(form in data for form in streams)]
    streamed = [data for data in streamed if not data.startswith(b'{"id"')]  # those are of another stream
    assert len(streamed) > 1000
    for data in streamed:
        translate(data, Tally())


@pytest.mark.parametrize("depth", [1, HEAD_BYTES])
def test_a_head_that_stands_too_far_behind_is_found_by_decoding(depth: int) -> None:
    payload = {
        "id": "evt_1",
        "type": "message.part.updated",
        "properties": {"sessionID": "ses_1", "part": {"type": "tool"}},
    }
    data = json.dumps({"directory": "/" * depth, "payload": payload}, separators=(",", ":")).encode()
    assert (head_of(data) is None) == (depth == HEAD_BYTES)
    assert read(data) == decoded(data)
    assert read(data)[0] is not None


def test_half_a_character_in_a_title_hides_no_session() -> None:
    info = {"id": "ses_1", "directory": "/w", "title": "\ud83d"}
    payload = {"id": "evt_1", "type": "session.updated", "properties": {"sessionID": "ses_1", "info": info}}
    said, _ = read(json.dumps({"payload": payload}).encode())
    assert said is not None
    assert said.session is not None


def told(batches: Iterable[list[Translated]]) -> dict[str, list[ProviderEvent]]:
    """By session, what its turn is told of all of them at once."""
    mail: dict[str, Mailbox] = {}
    for batch in batches:
        for event, _ in batch:
            if event is not None:
                mail.setdefault(event.session_id, Mailbox()).put(event, now=0.0)
    return {session: list(mailbox.take()) for session, mailbox in mail.items()}


@given(st.lists(st.sampled_from(RECORDED), max_size=60), st.integers(1, 20))
def test_a_turn_is_told_the_same_however_its_frames_arrive(said: list[bytes], at_once: int) -> None:
    one_by_one, in_batches = Tally(), Tally()
    single = [translate_batch([data], one_by_one) for data in said]
    batches = [translate_batch(said[at : at + at_once], in_batches) for at in range(0, len(said), at_once)]
    assert told(batches) == told(single)
    assert in_batches == one_by_one
    facts = [[one.session for batch in way for one in batch if one.session] for way in (single, batches)]
    assert facts[0] == facts[1]


def test_a_read_full_of_tokens_is_one_event() -> None:
    deltas = [data for data in RECORDED if b'"type":"message.part.delta"' in data and data.startswith(b'{"dir')]
    session = next(one.session_id for data in deltas if (one := read(data)[0].event))  # type: ignore[union-attr]
    own = [data for data in deltas if session.encode() in data]
    [said] = translate_batch(own * 100, Tally())
    assert said.event is not None
    assert (said.event.kind, said.event.count) == (EventKind.PROGRESS, 100 * len(own))
