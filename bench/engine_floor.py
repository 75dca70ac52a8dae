"""How near Turnkeeper comes to what its design must cost: the shortest turn's overhead beside empty workflows.

python -m bench.engine_floor [--at-once 1 8] [--rounds N] [--in-memory] [--json FILE] [--quick]

Three sides in turn, bare, Turnkeeper, floor, bare, ... on one machine and one Temporal server: the shortest turn
through a bare httpx script, the same through Turnkeeper, and the empty workflows of `bench.empty`, which take the same
steps on the server with payloads of the same sizes. Turnkeeper's total less the script's is its overhead; the floor's
total less its pause is what the steps alone need. The pause stands for the provider's work and lasts as long as it did
for the script in the same round, so that what is done meanwhile counts on neither side.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from bench.bare import TURN_TIMEOUT
from bench.empty import STEPS, empty_turn, events_and_bytes
from bench.results import Results
from bench.servers import Servers, attached_relay, servers
from bench.timing import cpu_per_turn, machine, median, p99, table
from bench.turn_overhead import PROMPTS, WARM_UP, bare_side, one_turn, workflows_of
from turnkeeper.client import Turnkeeper

GOAL: Final = 1.5
"""Overhead of the shortest turn as a multiple of the floor, at most."""

ROUNDS: Final = {1: 30, 8: 10}
"""Rounds of each side by turns at once: enough for a median, in minutes."""

FEWEST_ROUNDS: Final = 6
QUICK_ROUNDS: Final = 1

PROCESSES: Final = {"temporal": "Temporal", "worker": "worker", "empty": "empty worker", "opencode": "OpenCode"}
"""Beginnings of processes' names to what they are called in tables."""

NAMES: Final = {"durable": "Turnkeeper", "floor": "floor"}

T = TypeVar("T")


class Side:
    """What the rounds of one side gave. `totals` in seconds; `steps`: history events and bytes of its turns."""

    def __init__(self, running: Servers, at_once: int) -> None:
        """Count the CPU of the processes that are `running`."""
        self._running = running
        self._at_once = at_once
        self.totals: list[float] = []
        self.cpu: list[dict[str, float]] = []
        self.workflows: list[tuple[str, str]] = []
        self.steps: list[tuple[int, int]] = []

    async def round(self, turn: Callable[[], Awaitable[T]], less: float = 0.0) -> list[T]:
        """So many turns at once; `less`: seconds of each that do not count."""
        before = self._running.cpu()
        timed = await asyncio.gather(*(_timed(turn) for _ in range(self._at_once)))
        self.cpu.append(cpu_per_turn(before, self._running.cpu(), self._at_once))
        self.totals += [total - less for total, _ in timed]
        return [result for _, result in timed]

    def summary(self) -> dict[str, Any]:
        """Medians, and the p99 of the totals."""
        return {
            "n": len(self.totals),
            "total": median(self.totals),
            "p99": p99(self.totals),
            "events": median([events for events, _ in self.steps]) if self.steps else 0,
            "bytes": median([size for _, size in self.steps]) if self.steps else 0,
            "cpu_ms": {name: median([row[name] for row in self.cpu]) for name in self.cpu[0]},
        }


async def _timed(turn: Callable[[], Awaitable[T]]) -> tuple[float, T]:
    began = time.perf_counter()
    result = await turn()
    return time.perf_counter() - began, result


async def measure(running: Servers, at_once: int, rounds: int, warm_up: int = WARM_UP) -> dict[str, Any]:
    """Alternating rounds of the three sides, so many turns at once."""
    await _rounds(running, at_once, warm_up)
    bare, durable, floor, pauses = await _rounds(running, at_once, rounds)
    found = {"bare": bare.summary(), "durable": durable.summary(), "floor": floor.summary()}
    return {"at_once": at_once, **found, "pause": median(pauses), **compared(found)}


