"""A real Temporal server whose clocks can skip, if the SDK knows how to ask for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any, Final

from temporalio import testing
from temporalio.testing import WorkflowEnvironment

from turnkeeper.codec import converter_of
from turnkeeper.dev.temporal_server import COMMANDS, SPEED, TIME_SKIPPING, find_temporal
from turnkeeper.search_attributes import ALL

MAX_SKIPS = 10_000
"""A turn of eight hours looks 480 times; a session that used up its skips would go on in real time, silently."""


SKIPS_TIME: Final = hasattr(testing, "TimeSkippingConfig")
"""Since temporalio 1.35. With an older one, which users may have, tests of virtual hours are skipped."""


@asynccontextmanager
async def skipping() -> AsyncIterator[WorkflowEnvironment]:
    """The experimental API, wrapped once: workflows wait for timers in no time, but never while a call is under way."""
    flags = [*SPEED, *COMMANDS]
    start, options = WorkflowEnvironment.start_local, dict[str, Any]()
    if SKIPS_TIME:
        flags += [TIME_SKIPPING, f"frontend.WorkflowTimeSkippingMaxSkipPerSession={MAX_SKIPS}"]
        start = WorkflowEnvironment.start_time_skipping_v2
        options["ts_config"] = testing.TimeSkippingConfig(max_session_skip_count=MAX_SKIPS)
    async with await start(
        dev_server_existing_path=str(find_temporal()),
        dev_server_extra_args=[part for flag in flags for part in ("--dynamic-config-value", flag)],
        data_converter=converter_of(None),
        search_attributes=ALL,
        **options,
    ) as environment:
        yield environment


def real_clocks(server: WorkflowEnvironment) -> AbstractContextManager[None]:
    """Nothing skips while the body runs."""
    return server.with_time_skipping_disabled() if SKIPS_TIME else nullcontext()
