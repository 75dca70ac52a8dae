"""The report counts what the results hold, and is made from them alone; a seed strikes the same way each time."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.chaos.faults import CATALOGUE
from tests.chaos.judge import Failing
from tests.chaos.report import BEGIN, END, percentile, tables, written
from tests.chaos.results import Place, Run, Turn, append, read
from tests.chaos.series import ROUND, faults_of

PLACE: Final = Place("1.35.0", "1.32.0", "1.18.33")
LOST: Final = Turn("words", None, None, ((Failing.LOST.value, "t: never"),))


def run(*turns: Turn, faults: tuple[str, ...] = ("none",), bound: float = 3.0, seed: int = 1) -> Run:
    return Run(seed, faults, turns, 5.0, bound, "2026-11-23T00:00:00+00:00", PLACE)


def row(runs: list[Run], what: str) -> list[str]:
    lines = [line for line in tables(runs).splitlines() if line.startswith(f"| {what} |")]
    return [cell.strip() for cell in lines[0].strip("| ").split("|")]


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    runs = [run(LOST, Turn("tool", "finished", 0.5)), run(Turn("removed", "removed", None), seed=2)]
    for one in runs:
        append(tmp_path / "results", one)
    assert read(tmp_path / "results") == runs


def test_a_row_counts_and_holds_its_99th_percentile_against_its_bound() -> None:
    good = [run(*[Turn("words", "finished", 1.0)] * 99)]
    assert row(good, "nothing breaks")[1:] == ["1", "99", "0", "0", "0", "0", "1.00", "1.00", "1.00", "3", "yes"]
    bad = [*good, run(LOST, *[Turn("words", "finished", 4.0)] * 2)]
    assert row(bad, "nothing breaks")[5:] == ["1", "0", "1.00", "4.00", "4.00", "3", "**no**"]


def test_two_at_once_are_a_family_of_their_own_and_each_is_held_against_its_own_bound() -> None:
    pairs = [
        run(Turn("words", "finished", 9.0), faults=("worker-killed", "stream-lost"), bound=20),
        run(Turn("words", "finished", 2.0), faults=("opencode-cut", "model-cut"), bound=8),
    ]
    assert row(pairs, "two at once")[-2:] == ["8-20", "yes"]
    assert "worker kill -9" not in tables(pairs)


def test_stops_have_rows_of_their_own() -> None:
    told = Turn("stopped_at_once", "stopped", None, stop_told=16.0, confirmed=False)
    lost = Turn("stopped_at_once", "finished", 0.1, ((Failing.STOP_LOST.value, "t: it ran on"),))
    assert row([run(told, lost)], "stopped in its first second")[1:] == [
        "2", "1", "0", "1", "16.00", "16.00", "16.00", "15", "**no**"
    ]  # fmt: skip


def test_the_document_keeps_its_words_around_the_series() -> None:
    document = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    new = written(document, [run(LOST)])
    assert new.startswith("before\n")
    assert new.endswith(f"{END}\nafter\n")
    assert "old" not in new
    assert "seed 1 (none), words: lost: t: never" in new
    assert written(new, [run(LOST)]) == new
    with pytest.raises(ValueError, match="no place"):
        written("nothing here", [run(LOST)])


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentile([1, 2, 3], 0.5) == 2
    assert percentile([float(value) for value in range(1, 201)], 0.99) == 198


def test_a_round_strikes_with_every_fault_and_with_pairs_that_do_not_undo_each_other() -> None:
    round_ = [faults_of(seed) for seed in range(ROUND)]
    assert [faults for faults in round_ if len(faults) == 1] == [(fault,) for fault in CATALOGUE]
    assert round_ == [faults_of(seed) for seed in range(ROUND)]
    pairs = {faults_of(seed) for seed in range(40 * ROUND) if len(faults_of(seed)) == 2}
    assert len(pairs) > 100
    together = {frozenset(fault.name for fault in pair) for pair in pairs}
    assert {name for pair in together for name in pair} == {fault.name for fault in CATALOGUE} - {"none"}
    assert not any({"worker-killed", "worker-frozen"} <= pair for pair in together)
    assert not any({"stream-lost", "answers-500"} <= pair for pair in together)
