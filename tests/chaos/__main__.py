"""`python -m tests.chaos`: play runs and print the tables.

Exit code 1 when a turn was not settled, anything was wrong, lost or doubled, or a run could not be brought to its end.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.chaos.faults import BY_NAME, NotHereError
from tests.chaos.report import heading, slowest, tables
from tests.chaos.results import Run, append, failures, read
from tests.chaos.run import play
from tests.chaos.series import ROUND
from tests.chaos.site import Site, running_site

FRESH_AFTER: Final = 40
"""Runs on one site: its databases grow, and OpenCode's disk is small."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=ROUND, help=f"how many (default: {ROUND}, each fault once)")
    parser.add_argument("--seed", type=int, default=0, help="of the first run; the others count up (default: 0)")
    parser.add_argument("--fault", choices=sorted(BY_NAME), action="append", help="this one only; twice: both at once")
    parser.add_argument(
        "--results",
        type=Path,
        help="append a line for each run; seeds that are in it are not played again; the tables are of all of it",
    )
    parser.add_argument("--keep", type=Path, help="directory for logs and databases, kept (default: a temporary one)")
    return parser.parse_args()


async def _main(options: argparse.Namespace) -> int:
    runs = read(options.results)
    played = {run.seed for run in runs}
    seeds = [seed for seed in range(options.seed, options.seed + options.runs) if seed not in played]
    broken: list[int] = []
    with tempfile.TemporaryDirectory(prefix="turnkeeper-chaos-") as temporary:
        place = (options.keep or Path(temporary)).resolve()
        while seeds:
            directory = place / f"from-{seeds[0]}"
            directory.mkdir(parents=True)
            async with running_site(directory) as site:
                seeds = seeds[await _play(site, seeds[:FRESH_AFTER], options, runs, broken) :]
    if runs:
        sys.stdout.write(f"\n{heading(runs)}\n\n{tables(runs)}\n\n")
    for line in (*slowest(runs), *failures(runs), *(f"seed {seed}: BROKEN, not counted" for seed in broken)):
        sys.stdout.write(f"{line}\n")
    return int(bool(broken) or any(run.failed for run in runs))


async def _play(
    site: Site, seeds: Sequence[int], options: argparse.Namespace, runs: list[Run], broken: list[int]
) -> int:
    """How many of the seeds are done with; fewer than all when the site broke."""
    for number, seed in enumerate(seeds, start=1):
        try:
            run = await play(site, seed, tuple(options.fault or ()))
        except Exception:  # noqa: BLE001 - whatever it is, the series goes on with a new site, and says so
            broken.append(seed)
            sys.stdout.write(f"seed {seed}: BROKEN\n{traceback.format_exc()}")
            return number
        if isinstance(run, NotHereError):
            sys.stdout.write(f"seed {seed}: NOT RUN: {run}\n")
            continue
        runs.append(run)
        append(options.results, run)
        _say(run)
    return len(seeds)


def _say(run: Run) -> None:
    late = max((turn.late for turn in run.turns if turn.late is not None), default=0.0)
    stops = max((turn.stop_told for turn in run.turns if turn.stop_told is not None), default=0.0)
    anew = ", OpenCode started anew" if run.poisoned else ""
    ends = ", ".join(f"{turn.kind}: {turn.reason}" for turn in run.turns)
    sys.stdout.write(
        f"seed {run.seed} {run.fault}: {'FAILED' if run.failed else 'ok'} in {run.seconds:.0f} s, "
        f"at most {late:.1f} s late, stops told in {stops:.1f} s{anew} ({ends})\n"
    )
    for line in failures([run]):
        sys.stdout.write(f"  {line}\n")
    sys.stdout.flush()


async def _until_told(options: argparse.Namespace) -> int:
    """Ends in order on SIGTERM, too: processes, and the mount of OpenCode's disk."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await _main(options)


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(_until_told(_arguments())))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("Broken off. With --results the same command goes on from here.")
