"""What reading events costs: the relay's whole way beside a loop that only parses the same bytes.

python -m bench.ingest [--events N] [--rounds N] [--megabytes N] [--quick] [--json FILE]

In one process and without network: recorded traffic, multiplied, comes out of an httpx response in the pieces that a
socket would give: each event by itself, as a reader gets them that keeps up, and 64 KiB, as one that is behind. The
relay's side decodes, translates, routes and folds into mailboxes, by the parts that `activities.relay` is made of, and
counts what would be signalled. The baseline, on the same response, cuts the bytes at empty lines and gives each event
to `json.loads`; a second one to pydantic's parser, the fastest at hand. Sides alternate. Times are seconds of CPU:
nothing here waits, and so what else runs on the machine counts less.

The second part (`bench.ingest_memory`) reads many megabytes of text deltas and looks at the memory.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json

from bench.ingest_memory import CASES, measure_memory
from bench.ingest_sides import Counted, Side, parse_with, relay_and_count
from bench.results import Results
from bench.timing import median, p99, table
from bench.traffic import SOCKET_READ, Mix, mixes

GOAL: Final = 0.5
"""Events a second of the relay's side, of those of `json.loads`."""

SIDES: Final[Mapping[str, Side]] = {
    "parse": parse_with(),
    "relay": relay_and_count,
    "fast_parse": parse_with(from_json),
}
PIECES: Final[Mapping[str, int | None]] = {"each event": None, "64 KiB": SOCKET_READ}

EVENTS: Final = 20_000
"""A round: some hundred milliseconds a side."""

ROUNDS: Final = 30
MEGABYTES: Final = 100

WARM_UP: Final = 1
"""Rounds that count for nothing."""


def measure(mix: Mix, pieces: str, rounds: int) -> dict[str, Any]:
    """Alternating rounds of all sides over the same bytes."""
    chunks = mix.chunks(PIECES[pieces])
    counted = Counted()
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    for number in range(WARM_UP + rounds):
        for name, side in SIDES.items():
            gc.collect()
            began = time.process_time()
            found = asyncio.run(side(chunks))
            spent = time.process_time() - began
            if number >= WARM_UP:
                seconds[name].append(spent)
            if isinstance(found, Counted):
                counted = found
    sides = {name: _summary(spent, len(mix.frames)) for name, spent in seconds.items()}
    return {
        "mix": mix.name,
        "pieces": pieces,
        "events": len(mix.frames),
        "bytes": sum(map(len, mix.frames)),
        "deltas": mix.deltas,
        "n": rounds,
        **sides,
        "ratio": sides["parse"]["us"] / sides["relay"]["us"],
        "fast_ratio": sides["fast_parse"]["us"] / sides["relay"]["us"],
        "signals": counted.signals,
        "signalled_events": counted.events,
    }


def _summary(seconds: Sequence[float], events: int) -> dict[str, float]:
    """Microseconds of CPU an event: the median round, and the 99th percentile of the rounds."""
    return {"us": median(seconds) / events * 1e6, "us_p99": p99(seconds) / events * 1e6}


def report(results: Results) -> str:
    """Two tables: speed, and memory."""
    speed = [row for row in results.rows if "mix" in row]
    memory = [row for row in results.rows if "case" in row]
    return "\n\n".join([_speed_table(speed), *([_memory_table(memory)] if memory else [])])


def _speed_table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for row in rows:
        sides = [f"{row[side]['us']:.2f} ({row[side]['us_p99']:.2f})" for side in SIDES]
        rate = f"{1e6 / row['relay']['us']:,.0f}"
        met = f"**{row['ratio']:.2f}**" + ("" if row["ratio"] >= GOAL else " (missed)")
        deltas = f"{row['deltas']:.0%}"
        lines.append([row["mix"], deltas, row["pieces"], str(row["n"]), *sides, rate, met, f"{row['fast_ratio']:.2f}"])
    head = ["traffic", "deltas", "read in pieces of", "n"]
    head += ["parse only, µs an event (p99)", "relay", "parse with pydantic's parser"]
    head += ["relay, events/s", f"relay ÷ parse only, events/s (goal ≥ {GOAL})", "÷ pydantic's parser"]
    return table(head, lines)


def _memory_table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        [
            row["case"],
            f"{row['megabytes']}",
            *(f"{row[when] / 1024:.1f}" for when in ("before", "tenth", "after", "peak")),
            f"**{(row['after'] - row['tenth']) / 1024:+.1f}**",
        ]
        for row in rows
    ]
    head = ["what is read", "MB", "RSS before, MiB", "after a tenth", "after", "peak", "from a tenth to the end"]
    return table(head, lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=EVENTS, help="of each mix, a round")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each side")
    parser.add_argument("--megabytes", type=int, default=MEGABYTES, help="of deltas for the memory; 0: leave it out")
    parser.add_argument("--quick", action="store_true", help="the smallest setting that goes through everything")
    parser.add_argument("--json", type=Path, help="keep the figures there")
    options = parser.parse_args()
    events, rounds, megabytes = options.events, options.rounds, options.megabytes
    if options.quick:
        events, rounds, megabytes = 2000, 3, min(10, megabytes)
    rows = [measure(mix, pieces, rounds) for mix in mixes(events) for pieces in PIECES]
    rows += [measure_memory(case, megabytes) for case in CASES if megabytes]
    results = Results("ingest", {"events": events, "rounds": rounds, "megabytes": megabytes}, rows)
    results.keep(options.json)
    print(report(results))


if __name__ == "__main__":
    main()
