"""One worker on one shared Temporal and one shared OpenCode; tests that kill something bring their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from tests.e2e.conftest import SEARCH_ATTRIBUTES
from tests.e2e.turns.deployment import Deployment, deployed
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.dev.temporal_server import TemporalServer

MEASURED: Final = "measured"

Measured = Callable[[str, float], None]


@pytest.fixture(scope="session")
async def temporal_client(temporal_server: TemporalServer) -> Client:
    return await Client.connect(temporal_server.address, data_converter=pydantic_data_converter)


@pytest.fixture(scope="module")
async def own_temporal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """A Temporal that no other test's worker is connected to.

    The shared deployment's relay reads the shared OpenCode as well. It finds the turns of every thread by the session's
    own mark, and would wake those that must settle without a relay, or with one that is just being replaced.
    """
    log = tmp_path_factory.mktemp("own-temporal") / "temporal.log"
    async with TemporalServer(log=log, search_attributes=SEARCH_ATTRIBUTES, ui=False) as server:
        yield await Client.connect(server.address, data_converter=pydantic_data_converter)


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Above every directory of the tests."""
    return tmp_path_factory.getbasetemp().resolve()


@pytest.fixture(scope="session")
async def deployment(
    temporal_client: Client, opencode: OpenCodeServer, workspace: Path, root: Path
) -> AsyncIterator[Deployment]:
    async with deployed(temporal_client, opencode, directory=workspace, root=root) as deployment:
        # A directory's cold start takes OpenCode seconds: a turn may look by its clock before there is an event.
        await deployment.run("hello")
        yield deployment


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measured:
    """Note seconds that a person wants to know; the run's summary shows them."""
    properties = request.node.user_properties
    return lambda what, seconds: properties.append((MEASURED, f"{what}: {seconds:.2f} s"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """From the reports: with several test processes they are all that comes back."""
    reports = [
        report for kind in terminalreporter.stats.values() for report in kind if isinstance(report, pytest.TestReport)
    ]
    lines = [
        str(text)
        for report in reports
        if report.when == "call"
        for name, text in report.user_properties
        if name == MEASURED
    ]
    if lines:
        terminalreporter.section(MEASURED)
        for line in lines:
            terminalreporter.write_line(line)
