"""The raw baseline: what a careful script does with httpx and httpx-sse. No retry, no durability, no control."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from httpx_sse import aconnect_sse

from bench.timing import TimedTurn

TURN_TIMEOUT = 300.0
"""Seconds for one turn at the highest load of these benchmarks."""


class IdleTimes:
    """One event stream for all turns: when each session became idle."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        """Use `http`, whose base URL and auth are set."""
        self._http = http
        self._idle: dict[str, asyncio.Future[float]] = defaultdict(asyncio.get_running_loop().create_future)
        self._ready = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._reader = asyncio.create_task(self._read())
        await asyncio.wait_for(self._ready.wait(), 10)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader is not None:
            self._reader.cancel()

    async def of(self, session_id: str) -> float:
        """The time (epoch) of its first idle event, once there is one."""
        return await self._idle[session_id]

    async def _read(self) -> None:
        timeout = httpx.Timeout(10, read=None)
        async with aconnect_sse(self._http, "GET", "/global/event", timeout=timeout) as source:
            async for event in source.aiter_sse():
                self._ready.set()
                payload = json.loads(event.data)["payload"]
                if payload["type"] == "session.idle":
                    first = self._idle[payload["properties"]["sessionID"]]
                    if not first.done():
                        first.set_result(time.time())


class BareClient(IdleTimes):
    """One event stream for all turns, as any sensible script has."""

    def __init__(self, http: httpx.AsyncClient, directory: Path) -> None:
        """Run turns in `directory`."""
        super().__init__(http)
        self._directory = str(directory)

    async def turn(self, prompt: str) -> TimedTurn:
        """A fresh session, one prompt, its answer."""
        began, began_at = time.perf_counter(), time.time()
        query = {"directory": self._directory}
        session = (await self._http.post("/session", params=query, json={"title": "bench"})).raise_for_status().json()
        path = f"/session/{session['id']}"
        body = {"parts": [{"type": "text", "text": prompt}]}
        (await self._http.post(f"{path}/prompt_async", params=query, json=body)).raise_for_status()
        async with asyncio.timeout(TURN_TIMEOUT):
            idle_at = await self.of(session["id"])
        messages = (await self._http.get(f"{path}/message", params=query)).raise_for_status().json()
        return timed(messages, time.perf_counter() - began, began_at, idle_at)


def timed(messages: list[dict[str, Any]], total: float, began_at: float, idle_at: float = math.nan) -> TimedTurn:
    """Split a turn's total by the times that OpenCode stored. Both clocks are this machine's.

    Raises:
        ValueError: the turn was not answered: a benchmark of failures says nothing.

    """
    user = next(message["info"] for message in messages if message["info"]["role"] == "user")
    answer = messages[-1]["info"]
    if answer.get("finish") != "stop":
        raise ValueError(f"not answered: {answer.get('error')}")
    stored, done = user["time"]["created"] / 1000, answer["time"]["completed"] / 1000
    seen = began_at + total
    return TimedTurn(total, stored - began_at, done - stored, seen - done, seen - idle_at)
