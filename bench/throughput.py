"""Turns a second through the whole of Turnkeeper, beside as many empty workflows, with 1, 2 and 4 worker processes.

python -m bench.throughput [--workers 1 2 4] [--turns N] [--in-flight N] [--rounds N] [--in-memory] [--json FILE]
    [--quick]

The provider is `bench.instant_provider`, which answers at once, so what is left is Turnkeeper and Temporal. The
baseline is `bench.empty` with as many workers of its own: the same steps on the same server without their meaning; it
has no provider, whose CPU a turn pays on these cores too. Each round starts new servers for each number of workers, and
there Turnkeeper and floor take turns, each first in every other round; so many turns are kept in flight by one client
process. What a process used of one core says which of them was the limit.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from temporalio.client import Client

from bench.empty import empty_turn, events_and_bytes
from bench.results import Results
from bench.servers import (
    attached_relay,
    start_empty_worker,
    start_program,
    start_temporal,
    start_worker,
    worker_environment,
)
from bench.timing import cpu_seconds, machine, median, p99, table
from bench.turn_overhead import one_turn, workflows_of
from turnkeeper.client import Turnkeeper
from turnkeeper.codec import data_converter
from turnkeeper.dev.ports import LOOPBACK, choose_port

GOAL: Final = 0.8
"""Turns a second as a part of the floor's, at least."""

GAIN_GOAL: Final = 1.5
"""Turns a second with a second worker process, at least, until the server is the limit."""

FULL: Final = 0.85
"""Share of a core, or of all, at which a process, or the machine, counts as busy all the time."""

PROMPT: Final = "bench"

STEPS_OF: Final = 10
"""Turns of a round whose history events are counted."""

OURS: Final = {"durable": "worker", "floor": "empty"}
"""Beginning of the names of a side's worker processes."""

NAMES: Final = {"durable": "Turnkeeper", "floor": "floor"}


