"""What the counting wire takes for a request, and for events."""

from __future__ import annotations

from bench.wire import Traffic, asks_for_stream

GET = b"GET /session/ses_1/message?directory=%2Fw HTTP/1.1\r\nhost: x\r\n\r\n"
STREAM = b"GET /global/event HTTP/1.1\r\nhost: x\r\n\r\n"


def test_a_request_is_counted_once_and_its_body_is_none() -> None:
    traffic = Traffic().plus_sent(b"POST /session HTTP/1.1\r\ncontent-length: 9\r\n\r\n").plus_sent(b'"GET / x"')
    assert traffic == Traffic(requests=1, sent=54)
    assert traffic.plus_sent(GET).requests == 2


def test_only_events_of_a_stream_are_streamed() -> None:
    assert asks_for_stream(STREAM)
    assert not asks_for_stream(GET)
    assert not asks_for_stream(b"x" + STREAM)
    traffic = Traffic().plus_received(b"12345", stream=True).plus_received(b"678", stream=False)
    assert (traffic.received, traffic.streamed) == (8, 5)


def test_what_came_since_is_the_difference() -> None:
    earlier = Traffic(2, 10, 20, 5)
    assert Traffic(3, 15, 50, 25).since(earlier) == Traffic(1, 5, 30, 20)
