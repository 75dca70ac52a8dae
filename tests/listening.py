"""Servers of a few lines that tests make up: each connection is given to a function, and none outlives its test."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from turnkeeper.dev.ports import LOOPBACK

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(serve: Serve, *, host: str = LOOPBACK, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port. That the other side is gone in the middle is no error; what is under way at the end is cancelled."""
    serving: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await serve(reader, writer)
            writer.close()
            await writer.wait_closed()  # what was written leaves first
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # either side is gone, or the test is over
        finally:
            serving.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(accept, host, 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
