"""A provider that says too much: answers without end, small ones that are big in memory, frames and events in masses.

Everything is made while it is sent, so that only the reader can run out of memory. The first part of a path says what
comes: `/endless/session/ses_1/message`. Everything but messages and events is answered as by a quiet OpenCode.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count, repeat
from typing import Final

from tests.e2e.turns.gate import http_answer
from tests.listening import listening
from turnkeeper.dev.ports import LOOPBACK

HUGE: Final = 500 * 1024 * 1024
"""Bytes of what has an end."""

JUST_UNDER: Final = 15 * 1024 * 1024
"""Bytes of what is not too long for a worker with default settings, and too much all the same."""

BLOCK: Final = 256 * 1024
SANE: Final = "sane"
JSON: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
EVENTS: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
SMALL: Final = b'{"info":{"id":"m","role":"user"},"parts":[{"type":"text","text":"x"}]},'
IDLE: Final = (
    b'data: {"payload":{"id":"e","type":"session.status",'
    b'"properties":{"sessionID":"ses_1","status":{"type":"idle"}}}}\n\n'
)
GREETING: Final = b'data: {"payload":{"id":"e","type":"server.connected","properties":{}}}\n\n'

Flood = Callable[[], Iterator[bytes]]


def _filled(unit: bytes, size: int, head: bytes = b"", tail: bytes = b"") -> Flood:
    """`unit` over and over, with a length that fits."""
    block = unit * max(BLOCK // len(unit), 1)

    def flood() -> Iterator[bytes]:
        blocks = size // len(block)
        yield JSON + b"content-length: %d\r\n\r\n" % (len(head) + blocks * len(block) + len(tail)) + head
        yield from repeat(block, blocks)
        yield tail

    return flood


def _chunked(block: bytes, head: bytes = JSON) -> Flood:
    """Without length or end."""

    def flood() -> Iterator[bytes]:
        yield head + b"transfer-encoding: chunked\r\n\r\n"
        yield from repeat(b"%x\r\n%s\r\n" % (len(block), block))

    return flood


def _headers() -> Iterator[bytes]:
    yield JSON + b"x-next-cursor: "
    yield from repeat(b"a" * BLOCK, HUGE // BLOCK)


def _one_frame() -> Iterator[bytes]:
    yield EVENTS + GREETING + b"data: "
    yield from repeat(b"a" * BLOCK, HUGE // BLOCK)


def _many_events() -> Iterator[bytes]:
    yield EVENTS + GREETING
    yield from repeat(IDLE * 1000)


def _deep_events() -> Iterator[bytes]:
    yield EVENTS + GREETING
    for _ in count():
        yield b'data: {"type":' + b"[" * 500_000 + b"\n\n"


ONE_TEXT: Final = b'[{"info":{"id":"m","role":"user"},"parts":[{"type":"text","text":"'
ERROR: Final = b"HTTP/1.1 500 Oops\r\ncontent-type: text/plain\r\nconnection: close\r\n"

MESSAGES: Final[dict[str, Flood]] = {
    "a list of 500 MB": _filled(SMALL, HUGE, b"[", SMALL[:-1] + b"]"),
    "a text of 500 MB": _filled(b"x", HUGE, ONE_TEXT, b'"}]}]'),
    "no end": _chunked(b" " * BLOCK),
    "no end of an error": _chunked(b"x" * BLOCK, ERROR),
    "compressed": _chunked(b"\x1f\x8b" * 1000, JSON + b"content-encoding: gzip\r\n"),
    "nested": _filled(b"[", JUST_UNDER),
    "a header of 500 MB": _headers,
    "many wrong entries": _filled(b"1,", JUST_UNDER, b"[", b"1]"),
    "many small messages": _filled(SMALL, JUST_UNDER, b"[", SMALL[:-1] + b"]"),
    "many keys": _filled(b'"k":1,', JUST_UNDER, b"[{", b'"k":1}]'),
}

STREAMS: Final[dict[str, Flood]] = {
    "one frame of 500 MB": _one_frame,
    "millions of events": _many_events,
    "nested events": _deep_events,
}

ANSWERS: Final = {"/session/status": b"{}", "/message/": b'{"info":{"id":"m","role":"user"}}', "/message": b"[]"}


def name_in_path(kind: str) -> str:
    return kind.replace(" ", "-")


@asynccontextmanager
async def flooding() -> AsyncIterator[str]:
    """The address of such a provider."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n", 1)[0].decode()
        for piece in _said_to(line.split(" ")[1]):
            writer.write(piece)
            await writer.drain()

    async with listening(serve) as port:
        yield f"http://{LOOPBACK}:{port}"


def _said_to(target: str) -> Iterator[bytes]:
    _, kind, path = target.partition("?")[0].split("/", 2)
    floods = {name_in_path(name): flood for name, flood in {**MESSAGES, **STREAMS}.items()}
    if kind != SANE and path.endswith(("/message", "global/event")):
        return floods[kind]()
    body = next((answer for end, answer in ANSWERS.items() if end in f"/{path}"), b"[]")
    return iter([http_answer(body)])
