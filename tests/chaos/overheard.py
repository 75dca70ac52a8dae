"""What OpenCode said went wrong, from its event stream: a run that fails before its first word stores nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx

from tests.chaos.lies import STREAM

PREFIX: Final = "data: "
AGAIN: Final = 0.2
"""Seconds until the stream of an OpenCode that went away is tried again."""

SILENCE: Final = 30.0
"""Seconds without a line; OpenCode beats every 10."""


class Overheard:
    """Sessions that OpenCode told an error of, for as long as the site runs."""

    def __init__(self) -> None:
        self.sessions: set[str] = set()

    async def listen(self, client: httpx.AsyncClient) -> None:
        """For ever; what OpenCode says while nobody is attached is missed."""
        while True:
            with contextlib.suppress(httpx.HTTPError):
                async with client.stream("GET", STREAM, timeout=SILENCE) as answer:
                    async for line in answer.aiter_lines():
                        self._hear(line)
            await asyncio.sleep(AGAIN)

    def _hear(self, line: str) -> None:
        if "session.error" not in line or not line.startswith(PREFIX):
            return
        payload = json.loads(line.removeprefix(PREFIX))["payload"]
        if payload["type"] == "session.error" and "sessionID" in payload["properties"]:
            self.sessions.add(payload["properties"]["sessionID"])


@asynccontextmanager
async def overhearing(client: httpx.AsyncClient) -> AsyncIterator[Overheard]:
    """Attached while the body runs."""
    overheard = Overheard()
    task = asyncio.create_task(overheard.listen(client))
    try:
        yield overheard
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
