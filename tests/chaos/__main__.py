"""`python -m tests.chaos`: play runs and print the table by fault.

Exit code 1 when a turn was not settled, or anything was wrong, lost or doubled.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from tests.chaos.faults import BY_NAME, NotHereError
from tests.chaos.report import failures, slowest, table
from tests.chaos.run import Run, play
from tests.chaos.site import running_site


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=len(BY_NAME), help="how many (default: each fault once)")
    parser.add_argument("--seed", type=int, default=0, help="of the first run; the others count up (default: 0)")
    parser.add_argument("--fault", choices=sorted(BY_NAME), help="this one only")
    parser.add_argument("--results", type=Path, help="append a JSON line for each run; the table is of the whole file")
    parser.add_argument("--keep", type=Path, help="directory for logs and databases, kept (default: a temporary one)")
    return parser.parse_args()


async def _main(options: argparse.Namespace) -> int:
    runs = _read(options.results)
    with tempfile.TemporaryDirectory(prefix="turnkeeper-chaos-") as temporary:
        async with running_site(options.keep or Path(temporary)) as site:
            for seed in range(options.seed, options.seed + options.runs):
                run = await play(site, seed, options.fault)
                if isinstance(run, NotHereError):
                    sys.stdout.write(f"seed {seed}: NOT RUN: {run}\n")
                    continue
                runs.append(run)
                _say(run)
                _write(options.results, run)
    sys.stdout.write(f"\n{table(runs)}\n\n")
    for late, run, turn in slowest(runs):
        sys.stdout.write(f"{late:6.2f} s late: seed {run.seed} ({run.fault}), {turn.kind}, {turn.reason}\n")
    for line in failures(runs):
        sys.stdout.write(f"{line}\n")
    return int(any(run.failed for run in runs))


def _read(results: Path | None) -> list[Run]:
    if results is None or not results.exists():
        return []
    return [Run.of(json.loads(line)) for line in results.read_text().splitlines()]


def _write(results: Path | None, run: Run) -> None:
    if results is not None:
        with results.open("a") as file:
            file.write(json.dumps(run.entry()) + "\n")


def _say(run: Run) -> None:
    late = max((turn.late for turn in run.turns if turn.late is not None), default=0.0)
    state = "FAILED" if run.failed else "ok"
    ends = ", ".join(str(turn.reason) for turn in run.turns)
    sys.stdout.write(
        f"seed {run.seed} {run.fault}: {state} in {run.seconds:.0f} s, at most {late:.1f} s late ({ends})\n"
    )
    for line in failures([run]):
        sys.stdout.write(f"  {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(asyncio.run(_main(_arguments())))
