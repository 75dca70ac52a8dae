"""Recovery's families are those of the fault suite, and its distribution holds values that were measured."""

from __future__ import annotations

import pytest

from bench.recovery import FAMILIES, TWO, family_of, quantile, report, results_of, rows_of
from tests.chaos.faults import CATALOGUE
from tests.chaos.results import Place, Run, Turn

PLACE = Place("1.35.0", "1.32.0", "1.18.33")


def run(*lates: float | None, faults: tuple[str, ...] = ("none",), bound: float = 3.0) -> Run:
    turns = tuple(Turn("words", "finished", late) for late in lates)
    return Run(1, faults, turns, 5.0, bound, "2026-11-23T00:00:00+00:00", PLACE)


@pytest.mark.parametrize("fault", [fault.name for fault in CATALOGUE])
def test_every_fault_of_the_suite_has_one_family(fault: str) -> None:
    assert sum(fault in names for names in FAMILIES.values()) == 1
    assert family_of([fault, "none"]) == TWO


def test_a_stopped_turn_counts_and_has_no_time() -> None:
    found = {row["family"]: row for row in rows_of([run(1.0, None), run(4.0, faults=("worker-killed",))])}
    assert found["nothing breaks"]["turns"] == 2
    assert found["nothing breaks"]["n"] == 1
    assert (found["all"]["turns"], found["all"]["n"], found["all"]["within"]) == (3, 2, 1)


def test_quantiles_are_values_that_were_measured() -> None:
    row = rows_of([run(*[float(late) for late in range(1, 1001)])])[0]
    assert quantile(row["quantiles"], 0.0) == 1.0
    assert quantile(row["quantiles"], 0.5) == 500.0
    assert quantile(row["quantiles"], 1.0) == 1000.0


def test_each_turn_is_held_against_its_own_bound() -> None:
    runs = [run(9.0, faults=("worker-killed", "stream-lost"), bound=20.0), run(9.0, bound=3.0)]
    lines = [line for line in report(results_of(runs)).splitlines() if line.startswith("| all")]
    assert lines[0].endswith("| 1 of 2 |")


def test_a_family_in_which_all_were_stopped_has_an_empty_spread() -> None:
    assert "| nothing breaks | 1 | 1 | 0 | 0 |  |  |  |  | 0 of 0 |" in report(results_of([run(None)]))
