"""The table by fault, for the terminal and for docs/reliability.md."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from tests.chaos.faults import CATALOGUE
from tests.chaos.judge import Failing
from tests.chaos.run import Run, Turn, counted

COLUMNS: Final = ("fault", "runs", "turns", "unsettled", "wrong", "lost", "doubled", "p50 s", "p99 s", "max s")


def table(runs: Sequence[Run]) -> str:
    """Markdown. Seconds are from the truth, or the end of the fault if that came later, to the settlement."""
    rows = [
        _row(fault.what, [run for run in runs if run.fault == fault.name])
        for fault in CATALOGUE
        if any(run.fault == fault.name for run in runs)
    ]
    rows.append(_row("**all**", runs))
    lines = [" | ".join(COLUMNS), " | ".join("---:" if at else "---" for at in range(len(COLUMNS)))]
    return "\n".join(f"| {line} |" for line in (*lines, *rows))


def failures(runs: Iterable[Run]) -> list[str]:
    """A line for each failing, with the seed that plays it again."""
    return [
        f"seed {run.seed} ({run.fault}), {turn.kind}: {name}: {words}"
        for run in runs
        for turn in run.turns
        for name, words in turn.failings
    ]


def _row(what: str, runs: Sequence[Run]) -> str:
    turns = [turn for run in runs for turn in run.turns]
    late = sorted(turn.late for turn in turns if turn.late is not None)
    figures = [
        len(runs),
        len(turns),
        counted(turns, Failing.UNSETTLED),
        counted(turns, Failing.WRONG),
        counted(turns, Failing.LOST, Failing.STOP_LOST, Failing.ANSWER_LOST),
        counted(turns, Failing.DOUBLED),
    ]
    times = [f"{_percentile(late, share):.2f}" if late else "" for share in (0.5, 0.99, 1.0)]
    return " | ".join([what, *map(str, figures), *times])


def _percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank: a value that was measured."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def slowest(runs: Iterable[Run], count: int = 10) -> list[tuple[float, Run, Turn]]:
    """The latest settlements."""
    found = [(turn.late, run, turn) for run in runs for turn in run.turns if turn.late is not None]
    return sorted(found, key=lambda entry: -entry[0])[:count]
