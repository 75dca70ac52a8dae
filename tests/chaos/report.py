"""The report of a series, from its results alone: `python -m tests.chaos.report FILE` writes it into the document.

Seconds of a fault's row are from the truth (OpenCode's last word), or the end of the fault if that came later, to the
settlement. A turn that somebody stopped is in the table of stops instead.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from tests.chaos.bounds import STOP_TOLD
from tests.chaos.cases import STOPPED, Kind
from tests.chaos.faults import CATALOGUE
from tests.chaos.judge import Failing
from tests.chaos.results import Run, Turn, counted, failures, read

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN: Final = "<!-- series: begin, written by tests.chaos.report -->"
END: Final = "<!-- series: end -->"

FAULTS: Final = (
    "fault", "runs", "turns", "unsettled", "wrong", "lost", "doubled", "p50 s", "p99 s", "max s", "bound s", "p99 met"
)  # fmt: skip
STOPS: Final = ("stop", "stops", "lost", "confirmed", "unconfirmed", "p50 s", "p99 s", "max s", "bound s", "p99 met")
STORIES: Final = ("prompt", "turns", "wrong, lost or doubled", "p50 s", "p99 s", "max s")
WORDS: Final = {"fault", "stop", "prompt", "p99 met"}
"""Columns that are no numbers."""

SENT_AND_TOLD: Final = (*sorted(STOPPED, key=list(Kind).index),)


def tables(runs: Sequence[Run]) -> str:
    """Markdown: by fault, by stop, by what was asked for."""
    return "\n\n".join((_by_fault(runs), _by_stop(runs), _by_story(runs)))


def _by_fault(runs: Sequence[Run]) -> str:
    rows = [_fault_row(fault.what, [run for run in runs if run.faults == (fault.name,)]) for fault in CATALOGUE]
    rows.append(_fault_row("two at once", [run for run in runs if len(run.faults) > 1]))
    rows.append(_fault_row("**all**", runs))
    return _table(FAULTS, rows)


def _fault_row(what: str, runs: Sequence[Run]) -> list[str]:
    """Nothing if it was not played. Of a row with several bounds each turn is held against its own."""
    turns = [turn for run in runs for turn in run.turns]
    if not turns:
        return []
    bounds = {run.bound for run in runs}
    over = sorted(turn.late - run.bound for run in runs for turn in run.turns if turn.late is not None)
    figures = [
        len(runs),
        len(turns),
        counted(turns, Failing.UNSETTLED),
        counted(turns, Failing.WRONG),
        counted(turns, Failing.LOST, Failing.STOP_LOST, Failing.ANSWER_LOST),
        counted(turns, Failing.DOUBLED),
    ]
    bound = f"{min(bounds):g}" if len(bounds) == 1 else f"{min(bounds):g}-{max(bounds):g}"
    return [what, *map(str, figures), *_spread(_lates(turns)), bound, _met(over)]


def _by_stop(runs: Sequence[Run]) -> str:
    rows = [_stop_row(kind.value, runs, [kind]) for kind in SENT_AND_TOLD]
    return _table(STOPS, [*rows, _stop_row("**all**", runs, SENT_AND_TOLD)])


def _stop_row(what: str, runs: Sequence[Run], kinds: Sequence[Kind]) -> list[str]:
    names = {kind.name.lower() for kind in kinds}
    turns = [turn for run in runs for turn in run.turns if turn.kind in names]
    told = sorted(turn.stop_told for turn in turns if turn.stop_told is not None)
    if not turns:
        return []
    confirmed = [
        sum(turn.stop_told is not None and turn.confirmed is state for turn in turns) for state in (True, False)
    ]
    figures = [len(turns), counted(turns, Failing.STOP_LOST), *confirmed]
    over = [time - STOP_TOLD for time in told]
    return [what, *map(str, figures), *_spread(told), f"{STOP_TOLD:g}", _met(over)]


def _by_story(runs: Sequence[Run]) -> str:
    rows = []
    for kind in Kind:
        turns = [turn for run in runs for turn in run.turns if turn.kind == kind.name.lower()]
        if turns:
            failed = sum(bool(turn.failings) for turn in turns)
            rows.append([kind.value, str(len(turns)), str(failed), *_spread(_lates(turns))])
    return _table(STORIES, rows)


def _lates(turns: Iterable[Turn]) -> list[float]:
    return sorted(turn.late for turn in turns if turn.late is not None)


def _spread(ordered: Sequence[float]) -> list[str]:
    return [f"{percentile(ordered, share):.2f}" if ordered else "" for share in (0.5, 0.99, 1.0)]


def _met(over: Sequence[float]) -> str:
    """Is the 99th percentile of what is over the bound nothing?"""
    if not over:
        return ""
    return "yes" if percentile(over, 0.99) <= 0 else "**no**"


def percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank: a value that was measured."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    line: Callable[[Sequence[str]], str] = lambda cells: f"| {' | '.join(cells)} |"  # noqa: E731 - one line, here only
    rule = ["---" if column in WORDS else "---:" for column in columns]
    return "\n".join(line(cells) for cells in (columns, rule, *filter(None, rows)))


def heading(runs: Sequence[Run]) -> str:
    """Where, when and of what these figures are."""
    turns = [turn for run in runs for turn in run.turns]
    held = [turn.late <= run.bound for run in runs for turn in run.turns if turn.late is not None]
    loads = sorted(run.place.load for run in runs)
    seeds = sorted(run.seed for run in runs)
    places = {(run.place.temporalio, run.place.temporal, run.place.opencode, run.place.python) for run in runs}
    versions = "; ".join(f"temporalio {s}, Temporal {t}, OpenCode {o}, Python {p}" for s, t, o, p in sorted(places))
    poisoned = sum(run.poisoned for run in runs)
    bad = sum(bool(turn.failings) for turn in turns)
    begun, ended = min(run.at for run in runs), max(run.at for run in runs)
    minutes = sum(run.seconds for run in runs) / 60
    load = f"load {loads[0]:g} to {loads[-1]:g} (median {percentile(loads, 0.5):g})"
    lines = (
        f"Seeds {seeds[0]} to {seeds[-1]}, {begun} to {ended}: {len(runs)} runs, {len(turns)} turns.",
        f"Unsettled, wrong, lost or doubled: {bad} turns. Within their fault's bound: {sum(held)} of {len(held)}.",
        f"{versions}.",
        f"{max(run.place.cores for run in runs)} cores, {load}; {minutes:.0f} minutes of runs.",
        f"OpenCode had to be started anew after {poisoned} runs: it answered no prompt in its directory any more.",
    )
    return "\n".join(f"- {line}" for line in lines)


def slowest(runs: Iterable[Run], count: int = 10) -> list[str]:
    """The latest settlements, each with the seed that plays it again."""
    found = [(turn.late, run, turn) for run in runs for turn in run.turns if turn.late is not None]
    latest = sorted(found, key=lambda entry: -entry[0])[:count]
    return [
        f"{late:6.2f} s late: seed {run.seed} ({run.fault}), {turn.kind}, {turn.reason}" for late, run, turn in latest
    ]


def written(document: str, runs: Sequence[Run]) -> str:
    """The document with this series in the place of the last one.

    Raises:
        ValueError: it has no such place.

    """
    bad = "".join(f"\n- {line}" for line in failures(runs))
    return put_between(document, BEGIN, END, f"{heading(runs)}\n\n{tables(runs)}\n{bad}")


def put_between(document: str, begin: str, end: str, text: str) -> str:
    """The document with `text` between two of its lines, in the place of what stood there.

    Raises:
        ValueError: it has no such place.

    """
    before, _, rest = document.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"no place between {begin!r} and {end!r}")
    return f"{before}{begin}\n\n{text}\n{end}{after}"


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.report", description=__doc__)
    parser.add_argument("results", type=Path, help="what `python -m tests.chaos --results` wrote")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="(default: docs/reliability.md)")
    options = parser.parse_args()
    runs = read(options.results)
    if not runs:
        sys.stderr.write(f"{options.results} holds no run\n")
        return 2
    options.document.write_text(written(options.document.read_text(), runs))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
