"""Memory of a worker process for each open turn and each idle thread, within its cache of workflows and beyond it.

python -m bench.memory [--open 10 100 1000 ...] [--what KIND ...] [--looks N] [--json FILE] [--quick]

One worker process a side, real Temporal (in memory), `bench.busy_provider` for OpenCode. An open turn is two open
workflows, `Thread` and `Turn`; an idle thread is one, whose turn has ended. Baseline: as many open workflows that do
nothing, on a worker of the same SDK. Each side once with a cache for all of it and once with one for `SMALL_CACHE`
workflows. Memory is the resident set, read when nothing is under way any more; what each costs is the difference to
the row before. Turns look rarely here, so that they rest; `--looks` then makes the first hundred look, within the
cache: the SDK keeps something for each finished step of a workflow in its cache, so an empty one does as many.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import httpx
from temporalio.client import Client

from bench import busy_provider, plain_worker
from bench.results import Results
from bench.servers import ENDPOINT, start_program, start_temporal, start_worker, worker_environment
from bench.timing import median, table
from tests.soak.probe import resident_mb
from turnkeeper.client import Turnkeeper
from turnkeeper.codec import data_converter
from turnkeeper.dev.ports import LOOPBACK, choose_port
from turnkeeper.dev.temporal_server import TemporalServer
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import thread_workflow_id, turn_workflow_id
from turnkeeper.observations import ProviderEvent, ProviderEvents
from turnkeeper.vocabulary import EventKind

OPEN: Final = "open turn"
IDLE: Final = "idle thread"
EMPTY: Final = "empty workflow"

NUMBERS: Final = [10, 100, 1000]

BIG_CACHE: Final = 3
"""Times the highest number: an open turn is two workflows."""

SMALL_CACHE: Final = 50
"""Workflows: the first row fills some of it, the second all of it, and the third is beyond it."""

LOOKS: Final = 20
LOOKERS: Final = 100
"""Turns that look at most: each look is 20 ms of CPU."""

LOOKED: Final = {OPEN: "looks", EMPTY: "activities"}
"""What `--looks` are there."""

A_DIRECTORY: Final = 20
"""Threads that share one: what one OpenCode directory is planned at."""

AT_ONCE: Final = 20
"""Starts under way."""

RESTS: Final = TurnLimits(
    look_interval=timedelta(hours=6), look_interval_max=timedelta(hours=6), stall_timeout=timedelta(hours=7)
)
"""A turn that rests: nothing is due for hours."""

QUIET_POLL: Final = 0.5
QUIET_DEADLINE: Final = 1800.0
"""Seconds until all that was started is at rest, on a machine that does other things too."""

SAMPLES: Final = 3
SAMPLE_EVERY: Final = 0.5
"""Seconds. The median of so many samples counts."""

ACCEPT_TIMEOUT: Final = 300.0


@dataclass(frozen=True)
class Side:
    """What is opened, and how many workflows its worker keeps in memory."""

    what: str
    cache: int

    @property
    def queue(self) -> str:
        """Of a worker of its own."""
        return plain_worker.QUEUE if self.what == EMPTY else f"{self.what.replace(' ', '-')}-{self.cache}"

    def thread(self, number: int) -> str:
        """A thread's name."""
        return f"{self.queue}-{number}"


