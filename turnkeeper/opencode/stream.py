"""OpenCode's global event stream as batches of canonical events.

Nothing here is truth and nothing is replayed: `Last-Event-ID` is ignored and a reconnect starts at now (measured on
1.18.33), so whoever reads this must look at its running turns after every attach. OpenCode queues without bound for a
reader that does not read: do no slow work between two batches.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, Self

import httpx

from turnkeeper.errors import DeliveryUnknownError, ProviderError
from turnkeeper.opencode.answers import explain, explain_status, other_type
from turnkeeper.opencode.client import OpenCodeClient
from turnkeeper.opencode.connection import EVENT_STREAM_TYPE
from turnkeeper.opencode.frames import FrameSplitter
from turnkeeper.opencode.translate import Tally, Translated, translate_batch

WHAT: Final = "reading the event stream"
PATH: Final = "/global/event"

ATTACH_SECONDS: Final = 10.0
"""From the request to the first frame, which OpenCode sends at once; a starting server needs up to 7 s."""


class EventStream:
    """An attached stream: iterate over it for batches. `tally` and `last_frame_at` tell meanwhile how it fares."""

    def __init__(self, endpoint: str, response: httpx.Response, silence: float) -> None:
        """`silence`: seconds without a frame after which the stream counts as dead."""
        self._endpoint = endpoint
        self._chunks = response.aiter_raw()
        self._silence = silence
        self._splitter = FrameSplitter()
        self._waiting: list[bytes] = []
        self.tally = Tally()
        self.attached = False
        self.last_frame_at = time.monotonic()
        """Seconds of the monotonic clock; heartbeats count, so a live stream is never older than about 10 s."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Translated]:
        """What the next read brought that a turn could use, in order; never an empty list.

        Raises:
            ProviderError: the stream was closed, broke, or was silent for too long. It never ends otherwise.

        """
        while True:
            frames, self._waiting = self._waiting or await self._read(), []
            if batch := translate_batch(frames, self.tally):
                return batch

    async def attach(self, within: float) -> None:
        """Wait for the first frame, so many seconds: from then on no event is missed."""
        late: ProviderError
        try:
            async with asyncio.timeout(within):
                while not self._waiting:
                    self._waiting = await self._read()
        except TimeoutError as error:
            late = explain(WHAT, self._endpoint, error)
        else:
            self.attached = True
            return
        raise late from None

    async def close(self) -> None:
        """Let go of the bytes; the response itself is closed by its owner."""
        self.attached = False
        if isinstance(self._chunks, AsyncGenerator):
            await self._chunks.aclose()

    async def _read(self) -> list[bytes]:
        """Frames that the next read completes; may be none."""
        failure: ProviderError
        try:
            frames = self._splitter.feed(await anext(self._chunks))
        except StopAsyncIteration:
            failure = DeliveryUnknownError(f"{WHAT}: endpoint {self._endpoint} closed it.", code="stream_closed")
        except httpx.ReadTimeout:
            failure = self._silent()
        except (httpx.HTTPError, httpx.StreamError) as error:
            failure = explain(WHAT, self._endpoint, error)
        else:
            self.tally.oversized = self._splitter.oversized
            now = time.monotonic()
            if frames:
                self.last_frame_at = now
            # Bytes that never make a frame keep httpx's own read timeout from firing.
            if now - self.last_frame_at <= self._silence:
                return frames
            failure = self._silent()
        self.attached = False
        raise failure from None

    def _silent(self) -> ProviderError:
        return DeliveryUnknownError(
            f"{WHAT}: no frame from endpoint {self._endpoint} for {self._silence:g} s.", code="stream_silent"
        )


@asynccontextmanager
async def open_stream(client: OpenCodeClient, within: float = ATTACH_SECONDS) -> AsyncIterator[EventStream]:
    """Attach to the endpoint's events: inside, the first frame has arrived. Closes the connection on the way out.

    `within` so many seconds for the answer, and as many for the frame.

    Raises:
        ProviderError: no connection, refused, or not an event stream.

    """
    connection = client.connection
    silence = connection.settings.stream_silence
    async with AsyncExitStack() as stack:
        response = await _request(stack, client, silence, within)
        stream = EventStream(client.name, response, silence)
        stack.push_async_callback(stream.close)
        await stream.attach(within)
        yield stream


async def _request(stack: AsyncExitStack, client: OpenCodeClient, silence: float, within: float) -> httpx.Response:
    connection = client.connection
    timeout = httpx.Timeout(
        connection.settings.request_timeout, connect=connection.settings.connect_timeout, read=silence
    )
    failure: ProviderError
    try:
        async with asyncio.timeout(within):
            response = await stack.enter_async_context(
                connection.http.stream("GET", PATH, headers={"Accept": EVENT_STREAM_TYPE}, timeout=timeout)
            )
    except (httpx.HTTPError, TimeoutError) as error:
        failure = explain(WHAT, client.name, error)
    else:
        found = response.headers.get("content-type", "")
        if response.status_code == httpx.codes.OK and found.startswith(EVENT_STREAM_TYPE):
            return response
        if response.status_code == httpx.codes.OK:
            advice = f"Check that the url of endpoint {client.name} is an OpenCode 1.x server, not a web page."
            failure = other_type(WHAT, found, "events", advice)
        else:
            failure = explain_status(WHAT, client.name, response.status_code)
    raise failure from None
