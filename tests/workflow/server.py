"""A real Temporal server whose clocks can skip."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import TimeSkippingConfig, WorkflowEnvironment

from turnkeeper.dev.temporal_server import COMMANDS, SPEED, TIME_SKIPPING, find_temporal
from turnkeeper.search_attributes import ALL

MAX_SKIPS = 10_000
"""A turn of eight hours looks 480 times; a session that used up its skips would go on in real time, silently."""


@asynccontextmanager
async def skipping() -> AsyncIterator[WorkflowEnvironment]:
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
