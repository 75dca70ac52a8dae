"""Connections to one endpoint: as many as calls are under way, each kept for a while for the next call.

httpx's own pool is not made for many calls at once (0.28 with httpcore 1.0, measured): each call looks at every other
call and connection twice, a third of a call's CPU at 20 at once; and as soon as there are more connections than may be
idle, it closes each as it becomes free, so that every call makes a new one. Here a call takes the connection that was
free last, or a new one, whatever the others do. Each is a pool of httpx's of one connection, which knows when it is
dead or too old.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx


class Lanes(httpx.AsyncBaseTransport):
    """At most `limit` calls at once; more wait, as long as the request's pool timeout says."""

    def __init__(self, make: Callable[[], httpx.AsyncBaseTransport], limit: int, idle_seconds: float) -> None:
        """`make` gives a transport of one connection. One that is free for `idle_seconds` is closed."""
        self._make = make
        self._places = asyncio.Semaphore(limit)
        self._idle_seconds = idle_seconds
        self._free: deque[tuple[float, httpx.AsyncBaseTransport]] = deque()
        self._all: set[httpx.AsyncBaseTransport] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it on a connection of its own, which is free again when the answer is closed.

        Raises:
            httpx.PoolTimeout: all were taken for too long.

        """
        await self._wait_for_place(request)
        try:
            lane = self._take()
            try:
                response = await lane.handle_async_request(request)
            except BaseException:
                self._put_back(lane)
                raise
        except BaseException:
            self._places.release()
            raise

        async def done() -> None:
            self._put_back(lane)
            self._places.release()
            await self._close_old()

        if not isinstance(response.stream, httpx.AsyncByteStream):
            raise TypeError("an asynchronous transport gave an answer that cannot be read so")
        response.stream = _LaneStream(response.stream, done)
        return response

    async def aclose(self) -> None:
        """Close all; calls under way fail."""
        self._free.clear()
        while self._all:
            await self._all.pop().aclose()

    async def _wait_for_place(self, request: httpx.Request) -> None:
        if not self._places.locked():
            await self._places.acquire()  # at once
            return
        try:
            async with asyncio.timeout(request.extensions.get("timeout", {}).get("pool")):
                await self._places.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("all connections are taken", request=request) from None

    def _take(self) -> httpx.AsyncBaseTransport:
        if self._free:
            return self._free.pop()[1]
        lane = self._make()
        self._all.add(lane)
        return lane

    def _put_back(self, lane: httpx.AsyncBaseTransport) -> None:
        self._free.append((time.monotonic(), lane))

    async def _close_old(self) -> None:
        oldest = time.monotonic() - self._idle_seconds
        while self._free and self._free[0][0] < oldest:
            lane = self._free.popleft()[1]
            self._all.discard(lane)
            await lane.aclose()


class _LaneStream(httpx.AsyncByteStream):
    """An answer; closing it, read or not, frees its connection, once."""

    def __init__(self, inner: httpx.AsyncByteStream, done: Callable[[], Awaitable[None]]) -> None:
        self._inner = inner
        self._done: Callable[[], Awaitable[None]] | None = done

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            yield chunk

    async def aclose(self) -> None:
        done, self._done = self._done, None
        if done is None:
            return
        try:
            await self._inner.aclose()
        finally:
            await done()
