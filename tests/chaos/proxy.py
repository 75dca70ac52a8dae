"""A TCP port in front of another one that misbehaves on demand, in the ways that networks do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Self

from tests.e2e.turns.gate import CHUNK
from turnkeeper.dev.ports import LOOPBACK

RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: the close is a reset, and what was under way is lost."""
TRICKLE_TICK: Final = 0.1
"""Seconds between two pieces of a slow connection."""


class FaultProxy:
    """Passes bytes until told otherwise; `heal` makes it a plain wire again, for what is open and what comes."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._links: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._refuses = False
        self.latency = 0.0
        """Seconds before each piece is passed on."""
        self.bytes_per_second: int | None = None
        """Of each direction of each connection; None: as fast as it comes."""
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def hold(self) -> None:
        """Half-open: everything is accepted, nothing passes and nothing ends."""
        self._flows.clear()

    def cut(self, *, reset: bool = False) -> None:
        """End every connection, and whatever is tried from now on."""
        self._refuses = True
        self.break_all(reset=reset)

    def break_all(self, *, reset: bool = False) -> None:
        """End every connection that is open; new ones are welcome."""
        for writer in list(self._writers):
            if reset:
                found: socket.socket = writer.get_extra_info("socket")
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            writer.transport.abort()

    def heal(self) -> None:
        self._refuses = False
        self.latency, self.bytes_per_second = 0.0, None
        self._flows.set()

    @classmethod
    @asynccontextmanager
    async def before(cls, upstream: int) -> AsyncIterator[Self]:
        """Open in front of the server on that loopback port, which need not be up."""
        proxy = cls(upstream)
        server = await asyncio.start_server(proxy._accept, LOOPBACK, 0)
        proxy.port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            server.close()
            proxy.heal()
            proxy.cut()
            await asyncio.gather(*proxy._links, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        self._writers.add(writer)
        try:
            await self._link(reader, writer)
        except OSError:
            pass  # either side is gone
        finally:
            writer.transport.abort()
            self._writers.discard(writer)
            self._links.discard(task)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            return
        upstream_reader, upstream = await asyncio.open_connection(LOOPBACK, self._upstream)
        self._writers.add(upstream)
        there = asyncio.create_task(self._pump(reader, upstream))
        back = asyncio.create_task(self._pump(upstream_reader, writer))
        try:
            await asyncio.wait((there, back), return_when=asyncio.FIRST_EXCEPTION)
        finally:
            self._writers.discard(upstream)
            upstream.transport.abort()
            for pump in (there, back):
                pump.cancel()
            await asyncio.gather(there, back, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK):
            if self.latency:
                await asyncio.sleep(self.latency)
            await self._flows.wait()
            for piece in self._pieces(chunk):
                writer.write(piece)
                await writer.drain()
                if self.bytes_per_second is not None:
                    await asyncio.sleep(TRICKLE_TICK)
        await self._flows.wait()
        with contextlib.suppress(OSError):
            writer.write_eof()

    def _pieces(self, chunk: bytes) -> list[bytes]:
        if self.bytes_per_second is None:
            return [chunk]
        size = max(1, int(self.bytes_per_second * TRICKLE_TICK))
        return [chunk[at : at + size] for at in range(0, len(chunk), size)]
