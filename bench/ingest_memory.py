"""Memory while many megabytes of events pass, each case in a process of its own: what one freed, no other reuses."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import httpx

from bench.ingest_sides import Side, parse_with, relay, relay_and_count
from bench.traffic import ENDLESS, MANY, NOT_OURS, SOCKET_READ, Mix, mixes
from turnkeeper.observations import ProviderEvent

BLOCK_EVENTS: Final = 10_000
"""Of the traffic that is read again and again, so that its source needs no more memory at the end."""

MIB: Final = 1024 * 1024

TENTH: Final = 10
"""After one part of so many, caches and allocators have what they need: from there on memory has to stay."""


class NeverAnswers(httpx.AsyncBaseTransport):
    """An OpenCode that takes every request and answers none."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Wait for ever."""
        await asyncio.get_running_loop().create_future()
        return httpx.Response(httpx.codes.NO_CONTENT, request=request)


async def never_taken(_thread: str, _events: tuple[ProviderEvent, ...]) -> None:
    """A Temporal that answers no signal."""
    await asyncio.get_running_loop().create_future()


async def unanswered(chunks: Iterable[bytes]) -> None:
    """The relay where neither Temporal nor OpenCode answers."""
    await relay(chunks, never_taken, NeverAnswers())


@dataclass(frozen=True)
class Case:
    """A kind of traffic and how it is read."""

    mix: str
    side: Side
    without: bytes = b"\0"
    """Frames with this in them are left out."""


CASES: Final[Mapping[str, Case]] = {
    "parse only, a turn of ours": Case(ENDLESS, parse_with()),
    "relay, a turn of ours": Case(ENDLESS, relay_and_count),
    "relay, turns that are not ours": Case(NOT_OURS, relay_and_count),
    "relay, 100 turns": Case(MANY, relay_and_count),
    "relay, a turn of ours, signals never answered": Case(ENDLESS, unanswered),
    "relay, 100 turns, signals never answered": Case(MANY, unanswered),
    "relay, sessions that cannot be read": Case(MANY, unanswered, without=b'"type":"session.updated'),
}


def measure_memory(case: str, megabytes: int) -> dict[str, Any]:
    """KiB of memory before, after a tenth, after and at most, of a new process that reads so many megabytes."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return {"case": case, "megabytes": megabytes, **process.submit(_read, case, megabytes).result()}


def _read(name: str, megabytes: int) -> dict[str, int]:
    case = CASES[name]
    chunks = _mix(case).chunks(SOCKET_READ)
    samples = [resident()]

    def traffic() -> Iterator[bytes]:
        given = 0
        for chunk in itertools.cycle(chunks):
            if given // MIB >= len(samples):
                samples.append(resident())
            if given >= megabytes * MIB:
                return
            given += len(chunk)
            yield chunk

    asyncio.run(case.side(traffic()))
    return {
        "before": samples[0],
        "tenth": samples[len(samples) // TENTH],
        "after": samples[-1],
        "peak": max(samples),
    }


def _mix(case: Case) -> Mix:
    [mix] = [mix for mix in mixes(BLOCK_EVENTS) if mix.name == case.mix]
    return replace(mix, frames=[frame for frame in mix.frames if case.without not in frame])


def resident() -> int:
    """KiB of memory of this process (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
