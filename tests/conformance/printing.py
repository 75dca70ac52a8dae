"""The table of rows at the end of a run, also when the rows were run in a process of pytest-xdist."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

TABLE: Final = pytest.StashKey[list[str]]()
"""The lines to print, once the rows were run."""

_SENT: Final = "conformance_table"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process of pytest-xdist hands its table to the one that prints."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None and TABLE in session.config.stash:
        output[_SENT] = session.config.stash[TABLE]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:  # noqa: ANN401 - pytest-xdist has no types
    """Take it over: at most one process ran the rows."""
    sent: list[str] | None = getattr(node, "workeroutput", {}).get(_SENT)
    if sent is not None:
        node.config.stash[TABLE] = sent


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> Iterator[None]:
    """Print it below everything else."""
    yield
    if (table := config.stash.get(TABLE, None)) is not None:
        terminalreporter.section("conformance")
        for line in table:
            terminalreporter.write_line(line)
