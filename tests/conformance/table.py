"""The table of rows: for a terminal, and as docs/conformance.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from tests.conformance.suite import Result, Verdict

HEADER: Final = "<!-- Written by `python -m tests.conformance.report`: run it after a change. -->\n"

MEANINGS: Final = {
    Result.PASSED: "everything that the row asserts was seen to be so",
    Result.DIFFERS: "Turnkeeper does something else on purpose, and that was seen; the rest of the row holds",
    Result.OVERRULED: "another row says the contrary and counts: that one passed, and so does the contrary of this one",
    Result.NOT_APPLICABLE: "the row has no meaning here",
    Result.PENDING: "waits for a feature that is being built",
    Result.FAILING: "should hold and does not",
    Result.BROKEN: "is not what this suite says of it",
}


def lines(verdicts: Iterable[Verdict]) -> Iterable[str]:
    """One line a row."""
    for verdict in verdicts:
        why = "; ".join((verdict.explained, *verdict.complaints)).strip("; ")
        yield f"{verdict.row.id:<9} {verdict.row.area:<26} {verdict.result:<15} {verdict.where:<10} {why}".rstrip()


def summary(verdicts: Iterable[Verdict]) -> str:
    """How many rows have which result."""
    counted = Counter(verdict.result for verdict in verdicts)
    return ", ".join(f"{counted[result]} {result}" for result in Result if counted[result])


def page(verdicts: Sequence[Verdict]) -> str:
    """docs/conformance.md."""
    rows = [
        f"| `{verdict.row.id}` | {verdict.row.area} | {verdict.result} | {verdict.where} | {verdict.explained} |"
        for verdict in verdicts
    ]
    used = [result for result in Result if any(verdict.result is result for verdict in verdicts)]
    return "\n".join(
        [
            HEADER,
            "# Conformance\n",
            f"The {len(verdicts)} rows of [`scenarios.yaml`](../tests/conformance/scenarios.yaml), run against the",
            "real workflows, activities and adapter, with an OpenCode in memory behind them",
            "([how](../tests/conformance/README.md)).\n",
            f"**{summary(verdicts)}.**\n",
            "| result | meaning |",
            "| --- | --- |",
            *(f"| {result} | {MEANINGS[result]} |" for result in used),
            "",
            "| row | area | result | where | why |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )
