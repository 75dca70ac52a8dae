"""All benchmarks, one after another, each in a process of its own: python -m bench [NAME ...].

Results go to `bench/results/NAME.json`, which the repository keeps; with `--quick` to a directory that is thrown away,
as its figures mean nothing. `python -m bench.plots` and `python -m bench.report` make docs/performance.md from the kept
ones. `--series` is a series of the fault suite (`make chaos RESULTS=file`), for the recovery times: no fault is played
here.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from bench.results import RESULTS

ORDER: Final = ("turn_overhead", "settle_latency", "engine_floor", "throughput", "ingest", "history", "memory", "peer")
"""The quick ones first: a mistake in the setting shows early."""

FULL: Final[dict[str, tuple[str, ...]]] = {
    "turn_overhead": ("--at-once", "1", "8", "20", "60", "--turns", "3 s", "shortest"),
}
"""What the published figures are taken with, where it is not the benchmark's default."""


def commands(names: Sequence[str], directory: Path, *, quick: bool, series: Path | None) -> list[list[str]]:
    """What is run, in this order. A series of faults is read whatever `names` says."""
    found = [
        [name, *(("--quick",) if quick else FULL.get(name, ())), "--json", str(directory / f"{name}.json")]
        for name in names
    ]
    if series is not None:
        found.append(["recovery", str(series), "--json", str(directory / "recovery.json")])
    return found


def _run(command: Sequence[str]) -> bool:
    name, *arguments = command
    print(f"\n== {name}", flush=True)
    return subprocess.run([sys.executable, "-m", f"bench.{name}", *arguments], check=False).returncode == 0  # noqa: S603 - our own modules


def main() -> int:
    """Run them; 1 if one failed, after all."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = [name for name in ORDER if find_spec(f"bench.{name}")]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="the smallest setting of each, kept nowhere")
    parser.add_argument("--series", type=Path, help="what `make chaos RESULTS=file` wrote")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(known)):
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(known)}")
    with tempfile.TemporaryDirectory(prefix="turnkeeper-bench-") as thrown_away:
        directory = Path(thrown_away) if options.quick else RESULTS
        directory.mkdir(exist_ok=True)
        planned = commands(options.names or known, directory, quick=options.quick, series=options.series)
        failed = [command[0] for command in planned if not _run(command)]
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
