"""The server of the workflow tests, once; every row is run once, and each test reads its verdict."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest
from temporalio.testing import WorkflowEnvironment

from tests.conformance.printing import TABLE
from tests.conformance.rows import OWN_FILE, Row, RowsError, load_rows
from tests.conformance.suite import Verdict, rulers, run_rows
from tests.conformance.table import lines, summary
from tests.workflow.conftest import skipping_server  # noqa: F401 - a fixture

FILE_VARIABLE: Final = "CONFORMANCE_FILE"


def chosen_file() -> Path:
    """The rows to run: this project's own, or the file that `make conformance FILE=...` names."""
    named = os.environ.get(FILE_VARIABLE, "")
    return Path(named) if named else OWN_FILE


def chosen_rows() -> list[Row]:
    """Of the chosen file; one that cannot be run ends the run with a sentence, which pytest prints without a trace."""
    try:
        return load_rows(chosen_file())
    except RowsError as error:
        raise pytest.Collector.CollectError(str(error)) from None


def is_row(item: pytest.Function) -> bool:
    return item.originalname == "test_row"


@pytest.fixture(scope="session")
async def verdicts(
    skipping_server: WorkflowEnvironment,  # noqa: F811 - the fixture
    request: pytest.FixtureRequest,
    pytestconfig: pytest.Config,
) -> dict[str, Verdict]:
    """Of the rows that were chosen (`-k ing-002`), and of those that overrule them."""
    chosen = {item.callspec.id for item in request.session.items if isinstance(item, pytest.Function) and is_row(item)}
    wanted = chosen.union(*map(rulers, chosen))
    found = await run_rows(skipping_server, [row for row in chosen_rows() if row.id in wanted])
    pytestconfig.stash[TABLE] = [*lines(found.values()), summary(found.values())]
    return found
