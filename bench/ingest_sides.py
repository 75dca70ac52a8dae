"""The two ways to read a stream's bytes that `bench.ingest` compares, on the same response."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, Final

import httpx

from activities.dispatch import Deliver, Dispatcher
from activities.routing import Router
from bench.traffic import NAMESPACE, SOCKET_READ
from turnkeeper.errors import ProviderError
from turnkeeper.observations import ProviderEvent
from turnkeeper.opencode.client import OpenCodeClient
from turnkeeper.opencode.stream import EventStream
from turnkeeper.settings import EndpointSettings

SILENCE: Final = 3600.0
"""Seconds without a frame until the stream counts as dead: never here."""

PREFIX: Final = len(b"data: ")

Side = Callable[[Iterable[bytes]], Coroutine[Any, Any, object]]


class Chunks(httpx.AsyncByteStream):
    """What a socket gives. As often as a socket would be asked for its most, the event loop gets its turn."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        """In this order."""
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        given = 0
        for chunk in self._chunks:
            given += len(chunk)
            if given >= SOCKET_READ:
                given = 0
                await asyncio.sleep(0)
            yield chunk


def parse_with(loads: Callable[[bytes], object] = json.loads) -> Side:
    """The baseline: cut at empty lines, parse each event, forget it."""

    async def parse(chunks: Iterable[bytes]) -> int:
        rest, events = b"", 0
        async for chunk in httpx.Response(200, stream=Chunks(chunks)).aiter_raw():
            *frames, rest = (rest + chunk).split(b"\n\n")
            for frame in frames:
                loads(frame[PREFIX:])
            events += len(frames)
        return events

    return parse


class Counted:
    """Signals that would have been sent."""

    def __init__(self) -> None:
        """None yet."""
        self.signals = 0
        self.events = 0

    async def __call__(self, _thread: str, events: tuple[ProviderEvent, ...]) -> None:
        """One signal."""
        self.signals += 1
        self.events += sum(event.count for event in events)


async def relay(chunks: Iterable[bytes], deliver: Deliver, transport: httpx.AsyncBaseTransport) -> EventStream:
    """Read everything as the relay does; sessions that no event told of are asked for with `transport`."""
    client = OpenCodeClient(
        EndpointSettings.model_validate({"url": "http://bench.internal:4096", "password": "none", "roots": ["/"]}),
        "bench",
        transport,
    )
    stream = EventStream("bench", httpx.Response(200, stream=Chunks(chunks)), SILENCE)
    dispatcher = Dispatcher(Router(client, NAMESPACE), deliver)
    try:
        async for batch in stream:
            dispatcher.take(batch)
    except ProviderError as end:
        if end.detail_code != "stream_closed":
            raise
    await asyncio.sleep(0)  # what is due is told
    await dispatcher.close()
    await client.close()
    return stream


async def relay_and_count(chunks: Iterable[bytes]) -> Counted:
    """The relay with a Temporal that takes every signal at once."""
    counted = Counted()
    await relay(chunks, counted, httpx.MockTransport(lambda _: httpx.Response(404, json={"name": "NotFoundError"})))
    return counted