async def _rounds(running: Servers, at_once: int, rounds: int) -> tuple[Side, Side, Side, list[float]]:
    bare, durable, floor = (Side(running, at_once) for _ in range(3))
    pauses = []
    prompt, keeper, temporal = PROMPTS["shortest"], Turnkeeper(running.temporal), running.temporal
    async with running.opencode.client(timeout=TURN_TIMEOUT) as http:
        for _ in range(rounds):
            async with bare_side(running, http) as turn:
                timed = await bare.round(lambda turn=turn: turn(prompt))  # type: ignore[misc]
            pauses.append(median([one.provider for one in timed]))
            async with attached_relay(temporal):
                results = await durable.round(lambda: one_turn(keeper, str(running.workspace), prompt))
            durable.workflows += [workflows_of(one) for one in results]
            names = await floor.round(lambda: empty_turn(temporal, pauses[-1]), less=pauses[-1])
            floor.workflows += [(name, f"{name}:turn") for name in names]
    # Only now: a thread's own end of a turn comes after the turn's result.
    for side in (durable, floor):
        side.steps = [await events_and_bytes(temporal, *pair) for pair in side.workflows]
    return bare, durable, floor, pauses


def compared(found: dict[str, Any]) -> dict[str, float]:
    """Medians against medians: the overhead in ms, and as a multiple of the floor."""
    overhead = found["durable"]["total"] - found["bare"]["total"]
    return {"overhead_ms": overhead * 1000, "ratio": overhead / found["floor"]["total"]}


async def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All settings, in the order asked for."""
    async with servers(in_memory=options.in_memory, empty_workers=1) as running:
        if options.quick:
            return [await measure(running, 1, QUICK_ROUNDS, warm_up=1)]
        return [await measure(running, n, options.rounds or ROUNDS.get(n, FEWEST_ROUNDS)) for n in options.at_once]


def report(results: Results) -> str:
    """Two tables: the ratio, and what was spent."""
    ratios, spent = [], []
    for row in results.rows:
        bare, durable, floor = row["bare"], row["durable"], row["floor"]
        medians = [f"{side['total'] * 1000:.0f}" for side in (bare, durable)]
        tails = [f"{side['p99'] * 1000:.0f}" for side in (bare, durable, floor)]
        ratio = [f"{row['overhead_ms']:.0f}", f"{floor['total'] * 1000:.0f}", f"**{row['ratio']:.2f}**"]
        ratios.append([str(row["at_once"]), str(durable["n"]), *medians, *ratio, *tails])
        for name in ("durable", "floor"):
            side = row[name]
            cpu = [sum(ms for process, ms in side["cpu_ms"].items() if process.startswith(kind)) for kind in PROCESSES]
            steps = [f"{side['events']:.0f}", f"{side['bytes']:.0f}"]
            spent.append([str(row["at_once"]), NAMES[name], *steps, *(f"{ms:.0f}" for ms in cpu)])
    head = ["at once", "n", "bare ms", "Turnkeeper ms", "overhead ms", "floor ms", "overhead / floor"]
    head += ["bare p99", "Turnkeeper p99", "floor p99"]
    where = ["at once", "side", "history events", "history bytes", *(f"CPU ms: {name}" for name in PROCESSES.values())]
    written = " + ".join(f"{events} ({workflow})" for workflow, events in STEPS.items())
    setting = (
        f"Shortest turn, medians; Temporal dev server, tuned,"
        f" {results.settings['database']}; the floor is written for {written} history events; goal: at most {GOAL}."
    )
    return "\n\n".join([setting, table(head, ratios), table(where, spent)])


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, help="rounds of each side (default: by turns at once)")
    parser.add_argument("--in-memory", action="store_true", help="Temporal without its file database")
    parser.add_argument("--quick", action="store_true", help="the fewest rounds that go through everything: no figure")
    parser.add_argument("--json", type=Path, help="keep the figures there")
    options = parser.parse_args()
    database = "in memory" if options.in_memory else "file database with WAL"
    rows = asyncio.run(run(options))
    results = Results("engine_floor", {"database": database, "quick": options.quick}, rows)
    print(f"{machine()}. {report(results)}")
    results.keep(options.json)


if __name__ == "__main__":
    main()
