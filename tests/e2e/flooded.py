"""A process that looks at turns and reads events of a provider that says too much, and tells how it fared.

`python -m tests.e2e.flooded ADDRESS` writes one JSON object. Processor time, not the clock, says how long the event
loop was kept from everything else: on a busy machine the clock runs on for other reasons.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from contextlib import suppress
from typing import Any, Final

from tests.e2e.flooding import MESSAGES, SANE, STREAMS, name_in_path
from turnkeeper.errors import ProviderError
from turnkeeper.observations import LookRequest, Unreachable
from turnkeeper.opencode.client import OpenCodeClient
from turnkeeper.opencode.driver import OpenCodeDriver
from turnkeeper.opencode.stream import open_stream
from turnkeeper.settings import EndpointSettings

AT_ONCE: Final = 2
STREAM_SECONDS: Final = 1.0
TICK: Final = 0.002
REQUEST: Final = LookRequest(endpoint="flood", directory="/w", session_id="ses_1", message_id="m", text_limit=1000)
ADDRESS_SPACE: Final = 4 * 1024**3
"""Bytes. A reader without bounds fails here instead of taking the machine down."""


def client_of(address: str, kind: str) -> OpenCodeClient:
    url = f"{address}/{name_in_path(kind)}"
    return OpenCodeClient(EndpointSettings.model_validate({"url": url, "roots": ["/"]}), "flood")


class Watch:
    """How long the loop's thread computed between two ticks, at most."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.within = ""
        self.doing = ""

    async def run(self) -> None:
        before = time.thread_time()
        while True:
            await asyncio.sleep(TICK)
            now = time.thread_time()
            if now - before > self.longest:
                self.longest, self.within = now - before, self.doing
            before = now


async def look(address: str, kind: str) -> dict[str, Any]:
    client = client_of(address, kind)
    try:
        reading = await OpenCodeDriver(client).look(REQUEST)
    finally:
        await client.close()
    if isinstance(reading, Unreachable):
        return {"kind": reading.kind, "code": reading.failure.code, "size": len(reading.model_dump_json())}
    return {"kind": reading.kind}


async def read_stream(address: str, kind: str) -> int:
    """Events read in a while."""
    client, events = client_of(address, kind), 0
    with suppress(ProviderError, TimeoutError):
        async with asyncio.timeout(STREAM_SECONDS), open_stream(client) as stream:
            async for batch in stream:
                events += len(batch)
    await client.close()
    return events


async def sane_looks(address: str, answered: list[str]) -> None:
    while True:
        answered.append((await look(address, SANE))["kind"])
        await asyncio.sleep(0.05)


async def main(address: str) -> None:
    await look(address, SANE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    watch, sane = Watch(), list[str]()
    beside = [asyncio.create_task(watch.run()), asyncio.create_task(sane_looks(address, sane))]
    looks: dict[str, list[dict[str, Any]]] = {}
    streams: dict[str, int] = {}
    for kind in MESSAGES:
        watch.doing = kind
        looks[kind] = await asyncio.gather(*(look(address, kind) for _ in range(AT_ONCE)))
    for kind in STREAMS:
        watch.doing = kind
        streams[kind] = await read_stream(address, kind)
    watch.doing = ""
    for task in beside:
        task.cancel()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    told = {"looks": looks, "streams": streams, "sane": sane, "grown_mb": grown // 1024}
    sys.stdout.write(json.dumps({**told, "blocked": watch.longest, "within": watch.within}))


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    asyncio.run(main(sys.argv[1]))
