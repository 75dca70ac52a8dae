"""Frames to events: every recorded frame, every malformed one, and what routes them."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.recordings import FIXTURES, frames
from turnkeeper.coalescing import Heard
from turnkeeper.opencode.frames import FrameSplitter
from turnkeeper.opencode.marks import SessionFacts
from turnkeeper.opencode.translate import MAX_DETAIL, MAX_UNKNOWN_TYPES, Tally, Translated, translate
from turnkeeper.vocabulary import EventKind

V1_STREAMS = sorted(
    path.stem
    for path in FIXTURES.glob("*.sse")
    if not path.stem.startswith("v2_") and path.stem != "normal_event_scope"  # frames of /event have no envelope
)
KINDS = {
    "normal": {EventKind.PROGRESS, EventKind.BUSY, EventKind.IDLE},
    "error_http401": {EventKind.PROGRESS, EventKind.BUSY, EventKind.IDLE, EventKind.SESSION_ERROR},
    "error_http500_then_ok": {EventKind.PROGRESS, EventKind.BUSY, EventKind.IDLE, EventKind.RETRYING},
    "permission_once": {
        EventKind.PROGRESS,
        EventKind.TOOL,
        EventKind.BUSY,
        EventKind.IDLE,
        EventKind.REQUEST_OPENED,
        EventKind.REQUEST_CLOSED,
    },
    "question_rejected": {
        EventKind.PROGRESS,
        EventKind.TOOL,
        EventKind.BUSY,
        EventKind.IDLE,
        EventKind.REQUEST_OPENED,
        EventKind.REQUEST_CLOSED,
    },
    "heartbeat": set(),
}


def frame(kind: str, properties: object, event_id: str = "evt_1") -> bytes:
    payload = {"id": event_id, "type": kind, "properties": properties}
    return json.dumps({"directory": "/w", "project": "global", "payload": payload}, separators=(",", ":")).encode()


def translated(name: str) -> tuple[list[Translated], Tally]:
    tally = Tally()
    said = [translate(data, tally) for _, data in frames(name)]
    return [one for one in said if one is not None], tally


def events(name: str) -> list[Heard]:
    return [one.event for one in translated(name)[0] if one.event is not None]


def one_event(data: bytes) -> Heard:
    said = translate(data, Tally())
    assert said is not None
    assert said.event is not None
    return said.event


@pytest.mark.parametrize("name", V1_STREAMS)
def test_every_recorded_frame_is_known(name: str) -> None:
    _, tally = translated(name)
    assert (tally.unknown, tally.malformed) == (0, 0), tally
    assert tally.frames == tally.translated + tally.skipped


@pytest.mark.parametrize("name", sorted(KINDS))
def test_kinds_of_a_recording(name: str) -> None:
    assert {event.kind for event in events(name)} == KINDS[name]


@pytest.mark.parametrize("name", V1_STREAMS)
def test_every_event_has_an_id_and_a_session(name: str) -> None:
    for event in events(name):
        assert event.id.startswith("evt_")
        assert event.session_id.startswith("ses_")


@pytest.mark.parametrize("name", V1_STREAMS)
def test_no_event_comes_twice(name: str) -> None:
    # Each durable event is sent twice, and each idle in two forms: one of each remains.
    ids = Counter(event.id for event in events(name))
    assert [one for one, times in ids.items() if times > 1] == []
    idles = sum(b'"type":"session.idle"' in data for _, data in frames(name))
    assert sum(event.kind is EventKind.IDLE for event in events(name)) == idles


def test_every_token_is_progress() -> None:
    deltas = sum(b'"type":"message.part.delta"' in data for _, data in frames("normal"))
    assert sum(event.kind is EventKind.PROGRESS for event in events("normal")) > deltas > 0


def test_what_follows_the_last_idle_is_no_progress() -> None:
    kinds = [event.kind for event in events("normal")]
    assert EventKind.PROGRESS not in kinds[kinds.index(EventKind.IDLE) :]


def test_an_error_says_its_name_and_words_without_addresses() -> None:
    error = {"name": "APIError", "data": {"message": "no answer from https://10.0.0.1:99/v1?key=x at all", "url": "u"}}
    event = one_event(frame("session.error", {"sessionID": "ses_1", "error": error}))
    assert event.detail == "APIError: no answer from (address) at all"


def test_an_interrupted_request_says_nothing_against_its_prompt() -> None:
    error = {"name": "UnknownError", "data": {"message": "Error: All fibers interrupted without error"}}
    event = one_event(frame("session.error", {"sessionID": "ses_1", "error": error}))
    assert (event.kind, event.cut_off) == (EventKind.IDLE, True)


def test_a_detail_is_bounded() -> None:
    error = {"name": "E", "data": {"message": "word " * 10_000}}
    assert len(one_event(frame("session.error", {"sessionID": "ses_1", "error": error})).detail) == MAX_DETAIL


def test_an_error_of_no_session_concerns_no_turn() -> None:
    tally = Tally()
    assert translate(frame("session.error", {"error": {"name": "E"}}), tally) is None
    assert (tally.skipped, tally.malformed) == (1, 0)


def test_deletion_names_the_session() -> None:
    deleted = [event for event in events("delete_session_mid_stream") if event.kind is EventKind.SESSION_DELETED]
    assert len(deleted) == 1


def test_a_session_says_where_its_events_belong() -> None:
    info = {"id": "ses_1", "directory": "/w", "metadata": {"turnkeeper": {"thread": "t", "namespace": "n"}}}
    said = translate(frame("session.updated", {"sessionID": "ses_1", "info": info}), Tally())
    assert said == Translated(session=SessionFacts("ses_1", None, "/w", "t", "n"))


@pytest.mark.parametrize("metadata", [None, [], {}, {"turnkeeper": None}, {"turnkeeper": {"thread": 7}}])
def test_a_mark_that_is_not_ours_is_none(metadata: object) -> None:
    info = {"id": "ses_1", "directory": "/w", "metadata": metadata}
    said = translate(frame("session.updated", {"sessionID": "ses_1", "info": info}), Tally())
    assert said == Translated(session=SessionFacts("ses_1", None, "/w", None, None))


def test_a_child_names_its_parent() -> None:
    said, _ = translated("subagent")
    parents = {one.session.parent_id for one in said if one.session and one.session.parent_id}
    assert len(parents) == 1


def test_unknown_types_are_counted_by_name_and_not_without_bound() -> None:
    tally = Tally()
    for number in range(MAX_UNKNOWN_TYPES + 20):
        assert translate(frame(f"future.{number}", {}), tally) is None
    assert tally.unknown == MAX_UNKNOWN_TYPES + 20
    assert len(tally.unknown_types) == MAX_UNKNOWN_TYPES


def test_a_head_in_another_order_is_still_read() -> None:
    payload = {"properties": {"part": {}, "sessionID": "ses_1"}, "type": "message.part.updated", "id": "evt_1"}
    event = one_event(json.dumps({"payload": payload}).encode())
    assert (event.kind, event.session_id, event.id) == (EventKind.PROGRESS, "ses_1", "evt_1")


def test_text_that_looks_like_a_head_is_text() -> None:
    forged = 'x","payload":{"type":"sync" "payload":{"id":"evt_f","type":"session.deleted"'
    data = frame("message.part.delta", {"sessionID": "ses_1", "delta": forged})
    assert one_event(data).kind is EventKind.PROGRESS
    within = json.dumps({"directory": forged, "payload": {"id": "evt_1", "type": "server.heartbeat", "properties": {}}})
    assert translate(within.encode(), Tally()) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"payload":7}',
        b"\xff\xfe",
        b'{"payload":{"id":"evt_1","type":"session.status","properties":{"sessionID":"ses_1"}}}',
        b'{"payload":{"id":"evt_1","type":"session.status","properties":{"sessionID":"ses_1","status":{"type":"?"}}}}',
        b'{"payload":{"id":"evt_1","type":"message.updated","properties":{"sessionID":"ses_1","info":[]}}}',
        b'{"payload":{"id":"evt_1","type":"session.updated","properties":{"sessionID":"ses_1"}}}',
        b'{"payload":{"id":"evt_1","type":"permission.asked","properties":{}}}',
        b'{"payload":{"id":"evt_1","type":"session.error","properties":[]}}',
        b"[" * 100_000,
    ],
)
def test_malformed_frames_are_counted_and_skipped(data: bytes) -> None:
    tally = Tally()
    assert translate(data, tally) is None
    assert tally.malformed == 1


@given(st.binary(max_size=2000))
def test_arbitrary_bytes_never_raise(data: bytes) -> None:
    translate(data, Tally())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=15,
)
KNOWN_KEYS = st.sampled_from(["sessionID", "info", "status", "error", "id", "requestID", "type", "role", "message"])
TYPES = st.sampled_from(
    ["message.updated", "message.part.delta", "session.status", "session.error", "session.updated", "permission.asked"]
)


@given(TYPES, st.dictionaries(KNOWN_KEYS, JSON | st.dictionaries(KNOWN_KEYS, JSON)), st.sampled_from([1, -1]))
def test_known_types_with_arbitrary_bodies_never_raise(kind: str, properties: dict[str, Any], order: int) -> None:
    payload = dict([("id", "evt_1"), ("type", kind), ("properties", properties)][::order])
    translate(json.dumps({"payload": payload}, separators=(",", ":")).encode(), Tally())


@given(st.lists(st.binary(max_size=50).filter(lambda data: b"\n" not in data and b"\r" not in data)), st.data())
def test_frames_survive_any_cutting(payloads: list[bytes], cuts: st.DataObject) -> None:
    stream = b"".join(b": comment\ndata: " + payload + b"\n\n" for payload in payloads)
    splitter, found, at = FrameSplitter(), [], 0
    while at < len(stream):
        size = cuts.draw(st.integers(min_value=1, max_value=40))
        found += splitter.feed(stream[at : at + size])
        at += size
    assert found == [payload.strip() for payload in payloads]


def test_an_oversized_frame_is_dropped_and_the_next_one_read() -> None:
    splitter = FrameSplitter(limit=20)
    assert splitter.feed(b"data: " + b"x" * 15) == []
    assert splitter.feed(b"x" * 100) == []
    assert splitter.feed(b"x\n\ndata: small\n\n") == [b"small"]
    assert splitter.oversized == 1
