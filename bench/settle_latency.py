"""How soon a waiting client knows that its turn is over: the truth (the idle event of OpenCode) to the settled result.

python -m bench.settle_latency [--at-once 8] [--rounds N] [--quick] [--json FILE]

Beside a bare script, which hears the same event and then reads the messages, in alternating rounds. Once with all turns
begun together, so that all end in the same moment, and once with their starts spread over a turn's length, as those of
people are; on the tuned dev server in memory, and on its file database.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any, Final

from bench.bare import TURN_TIMEOUT, BareClient, IdleTimes
from bench.results import Results
from bench.servers import Servers, attached_relay, servers
from bench.timing import TimedTurn, machine, median, p99, table
from bench.turn_overhead import PROMPTS, WARM_UP, DurableClient, Run

STARTS: Final = {"together": 0.0, "spread": 3.0}
"""Seconds over which the turns of a round begin: a turn lasts 3."""

ROUNDS: Final = 12
"""Of each side and kind of start: with 8 turns each enough for a p99 that is not the largest."""


async def _round(run: Run, at_once: int, spread: float) -> list[float]:
    """Seconds from truth to known of each turn."""

    async def later(number: int) -> TimedTurn:
        await asyncio.sleep(number * spread / at_once)
        return await run(PROMPTS["3 s"])

    return [turn.to_told for turn in await asyncio.gather(*(later(number) for number in range(at_once)))]


async def _measure(running: Servers, at_once: int, spread: float, rounds: int) -> dict[str, list[float]]:
    """Alternating rounds. Each side has an event stream of its own, and Turnkeeper its relay's beside it."""
    found: dict[str, list[float]] = {"bare": [], "durable": []}
    async with running.opencode.client(timeout=TURN_TIMEOUT) as http:
        for number in range(WARM_UP + rounds):
            async with BareClient(http, running.workspace) as client:
                bare = await _round(client.turn, at_once, spread)
            async with attached_relay(running.temporal), IdleTimes(http) as idle:
                durable = await _round(DurableClient(running, http, idle).turn, at_once, spread)
            if number >= WARM_UP:
                found["bare"] += bare
                found["durable"] += durable
    return found


async def run(at_once: int, rounds: int) -> list[dict[str, Any]]:
    """Both databases, both kinds of start."""
    rows = []
    for database, in_memory in (("in memory", True), ("file, WAL", False)):
        async with servers(in_memory=in_memory) as running:
            for starts, spread in STARTS.items():
                found = await _measure(running, at_once, spread, rounds)
                sides = {side: {"p50": median(late), "p99": p99(late)} for side, late in found.items()}
                rows.append({"database": database, "starts": starts, "n": len(found["durable"]), **sides})
    return rows


def report(results: Results) -> str:
    """One table, in milliseconds."""
    lines = [
        [
            row["database"],
            row["starts"],
            str(row["n"]),
            *(f"{row[side][part] * 1000:.0f}" for side in ("bare", "durable") for part in ("p50", "p99")),
        ]
        for row in results.rows
    ]
    head = ["database", "starts", "n", "bare p50 ms", "bare p99", "Turnkeeper p50 ms", "Turnkeeper p99"]
    return f"{results.settings['at_once']} turns of 3 s at once.\n\n{table(head, lines)}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--quick", action="store_true", help="one round of one turn: no figure")
    options = parser.parse_args()
    if options.quick:
        options.at_once, options.rounds = 1, 1
    results = Results("settle_latency", {"at_once": options.at_once}, asyncio.run(run(options.at_once, options.rounds)))
    print(f"{machine()}. {report(results)}")
    results.keep(options.json)


if __name__ == "__main__":
    main()
