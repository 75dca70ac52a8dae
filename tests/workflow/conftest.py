"""One real Temporal server whose clocks can skip, started once; for each test a stage of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import TimeSkippingConfig, WorkflowEnvironment

from tests.workflow.stage import Stage
from turnkeeper.dev.temporal_server import COMMANDS, SPEED, TIME_SKIPPING, find_temporal
from turnkeeper.search_attributes import ALL
from workflows import calls

MAX_SKIPS = 10_000
"""A turn of eight hours looks 480 times; a session that used up its skips would go on in real time, silently."""


@pytest.fixture(scope="session")
async def skipping_server() -> AsyncIterator[WorkflowEnvironment]:
    """The experimental API, wrapped once: workflows wait for timers in no time, but never while a call is under way."""
    flags = (*SPEED, *COMMANDS, TIME_SKIPPING, f"frontend.WorkflowTimeSkippingMaxSkipPerSession={MAX_SKIPS}")
    async with await WorkflowEnvironment.start_time_skipping_v2(
        ts_config=TimeSkippingConfig(max_session_skip_count=MAX_SKIPS),
        dev_server_existing_path=str(find_temporal()),
        dev_server_extra_args=[part for flag in flags for part in ("--dynamic-config-value", flag)],
        data_converter=pydantic_data_converter,
        search_attributes=ALL,
    ) as environment:
        yield environment


@pytest.fixture
async def empty_stage(skipping_server: WorkflowEnvironment) -> AsyncIterator[Stage]:
    """Clocks are real, and no worker is up."""
    with skipping_server.with_time_skipping_disabled():
        stage = Stage(skipping_server.client)
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
    stage = Stage(skipping_server.client)
    async with stage.worker_up():
        yield stage
    await stage.assert_replays()


@pytest.fixture
def impatient_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are given up after a second: no clock skips while one is under way."""
    monkeypatch.setattr(calls, "HEARTBEAT_TIMEOUT", timedelta(seconds=1))
    monkeypatch.setattr(calls, "PICKUP_TIMEOUT", timedelta(seconds=1))
