"""docs/performance.md has a place for every benchmark, and is what the kept results say."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.__main__ import FULL, ORDER, commands
from bench.report import DOCUMENT, IMAGES, kept, markers, reports, written
from bench.results import RESULTS, Place, Results

FOUND = Results("peer", {}, [], Place("3.11.7", "Linux x86_64", 2, 0.5, "1.35.0"), "2026-11-23T00:00:00+00:00")


def document(name: str, old: str = "old") -> str:
    begin, end = markers(name)
    return f"before\n{begin}\n{old}\n{end}\nafter\n"


def test_the_words_around_a_place_stay(tmp_path: Path) -> None:
    new = written(document("peer"), {"peer": FOUND}, {"peer": lambda _: "| a table |"}, tmp_path)
    assert new.startswith("before\n")
    assert new.endswith("after\n")
    assert "old" not in new
    assert "2026-11-23T00:00:00+00:00; 2 cores, Linux x86_64, Python 3.11.7, temporalio 1.35.0; load 0.5 at the" in new
    assert "| a table |" in new
    assert written(new, {"peer": FOUND}, {"peer": lambda _: "| a table |"}, tmp_path) == new
    assert "![" not in new


def test_a_plot_that_was_drawn_is_shown(tmp_path: Path) -> None:
    (tmp_path / "peer.png").touch()
    new = written(document("peer"), {"peer": FOUND}, {"peer": lambda _: ""}, tmp_path)
    assert "![peer](images/peer.png)" in new


def test_a_document_without_the_place_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no place"):
        written(document("history"), {"peer": FOUND}, {"peer": lambda _: ""}, tmp_path)


@pytest.mark.parametrize("name", [*ORDER, "recovery"])
def test_the_document_has_a_place_for(name: str) -> None:
    begin, end = markers(name)
    text = DOCUMENT.read_text()
    assert text.count(begin) == text.count(end) == 1
    assert text.index(begin) < text.index(end)


def test_the_document_says_what_the_kept_results_say() -> None:
    results = kept(RESULTS)
    text = DOCUMENT.read_text()
    assert written(text, results, reports(results), DOCUMENT.parent / IMAGES) == text


def test_every_benchmark_can_be_run_and_reported() -> None:
    assert set(FULL) <= set(ORDER)
    there = [name for name in ORDER if find_spec(f"bench.{name}")]
    assert {"turn_overhead", "peer"} <= set(there)
    assert all(callable(report) for report in reports(dict.fromkeys(there, FOUND)).values())


def test_a_quick_run_takes_no_setting_of_the_full_one() -> None:
    quick = commands(["turn_overhead"], Path("/kept"), quick=True, series=Path("series"))
    assert quick == [
        ["turn_overhead", "--quick", "--json", "/kept/turn_overhead.json"],
        ["recovery", "series", "--json", "/kept/recovery.json"],
    ]
    full = commands(["peer", "turn_overhead"], Path("/kept"), quick=False, series=None)
    assert full[0] == ["peer", "--json", "/kept/peer.json"]
    assert full[1][1:-2] == list(FULL["turn_overhead"])
