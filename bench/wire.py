"""A TCP port in front of another one that counts what passes: bytes of each direction, and HTTP requests.

Unlike the proxy of the fault suite it never misbehaves, and unlike the gate of the end-to-end tests it leaves
connections as they are: keep-alive and compression are part of what is measured.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, Self

from turnkeeper.dev.ports import LOOPBACK

CHUNK: Final = 64 * 1024
"""Bytes of one read."""

REQUEST_LINE: Final = re.compile(rb"(GET|POST|PATCH|PUT|DELETE) (/[^\r\n]*) HTTP/1\.[01]\r\n")

EVENT_STREAM: Final = b"/global/event"
"""A connection that asked for this carries nothing else."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What passed. `sent`: bytes from the client to the server; `received`: the way back, `streamed` of them events."""

    requests: int = 0
    sent: int = 0
    received: int = 0
    streamed: int = 0

    def since(self, earlier: Traffic) -> Traffic:
        """What came after `earlier`."""
        return Traffic(
            self.requests - earlier.requests,
            self.sent - earlier.sent,
            self.received - earlier.received,
            self.streamed - earlier.streamed,
        )

    def plus_sent(self, chunk: bytes) -> Traffic:
        """With a chunk of the client's.

        A request is a chunk that opens with a request line: a client waits for each answer, so that no request begins
        inside a chunk, and no body looks like one.
        """
        return replace(
            self, requests=self.requests + (REQUEST_LINE.match(chunk) is not None), sent=self.sent + len(chunk)
        )

    def plus_received(self, chunk: bytes, *, stream: bool) -> Traffic:
        """With a chunk of the server's. `stream`: of an event stream's connection."""
        streamed = self.streamed + (len(chunk) if stream else 0)
        return replace(self, received=self.received + len(chunk), streamed=streamed)


def asks_for_stream(chunk: bytes) -> bool:
    """Does the chunk open with a request for the event stream?"""
    found = REQUEST_LINE.match(chunk)
    return found is not None and found[2].startswith(EVENT_STREAM)


class CountingWire:
    """Passes bytes both ways and counts them."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._links: set[asyncio.Task[None]] = set()
        self.traffic = Traffic()
        self.port = 0

    @property
    def url(self) -> str:
        """The base URL of what is behind it."""
        return f"http://{LOOPBACK}:{self.port}"

    @classmethod
    @asynccontextmanager
    async def before(cls, upstream: int) -> AsyncIterator[Self]:
        """Open in front of the server on that loopback port."""
        wire = cls(upstream)
        server = await asyncio.start_server(wire._accept, LOOPBACK, 0)
        wire.port = server.sockets[0].getsockname()[1]
        try:
            yield wire
        finally:
            server.close()
            for link in list(wire._links):
                link.cancel()
            await asyncio.gather(*wire._links, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        if link is None:
            raise AssertionError("a connection is accepted in a task")
        self._links.add(link)
        try:
            await _Link(self, reader, writer).run(self._upstream)
        except (OSError, asyncio.CancelledError):
            pass  # either side is gone, or the wire was taken away
        finally:
            writer.transport.abort()
            self._links.discard(link)


class _Link:
    """One connection."""

    def __init__(self, wire: CountingWire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._wire, self._reader, self._writer = wire, reader, writer
        self._stream = False

    async def run(self, port: int) -> None:
        reader, upstream = await asyncio.open_connection(LOOPBACK, port)
        try:
            await asyncio.gather(self._there(upstream), self._back(reader))
        finally:
            upstream.transport.abort()

    async def _there(self, upstream: asyncio.StreamWriter) -> None:
        while chunk := await self._reader.read(CHUNK):
            self._stream = self._stream or asks_for_stream(chunk)
            self._wire.traffic = self._wire.traffic.plus_sent(chunk)
            upstream.write(chunk)
            await upstream.drain()
        upstream.write_eof()

    async def _back(self, reader: asyncio.StreamReader) -> None:
        while chunk := await reader.read(CHUNK):
            self._wire.traffic = self._wire.traffic.plus_received(chunk, stream=self._stream)
            self._writer.write(chunk)
            await self._writer.drain()
        self._writer.write_eof()