@dataclass
class Stage:
    """What all sides share: Temporal, the provider, and how many turns it was given so far."""

    state: Path
    server: TemporalServer
    temporal: Client
    provider: httpx.AsyncClient
    turns: int = 0

    @property
    def workspace(self) -> Path:
        """The root of all threads."""
        return self.state / "workspace"

    async def worker(self, stack: AsyncExitStack, side: Side) -> int:
        """Start the side's own; its process id."""
        name = f"{side.queue}-{side.cache}"
        if side.what == EMPTY:
            program = ("-m", "bench.plain_worker", self.server.address, "--cached", str(side.cache))
            process = await start_program(stack, name, self.state, *program, says=plain_worker.READY)
        else:
            url = str(self.provider.base_url)
            environment = worker_environment(
                self.server, url, self.workspace, task_queue=side.queue, max_cached_workflows=side.cache
            )
            environment |= {f"TURNKEEPER_ENDPOINT_{ENDPOINT.upper()}_TASK_QUEUE": side.queue}
            process = await start_worker(stack, name, self.state, environment)
        return process.pid or 0

    async def open(self, side: Side, numbers: range) -> list[str]:
        """Open those of `numbers`, and wait until all of them rest; the workflows that are open then."""
        gate = asyncio.Semaphore(AT_ONCE)
        keeper = Turnkeeper(self.temporal, task_queue=side.queue)

        async def one(number: int) -> str:
            async with gate:
                return await (self._empty(number) if side.what == EMPTY else self._turn(keeper, side, number))

        opened = await asyncio.gather(*(one(number) for number in numbers))
        if side.what != EMPTY:
            self.turns += len(numbers)
            await self._until(self._all_looked)
        await self._rest(opened)
        return opened

    async def look(self, side: Side, opened: Sequence[str]) -> None:
        """Make these look once more; an empty workflow has an activity that does nothing."""
        before = await self._looks()
        for workflow_id in opened:
            handle = self.temporal.get_workflow_handle(workflow_id)
            if side.what == EMPTY:
                await handle.signal(plain_worker.Waits.work)
            else:
                event = ProviderEvent(id=uuid.uuid4().hex, kind=EventKind.ATTACHED)
                await handle.signal("provider_events", ProviderEvents(events=(event,)))

        async def all_looked_again() -> bool:
            return sum((await self._looks()).values()) >= sum(before.values()) + len(opened)

        if side.what != EMPTY:
            await self._until(all_looked_again)
        await self._rest(opened)

    async def _empty(self, number: int) -> str:
        handle = await self.temporal.start_workflow(
            plain_worker.Waits.run, id=f"empty-{number}-{uuid.uuid4().hex}", task_queue=plain_worker.QUEUE
        )
        return handle.id

    async def _turn(self, keeper: Turnkeeper, side: Side, number: int) -> str:
        """The workflow that is left open in the end."""
        directory = self.workspace / f"{number // A_DIRECTORY}"
        directory.mkdir(parents=True, exist_ok=True)
        thread_id, ends = side.thread(number), side.what == IDLE
        started = await keeper.start_turn(
            thread_id,
            busy_provider.AT_ONCE if ends else "work for ever",
            endpoint=ENDPOINT,
            directory=str(directory),
            limits=RESTS,
            accept_timeout=ACCEPT_TIMEOUT,
        )
        if ends:
            await keeper.wait(started)
        return thread_workflow_id(thread_id) if ends else turn_workflow_id(thread_id)

    async def _looks(self) -> dict[str, int]:
        """Readings of the messages of each session."""
        found: dict[str, int] = (await self.provider.get("/bench")).raise_for_status().json()
        return found

    async def _all_looked(self) -> bool:
        return len(await self._looks()) >= self.turns

    async def _rest(self, workflow_ids: Sequence[str]) -> None:
        for workflow_id in workflow_ids:
            await self._until(partial(self._rests, workflow_id))

    async def _rests(self, workflow_id: str) -> bool:
        """Nothing is under way in it."""
        found = (await self.temporal.get_workflow_handle(workflow_id).describe()).raw_description
        return not found.pending_activities and not found.HasField("pending_workflow_task")

    async def _until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(QUIET_DEADLINE):
            while not await condition():  # noqa: ASYNC110 - told by other processes
                await asyncio.sleep(QUIET_POLL)


async def measure(stage: Stage, side: Side, numbers: Sequence[int], looks: int) -> list[dict[str, Any]]:
    """A row for each number, on one worker."""
    rows: list[dict[str, Any]] = []
    async with AsyncExitStack() as stack:
        pid = await stage.worker(stack, side)
        opened: list[str] = []
        for before, number in pairwise([0, *numbers]):
            began = time.perf_counter()
            opened += await stage.open(side, range(before, number))
            rows.append(await _row(side, number, 0, pid, began))
        if looks and side.what != IDLE and side.cache >= BIG_CACHE * len(opened):
            began, lookers = time.perf_counter(), opened[:LOOKERS]
            for _ in range(looks):
                await stage.look(side, lookers)
            rows.append(await _row(side, len(opened), looks * len(lookers), pid, began))
    return rows


async def _row(side: Side, number: int, looks: int, pid: int, began: float) -> dict[str, Any]:
    took = time.perf_counter() - began
    samples = []
    for _ in range(SAMPLES):
        await asyncio.sleep(SAMPLE_EVERY)
        samples.append(resident_mb(pid))
    found = {"rss_mb": round(median(samples), 2), "seconds": round(took, 1)}
    return {"what": side.what, "cache": side.cache, "open": number, "looks": looks, **found}


async def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All sides, one after the other."""
    state = Path(tempfile.mkdtemp(prefix="turnkeeper-bench-"))
    rows: list[dict[str, Any]] = []
    try:
        async with AsyncExitStack() as stack:
            server = await start_temporal(stack, state, in_memory=True)
            port = choose_port(0, program="the busy provider", setting="port")
            program = ("-m", "bench.busy_provider", "--port", str(port))
            await start_program(stack, "provider", state, *program, says=busy_provider.READY)
            http = httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{port}", trust_env=False, timeout=ACCEPT_TIMEOUT)
            provider = await stack.enter_async_context(http)
            temporal = await Client.connect(server.address, data_converter=data_converter())
            stage = Stage(state, server, temporal, provider)
            for cache in (BIG_CACHE * options.open[-1], options.small_cache):
                for what in options.what:
                    rows += await measure(stage, Side(what, cache), options.open, options.looks)
    finally:
        shutil.rmtree(state, ignore_errors=True)
    return rows


def report(results: Results) -> str:
    """A row for each number; what each costs is the difference to the row before."""
    head = ["worker with", "its cache", "of them", "resident MB", "KB each, against the row before", "s"]
    rows = []
    for before, row in zip([{}, *results.rows], results.rows, strict=False):
        same_worker = all(before.get(key) == row[key] for key in ("what", "cache"))
        each = _each(before, row) if same_worker else ""
        cells = [f"{row['what']}s", f"{row['cache']:,}", f"{row['open']:,}", f"{row['rss_mb']:.1f}", each]
        rows.append([*cells, f"{row['seconds']:.0f}"])
    return table(head, rows)


def _each(before: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    more = (row["rss_mb"] - before["rss_mb"]) * 1024
    if row["looks"]:
        return f"{more / row['looks']:.1f} for each of {row['looks']:,} {LOOKED[row['what']]}"
    return f"{more / (row['open'] - before['open']):.1f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--open", type=int, nargs="+", default=NUMBERS, help="ascending; 5000 takes long")
    parser.add_argument("--looks", type=int, default=LOOKS, help="of each of the first turns, in the end")
    parser.add_argument("--small-cache", type=int, default=SMALL_CACHE, help="workflows of the workers beyond it")
    parser.add_argument("--what", nargs="+", choices=[OPEN, IDLE, EMPTY], default=[OPEN, IDLE, EMPTY])
    parser.add_argument("--quick", action="store_true", help="a few of everything: does the benchmark work?")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    if options.quick:
        options.open, options.looks, options.small_cache = [3], 1, 2
    settings = {"open": options.open, "looks": options.looks, "small_cache": options.small_cache}
    results = Results("memory", settings, asyncio.run(run(options)))
    print(report(results))
    results.keep(options.json)


if __name__ == "__main__":
    main()
