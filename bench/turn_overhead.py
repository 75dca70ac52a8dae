"""What Turnkeeper adds to a turn: the same prompt through a bare httpx script and through Turnkeeper, in turns.

python -m bench.turn_overhead [--at-once 1 20] [--rounds N] [--in-memory] [--quick] [--json FILE]

A turn is scripted to last about 3 s (60 tokens at 20 a second). Rounds alternate bare, durable, bare, durable … on
the same OpenCode, so that a machine that gets slower slows both down.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from bench.bare import TURN_TIMEOUT, BareClient, IdleTimes, timed
from bench.results import Results
from bench.servers import ENDPOINT, Servers, attached_relay, servers
from bench.timing import TimedTurn, cpu_per_turn, machine, median, p99, table
from turnkeeper.client import Turnkeeper
from turnkeeper.messages import TurnResult, thread_workflow_id, turn_workflow_id

PROMPTS: Final = {
    "3 s": 'bench <<<[{"kind": "text", "tokens": 60, "interval": 0.05}]>>>',
    "shortest": 'bench <<<[{"kind": "text", "tokens": 1}]>>>',
}
ROUNDS: Final = {1: 10, 8: 6, 20: 6, 60: 3}
"""Rounds of each kind by turns at once: enough for a median, in minutes."""

WARM_UP: Final = 2
"""Rounds that count for nothing: the instance, connections, caches and just-in-time compilers of all sides."""

Run = Callable[[str], Awaitable[TimedTurn]]


class DurableClient:
    """The same turn through Turnkeeper, in a thread of its own."""

    def __init__(self, running: Servers, http: httpx.AsyncClient, idle: IdleTimes | None = None) -> None:
        """Read OpenCode's own times with `http`, outside the timed span; `idle` listens beside it."""
        self._idle = idle
        self._keeper = Turnkeeper(running.temporal)
        self._directory = str(running.workspace)
        self._http = http

    async def turn(self, prompt: str) -> TimedTurn:
        """A fresh thread, one prompt, its outcome."""
        began, began_at = time.perf_counter(), time.time()
        result = await one_turn(self._keeper, self._directory, prompt)
        total = time.perf_counter() - began
        answer = await self._http.get(f"/session/{result.session_id}/message", params={"directory": self._directory})
        idle_at = await self._idle.of(result.session_id or "") if self._idle is not None else math.nan
        return timed(answer.raise_for_status().json(), total, began_at, idle_at)


async def one_turn(keeper: Turnkeeper, directory: str, prompt: str) -> TurnResult:
    """A fresh thread, one prompt, its outcome."""
    started = await keeper.start_turn(
        f"bench-{uuid.uuid4().hex}",
        prompt,
        endpoint=ENDPOINT,
        directory=directory,
        accept_timeout=TURN_TIMEOUT,
    )
    return await keeper.wait(started)


def workflows_of(turn: TurnResult) -> tuple[str, str]:
    """Ids of its thread's workflow and its own."""
    return thread_workflow_id(turn.thread_id), turn_workflow_id(turn.thread_id)


@asynccontextmanager
async def bare_side(running: Servers, http: httpx.AsyncClient) -> AsyncIterator[Run]:
    """The script, with its stream."""
    async with BareClient(http, running.workspace) as client:
        yield client.turn


@asynccontextmanager
async def durable_side(running: Servers, http: httpx.AsyncClient) -> AsyncIterator[Run]:
    """Turnkeeper, with its relay."""
    async with attached_relay(running.temporal):
        yield DurableClient(running, http).turn


