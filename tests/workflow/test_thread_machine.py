"""Whatever a person, a provider and an operator do to a thread, and in whatever order: it keeps its promises.

A story is a list of steps (`story`). They act on the real workflows with a provider that has real runs inside
(`ModelProvider`), so that what Turnkeeper says can be compared with what is true (`story_truth`). The clock is real and
the limits are short. A failing story shrinks to the fewest steps that still fail.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from temporalio.testing import WorkflowEnvironment

from tests.workflow.model_provider import ModelProvider
from tests.workflow.server import real_clocks
from tests.workflow.stage import Stage
from tests.workflow.story import STEP, Step, World
from tests.workflow.story_truth import check, check_end

STORIES: Final = int(os.environ.get("TURNKEEPER_STORIES", "25"))
"""Stories a run, some 2 s each: always the same ones, unless the variable asks for a longer, random search.
`--hypothesis-show-statistics` says how turns ended."""

BEGINNINGS: Final = (Step.START, Step.START, Step.START_TO_CONTINUE, Step.ADOPT, Step.ADOPT_IDLE, Step.ADOPT_KEPT)

STOPPED_WHILE_AWAY: Final = [
    Step.GO_AWAY,
    Step.STOP,
    Step.LONG_PAUSE,
    Step.LONG_PAUSE,
    Step.COME_BACK,
    Step.START,
    Step.PAUSE,
]
"""The stop stays unconfirmed, and the old run goes on when the next prompt is given."""

TOLD_OF_THE_LAST_TURN = [Step.START, Step.PAUSE, Step.FINISH_TOLD_LATE, Step.LONG_PAUSE, Step.IDLE_EVENT, Step.PAUSE]
"""The relay's reading of the first run's end arrives while the second one is at work."""


@settings(
    max_examples=STORIES,
    derandomize="TURNKEEPER_STORIES" not in os.environ,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(beginning=st.sampled_from(BEGINNINGS), steps=st.lists(st.sampled_from(Step), max_size=14))
@example(beginning=Step.START, steps=STOPPED_WHILE_AWAY)
@example(beginning=Step.START, steps=TOLD_OF_THE_LAST_TURN)
async def test_every_story_ends_and_is_told_truly(
    skipping_server: WorkflowEnvironment, beginning: Step, steps: list[Step]
) -> None:
    with real_clocks(skipping_server):
        stage = Stage(skipping_server.client)
        provider = ModelProvider(stage.queue)
        stage.provider = provider  # type: ignore[assignment]  # the stage only asks it for its activities
        world = World(stage, provider)
        await world.worker.enter_async_context(stage.worker_up())
        try:
            for step in (beginning, *steps):
                await world.perform(step)
                await asyncio.sleep(STEP)
                await check(world)
            await check_end(world)
        finally:
            await world.worker.aclose()
        await stage.assert_replays()
