"""The server of the workflow tests, once; every row is run once, and each test reads its verdict."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from temporalio.testing import WorkflowEnvironment

from tests.conformance.rows import OWN_FILE, load_rows
from tests.conformance.suite import Verdict, run_rows
from tests.conformance.table import lines, summary
from tests.workflow.conftest import skipping_server  # noqa: F401 - a fixture

FILE_VARIABLE: Final = "CONFORMANCE_FILE"
TABLE: Final = pytest.StashKey[list[Verdict]]()


def chosen_file() -> Path:
    """The rows to run: this project's own, or the file that `make conformance FILE=...` names."""
    named = os.environ.get(FILE_VARIABLE, "")
    return Path(named) if named else OWN_FILE


def is_row(item: pytest.Function) -> bool:
    return item.originalname == "test_row"


@pytest.fixture(scope="session")
async def verdicts(
    skipping_server: WorkflowEnvironment,  # noqa: F811 - the fixture
    request: pytest.FixtureRequest,
    pytestconfig: pytest.Config,
) -> dict[str, Verdict]:
    """Of the rows that were chosen (`-k ing-002`)."""
    chosen = {item.callspec.id for item in request.session.items if isinstance(item, pytest.Function) and is_row(item)}
    found = await run_rows(skipping_server, [row for row in load_rows(chosen_file()) if row.id in chosen])
    pytestconfig.stash[TABLE] = list(found.values())
    return found


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> Iterator[None]:
    """Print the table of rows, below everything else."""
    yield
    if (found := config.stash.get(TABLE, None)) is not None:
        terminalreporter.section("conformance")
        for line in lines(found):
            terminalreporter.write_line(line)
        terminalreporter.write_line(summary(found))
