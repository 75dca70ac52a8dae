"""Every row of the scenarios, by its id."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.conformance.conftest import chosen_file, chosen_rows
from tests.conformance.report import PAGE
from tests.conformance.rows import OWN_FILE, Row
from tests.conformance.suite import Result, Verdict
from tests.conformance.table import page
from tests.conformance.verdicts import DIFFERS, FAILING, NOT_APPLICABLE, OVERRULED, PENDING

ROWS = chosen_rows()
MOST_EXCEPTIONS = 19
"""Rows that have no meaning here, differ or are overruled, together: a suite of exceptions would show nothing."""

only_our_file = pytest.mark.skipif(chosen_file() != OWN_FILE, reason="about this project's own file of rows")
all_rows_run = pytest.mark.timeout(300)  # whichever test comes first runs them all


@all_rows_run
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_row(row: Row, verdicts: dict[str, Verdict]) -> None:
    verdict = verdicts[row.id]
    if verdict.result is Result.BROKEN:
        pytest.fail("; ".join(verdict.complaints), pytrace=False)


@only_our_file
@all_rows_run
def test_the_page_is_not_stale(verdicts: dict[str, Verdict]) -> None:
    if len(verdicts) < len(ROWS):
        pytest.skip("only some rows were chosen")
    assert PAGE.read_text() == page(list(verdicts.values())), "run python -m tests.conformance.report"


@only_our_file
def test_exceptions_are_few_and_about_rows_that_there_are() -> None:
    listed = Counter([*NOT_APPLICABLE, *DIFFERS, *OVERRULED, *PENDING, *FAILING])
    assert set(listed) <= {row.id for row in ROWS}
    assert max(listed.values()) == 1
    assert len(NOT_APPLICABLE) + len(DIFFERS) + len(OVERRULED) <= MOST_EXCEPTIONS


@only_our_file
def test_binding_rows_are_performed() -> None:
    """What the pull request states that this project grew from is judged as it stands."""
    binding = {row.id for row in ROWS if row.area.startswith("pr2666.")}
    assert not binding & {*NOT_APPLICABLE, *DIFFERS, *OVERRULED, *FAILING}
    assert binding