@dataclass(frozen=True)
class Load:
    """How hard each side is driven in a round."""

    turns: int = 200
    in_flight: int = 20
    rounds: int = 4

    def warm_up(self) -> Load:
        """What counts for nothing: connections, caches, the server's memory."""
        return replace(self, turns=self.turns // 2)


QUICK: Final = Load(turns=20, in_flight=10, rounds=1)


@dataclass(frozen=True)
class Site:
    """Servers with workers of both sides."""

    temporal: Client
    directory: str
    processes: dict[str, int]

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU of each process so far."""
        return {name: cpu_seconds(pid) for name, pid in self.processes.items()}

    async def durable(self) -> tuple[str, str]:
        """A turn through Turnkeeper; its workflows."""
        result = await one_turn(Turnkeeper(self.temporal), self.directory, PROMPT)
        if result.outcome.reason != "finished":
            raise ValueError(f"a benchmark of failures says nothing: {result.outcome.reason}")
        return workflows_of(result)

    async def floor(self) -> tuple[str, str]:
        """An empty turn; its workflows."""
        name = await empty_turn(self.temporal, pause=0.0)
        return name, f"{name}:turn"


@asynccontextmanager
async def site(workers: int, *, in_memory: bool) -> AsyncIterator[Site]:
    """Provider, Temporal, so many workers of each side, and the relay."""
    state = Path(tempfile.mkdtemp(prefix="turnkeeper-bench-"))
    try:
        async with AsyncExitStack() as stack:
            port = choose_port(0, program="the instant provider", setting="port")
            arguments = ("-m", "bench.instant_provider", "--port", str(port), "--directory", str(state))
            provider = await start_program(stack, "provider", state, *arguments, says="listening")
            temporal = await start_temporal(stack, state, in_memory=in_memory)
            environment = worker_environment(temporal, f"http://{LOOPBACK}:{port}", state)
            running = [provider, temporal.process]
            for n in range(workers):
                running.append(await start_worker(stack, f"worker-{n}", state, environment))
                running.append(await start_empty_worker(stack, f"empty-{n}", state, temporal))
            client = await Client.connect(temporal.address, data_converter=data_converter())
            await stack.enter_async_context(attached_relay(client))
            names = ["provider", "temporal", *(process.name for process in running[2:])]
            processes = {name: process.pid or 0 for name, process in zip(names, running, strict=True)}
            yield Site(client, str(state), {"client": os.getpid(), **processes})
    finally:
        shutil.rmtree(state, ignore_errors=True)


Turn = Callable[[], Awaitable[tuple[str, str]]]


async def flood(at: Site, turn: Turn, load: Load) -> dict[str, Any]:
    """`load.turns` turns, `load.in_flight` of them at any time."""
    left, seconds = iter(range(load.turns)), []
    workflows: list[tuple[str, str]] = []

    async def lane() -> None:
        for _ in left:
            began = time.perf_counter()
            workflows.append(await turn())
            seconds.append(time.perf_counter() - began)

    before, began = at.cpu(), time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(load.in_flight)))
    wall, after = time.perf_counter() - began, at.cpu()
    cpu = {name: after[name] - before[name] for name in after}
    # Not the last ones: a thread's own end of a turn comes after the turn's result.
    steps = [await events_and_bytes(at.temporal, *pair) for pair in workflows[:STEPS_OF]]
    return {"seconds": seconds, "wall": wall, "cpu": cpu, "steps": steps}


async def run(workers: Sequence[int], load: Load, *, in_memory: bool) -> list[dict[str, Any]]:
    """Rounds over all numbers of workers, and in each the two sides in turn."""
    found: dict[int, dict[str, list[dict[str, Any]]]] = {n: {side: [] for side in OURS} for n in workers}
    for counted in range(load.rounds):
        for number in workers:
            async with site(number, in_memory=in_memory) as at:
                sides: dict[str, Turn] = {"durable": at.durable, "floor": at.floor}
                # Each side first in every other round: young servers get faster with every turn.
                order = list(sides) if counted % 2 == 0 else list(reversed(sides))
                for side in order:
                    await flood(at, sides[side], load.warm_up())
                for side in order:
                    found[number][side].append(await flood(at, sides[side], load))
    cores = os.cpu_count() or 1
    rows = [
        {"workers": n, **{side: summary(side, rounds, cores) for side, rounds in found[n].items()}} for n in workers
    ]
    return compared(rows)


def summary(side: str, rounds: Sequence[Mapping[str, Any]], cores: int) -> dict[str, Any]:
    """Medians over the rounds of one side. `share`: of one core, by process; `cpu_ms`: a turn, by kind of process."""
    turns = [second for one in rounds for second in one["seconds"]]
    names = [
        name for name in rounds[0]["cpu"] if not name.startswith(OURS["floor" if side == "durable" else "durable"])
    ]
    share = {name: median([one["cpu"][name] / one["wall"] for one in rounds]) for name in names}
    cpu: dict[str, float] = {}
    for name in names:
        kind = name.partition("-")[0]
        cpu[kind] = cpu.get(kind, 0.0) + median([one["cpu"][name] * 1000 / len(one["seconds"]) for one in rounds])
    return {
        "n": len(turns),
        "per_second": median([len(one["seconds"]) / one["wall"] for one in rounds]),
        "median": median(turns),
        "p99": p99(turns),
        "cpu_ms": cpu,
        "share": share,
        "limit": limit_of(share, cores),
        "events": median([events for one in rounds for events, _ in one["steps"]]),
        "bytes": median([size for one in rounds for _, size in one["steps"]]),
    }


def limit_of(share: Mapping[str, float], cores: int) -> str:
    """What kept it from going faster. `share`: of one core, by process; only Temporal can use more than one."""
    busiest = max(share, key=lambda name: share[name])
    if sum(share.values()) >= FULL * cores:
        return f"all {cores} cores, most of it {busiest}"
    if busiest != "temporal" and share[busiest] >= FULL:
        return f"{busiest}, one core"
    return "no process: waiting"


def compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With the ratio to the floor, and the gain over the row with the fewest workers, of both sides."""
    first = min(rows, key=lambda row: row["workers"])
    return [
        row
        | {
            "ratio": row["durable"]["per_second"] / row["floor"]["per_second"],
            "gain": {side: row[side]["per_second"] / first[side]["per_second"] for side in OURS},
        }
        for row in rows
    ]


def report(results: Results) -> str:
    """Two tables: how many, and what was spent on each."""
    many, spent = [], []
    for row in results.rows:
        durable, floor = row["durable"], row["floor"]
        rates = [f"{side['per_second']:.1f}" for side in (durable, floor)]
        gains = [f"{row['gain'][side]:.2f}" for side in OURS]
        many.append([str(row["workers"]), str(durable["n"]), *rates, f"**{row['ratio']:.2f}**", *gains])
        for name in OURS:
            side, worker = row[name], OURS[name]
            latency = [f"{side['median']:.2f}", f"{side['p99']:.2f}"]
            kinds = ["temporal", worker, "client", "provider"]
            cpu = [f"{side['cpu_ms'][kind]:.1f}" for kind in kinds]
            shares = ", ".join(f"{process} {share:.2f}" for process, share in side["share"].items())
            steps = f"{side['events']:.0f}"
            spent.append([str(row["workers"]), NAMES[name], *latency, steps, *cpu, shares, side["limit"]])
    head = ["workers", "n", "turns/s", "floor/s", "turns / floor", "gain", "gain of floor"]
    where = ["workers", "side", "median s", "p99 s", "history events", "CPU ms a turn: Temporal", "workers", "client"]
    where += ["provider", "shares of one core", "limit"]
    setting = (
        f"{results.settings['in_flight']} turns in flight from one client; Temporal dev"
        f" server, tuned, {results.settings['database']}; goals: at least {GOAL} of the floor, and a gain of"
        f" {GAIN_GOAL} with the second worker."
    )
    return "\n\n".join([setting, table(head, many), table(where, spent)])


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = Load()
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="worker processes of each side")
    parser.add_argument("--turns", type=int, default=usual.turns, help="of each side in a round")
    parser.add_argument("--in-flight", type=int, default=usual.in_flight)
    parser.add_argument("--rounds", type=int, default=usual.rounds)
    parser.add_argument("--in-memory", action="store_true", help="Temporal without its file database")
    parser.add_argument("--quick", action="store_true", help="the fewest turns that go through everything: no figure")
    parser.add_argument("--json", type=Path, help="keep the figures there")
    options = parser.parse_args()
    load = QUICK if options.quick else Load(options.turns, options.in_flight, options.rounds)
    database = "in memory" if options.in_memory else "file database with WAL"
    rows = asyncio.run(run([1, 2] if options.quick else options.workers, load, in_memory=options.in_memory))
    settings = {"database": database, "in_flight": load.in_flight, "turns": load.turns, "quick": options.quick}
    results = Results("throughput", settings, rows)
    print(f"{machine()}. {report(results)}")
    results.keep(options.json)


if __name__ == "__main__":
    main()
