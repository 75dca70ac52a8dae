"""How long a turn stays wrong after something died: the distribution, from a series of the fault suite.

python -m bench.recovery SERIES [--json FILE]

SERIES is what `make chaos RESULTS=file` wrote; nothing is run here. Seconds are from the truth (OpenCode's last word),
or the end of the fault if that came later, to the settlement. The baseline is the family in which nothing breaks. What
a person stopped has times of its own in docs/reliability.md and is left out. Bounds are those of the suite, fault by
fault; two faults at once have both added.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bench.results import Place, Results
from bench.timing import table
from tests.chaos.report import percentile
from tests.chaos.results import Run, read

TWO: Final = "two faults at once"
FAMILIES: Final[dict[str, tuple[str, ...]]] = {
    "nothing breaks": ("none",),
    "workers die, freeze, lose the clock": (
        "worker-killed", "worker-terminated", "workers-killed", "worker-frozen", "clock-jump",
    ),
    "OpenCode dies, freezes, has a full disk": (
        "opencode-killed", "opencode-terminated", "opencode-frozen", "opencode-disk-full",
    ),
    "Temporal dies, freezes": ("temporal-killed", "temporal-terminated", "temporal-frozen"),
    "network between two of them": (
        "opencode-cut", "opencode-reset", "opencode-half-open", "opencode-slow", "opencode-trickle",
        "temporal-cut", "temporal-reset", "temporal-half-open", "temporal-slow",
        "model-cut", "model-half-open", "model-slow",
    ),
    "event stream lost, lossy, out of order": (
        "stream-lost", "events-dropped", "events-doubled", "events-reordered",
    ),
    "OpenCode's answers are wrong": ("answers-500", "answers-html", "answers-truncated", "answers-wrong-ids"),
    TWO: (),
}  # fmt: skip
"""What broke, in the words of the suite's catalogue (a test holds the two together)."""

QUANTILES: Final = 200
"""Steps of the kept distribution: half a percent each, whatever the number of turns."""


SHOWN: Final = (0.5, 0.9, 0.99, 1.0)
"""Of the distribution, in the table."""


def family_of(faults: Sequence[str]) -> str:
    """Where a run belongs.

    Raises:
        StopIteration: a fault that no family has.

    """
    if len(faults) > 1:
        return TWO
    return next(family for family, names in FAMILIES.items() if faults[0] in names)


def rows_of(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One row a family, and one of all, with the quantiles of its recovery times in seconds."""
    families = [(family, [run for run in runs if family_of(run.faults) == family]) for family in FAMILIES]
    return [_row(family, members) for family, members in [*families, ("all", runs)] if members]


def _row(family: str, runs: Sequence[Run]) -> dict[str, Any]:
    turns = [(run, turn) for run in runs for turn in run.turns]
    timed = [(turn.late, run.bound) for run, turn in turns if turn.late is not None]
    lates = sorted(max(0.0, late) for late, _ in timed)
    return {
        "family": family,
        "runs": len(runs),
        "turns": len(turns),
        "failed": sum(bool(turn.failings) for _, turn in turns),
        "n": len(lates),
        "within": sum(late <= bound for late, bound in timed),
        "quantiles": [round(percentile(lates, step / QUANTILES), 3) for step in range(QUANTILES + 1)] if lates else [],
    }


def results_of(runs: Sequence[Run]) -> Results:
    """With the place and time of the series, not of this reading of it."""
    first = min(runs, key=lambda run: run.at)
    place = Place(
        python=first.place.python, cores=first.place.cores, load=first.place.load, temporalio=first.place.temporalio
    )
    settings = {
        "seeds": [min(run.seed for run in runs), max(run.seed for run in runs)],
        "temporal": first.place.temporal,
        "opencode": first.place.opencode,
    }
    return replace(Results("recovery", settings, rows_of(runs), place), taken_at=first.at)


def report(results: Results) -> str:
    """Table of the distribution by family."""
    head = ["what breaks", "runs", "turns", "failed", "timed", "p50 s", "p90 s", "p99 s", "max s", "within bound"]
    rows = []
    for row in results.rows:
        counts = [str(row[part]) for part in ("runs", "turns", "failed", "n")]
        spread = [f"{quantile(row['quantiles'], share):.2f}" for share in SHOWN] if row["n"] else [""] * len(SHOWN)
        rows.append([row["family"], *counts, *spread, f"{row['within']} of {row['n']}"])
    first, last = results.settings["seeds"]
    return f"Seeds {first} to {last}, begun {results.taken_at}.\n\n{table(head, rows)}"


def quantile(kept: Sequence[float], share: float) -> float:
    """Of a kept distribution, to half a percent."""
    return kept[round(share * QUANTILES)]


def main() -> None:
    """Read, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("series", type=Path, help="what `make chaos RESULTS=file` wrote")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    runs = read(options.series)
    if not runs:
        parser.error(f"{options.series} holds no run")
    results = results_of(runs)
    print(report(results))
    results.keep(options.json)


if __name__ == "__main__":
    main()
