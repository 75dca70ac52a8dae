"""One real Temporal server whose clocks can skip, started once; for each test a stage of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from temporalio.testing import WorkflowEnvironment

from tests.workflow.server import SKIPS_TIME, real_clocks, skipping
from tests.workflow.stage import QUICK, Stage
from workflows import calls


@pytest.fixture(scope="session")
async def skipping_server() -> AsyncIterator[WorkflowEnvironment]:
    """One for all tests."""
    async with skipping() as environment:
        yield environment


@pytest.fixture
async def empty_stage(skipping_server: WorkflowEnvironment) -> AsyncIterator[Stage]:
    """Clocks are real, and no worker is up."""
    with real_clocks(skipping_server):
        stage = Stage(skipping_server.client)
        stage.provider.limits = QUICK
        yield stage
        await stage.assert_replays()


@pytest.fixture
async def stage(empty_stage: Stage) -> AsyncIterator[Stage]:
    """Clocks are real, a worker is up."""
    async with empty_stage.worker_up():
        yield empty_stage


@pytest.fixture
async def skipping_stage(skipping_server: WorkflowEnvironment) -> AsyncIterator[Stage]:
    """Hours pass in no time, a worker is up."""
    if not SKIPS_TIME:
        pytest.skip("this temporalio cannot skip a dev server's time")
    stage = Stage(skipping_server.client)
    async with stage.worker_up():
        yield stage
    await stage.assert_replays()


@pytest.fixture
def impatient_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are given up after a second: no clock skips while one is under way."""
    monkeypatch.setattr(calls, "HEARTBEAT_TIMEOUT", timedelta(seconds=1))
    monkeypatch.setattr(calls, "PICKUP_TIMEOUT", timedelta(seconds=1))
