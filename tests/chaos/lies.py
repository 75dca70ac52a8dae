"""What a provider, or a proxy in front of it, may say that is not true; and what a stream may do to its events."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from random import Random
from typing import Final

from tests.e2e.turns.gate import Lie, http_answer

LIED_TO: Final = 0.5
"""Share of the requests that get a lie while the fault lasts: every second look must not be enough."""

HEAD_END: Final = b"\r\n\r\n"
STREAM: Final = "/global/event"

Change = Callable[[bytes], bytes]
Frames = Callable[[bytes], Iterable[bytes]]


def server_error(_: bytes) -> bytes:
    body = b'{"name":"UnknownError","data":{"message":"Unexpected server error"}}'
    return http_answer(body, status="500 Internal Server Error")


def web_page(_: bytes) -> bytes:
    """As OpenCode itself answers an unknown path, or a proxy with a login page."""
    return http_answer(b"<!doctype html><html><body>Please wait</body></html>", content_type="text/html")


def truncated(answer: bytes) -> bytes:
    """The first half of the body, with a length that fits."""
    _, _, body = answer.partition(HEAD_END)
    return http_answer(body[: len(body) // 2] or b'[{"info":')


def other_session(answer: bytes) -> bytes:
    """Everything as it is, but of a session that nobody asked for."""
    head, _, body = answer.partition(HEAD_END)
    if not body or b"application/json" not in head.lower():
        return server_error(answer)
    return http_answer(re.sub(rb"ses_[0-9A-Za-z]{10}", b"ses_0000000000", body))


def lying(change: Change, random: Random) -> Callable[[str], Lie | None]:
    """Half of all requests but the event stream; of those half reach OpenCode all the same."""

    def decide(line: str) -> Lie | None:
        if STREAM in line or random.random() >= LIED_TO:
            return None
        return Lie(change, asked=random.random() < LIED_TO)

    return decide


def dropping(random: Random) -> Frames:
    return lambda frame: () if random.random() < LIED_TO else (frame,)


def doubling(random: Random) -> Frames:
    return lambda frame: (frame, frame) if random.random() < LIED_TO else (frame,)


def reordering(random: Random) -> Frames:
    """A frame may be overtaken by the next two."""
    held: list[bytes] = []

    def pass_on(frame: bytes) -> Iterable[bytes]:
        held.append(frame)
        if len(held) < 3:
            return ()
        random.shuffle(held)
        out, held[:] = list(held), []
        return out

    return pass_on