async def measure(running: Servers, prompt: str, at_once: int, rounds: int) -> dict[str, Any]:
    """Alternating rounds; seconds and CPU of both sides. Each side has the only event stream while it runs."""
    found: dict[str, list[TimedTurn]] = {"bare": [], "durable": []}
    cpu: dict[str, list[dict[str, float]]] = {"bare": [], "durable": []}
    async with running.opencode.client(timeout=TURN_TIMEOUT) as http:
        for number in range(WARM_UP + rounds):
            for name in found:
                async with bare_side(running, http) if name == "bare" else durable_side(running, http) as turn:
                    before = running.cpu()
                    turns = await asyncio.gather(*(turn(prompt) for _ in range(at_once)))
                    if number >= WARM_UP:
                        found[name] += turns
                        cpu[name].append(cpu_per_turn(before, running.cpu(), at_once))
    return {side: _summary(found[side], cpu[side]) for side in found}


def _summary(turns: list[TimedTurn], cpu: list[dict[str, float]]) -> dict[str, Any]:
    parts = ("total", "to_stored", "provider", "to_seen")
    return {
        "n": len(turns),
        "p99": p99([turn.total for turn in turns]),
        **{part: median([getattr(turn, part) for turn in turns]) for part in parts},
        "cpu_ms": {name: median([row[name] for row in cpu]) for name in cpu[0]},
    }


async def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All measurements, in the order asked for."""
    results = []
    async with servers(in_memory=options.in_memory, snapshots=not options.no_snapshots) as running:
        for kind in options.turns:
            for at_once in options.at_once:
                rounds = options.rounds or ROUNDS.get(at_once, 3)
                measured = await measure(running, PROMPTS[kind], at_once, rounds)
                results.append({"turn": kind, "at_once": at_once, **measured})
    return results


def report(results: Results) -> str:
    """Two tables: the ratio, and where the time goes."""
    ratios, parts = [], []
    for row in results.rows:
        bare, durable = row["bare"], row["durable"]
        ratios.append(
            [
                row["turn"],
                str(row["at_once"]),
                str(durable["n"]),
                f"{bare['total']:.3f}",
                f"{durable['total']:.3f}",
                f"{bare['p99']:.3f}",
                f"{durable['p99']:.3f}",
                f"**{durable['total'] / bare['total']:.3f}**",
            ]
        )
        for side in ("bare", "durable"):
            cpu = row[side]["cpu_ms"]
            worker = sum(value for name, value in cpu.items() if name.startswith("worker"))
            times = [f"{row[side][part] * 1000:.0f}" for part in ("to_stored", "provider", "to_seen")]
            spent = [f"{value:.0f}" for value in (cpu["opencode"], cpu["temporal"], worker)]
            parts.append([row["turn"], str(row["at_once"]), side, *times, *spent])
    head = ["turn", "at once", "n", "bare s", "durable s", "bare p99", "durable p99", "ratio of medians"]
    where = ["turn", "at once", "side", "call → stored ms", "provider ms", "answer → seen ms"]
    where += ["CPU ms a turn: OpenCode", "Temporal", "worker"]
    snapshots = "on (its default)" if results.settings["snapshots"] else "off"
    setting = f"Temporal dev server, tuned, {results.settings['database']}; OpenCode's snapshots {snapshots}."
    return "\n\n".join([setting, table(head, ratios), table(where, parts)])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 20])
    parser.add_argument("--turns", nargs="+", choices=list(PROMPTS), default=["3 s"])
    parser.add_argument("--rounds", type=int, help="rounds of each side (default: by turns at once)")
    parser.add_argument("--in-memory", action="store_true", help="Temporal without its file database")
    parser.add_argument("--no-snapshots", action="store_true", help="OpenCode with `snapshot: false`: half its CPU")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--quick", action="store_true", help="one round of the shortest turn, one at a time: no figure")
    options = parser.parse_args()
    if options.quick:
        options.at_once, options.turns, options.rounds = [1], ["shortest"], 1
    rows = asyncio.run(run(options))
    database = "in memory" if options.in_memory else "file database with WAL"
    results = Results("turn_overhead", {"database": database, "snapshots": not options.no_snapshots}, rows)
    print(f"{machine()}. {report(results)}")
    results.keep(options.json)


if __name__ == "__main__":
    main()
