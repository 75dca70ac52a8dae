"""A turn's history does not grow with what its agent says and does."""

from __future__ import annotations

from typing import Final

from tests.e2e.turns.deployment import Deployment, assert_ended
from tests.e2e.turns.prompts import DONE, Step, bash, plan, seconds
from tests.workflow.stage import events_of
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import turn_workflow_id
from turnkeeper.vocabulary import Reason, TurnState, Wake

TOKENS: Final = 10_000
TOOL_CALLS: Final = 50
"""OpenCode tells of each some four times or more: input, running, output, completed."""

AS_IN_PRODUCTION: Final = TurnLimits(deadline=seconds(75))
"""How often a turn looks decides how long its history gets."""

EVENTS: Final = 60
EVENTS_A_MINUTE: Final = 6


async def test_ten_thousand_tokens_and_two_hundred_tool_updates(deployment: Deployment) -> None:
    talk: Step = {"kind": "text", "tokens": TOKENS, "interval": 0}
    started = await deployment.start(
        plan(*[bash("echo one; sleep 0.1; echo two")] * TOOL_CALLS, talk, DONE), limits=AS_IN_PRODUCTION
    )
    result = await deployment.settled(started)
    # Ten thousand token events may be before the one that says idle: then the clock is first.
    assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED, woken_by=(Wake.EVENT, Wake.TIMER))
    assert result.outcome.tool_calls == TOOL_CALLS
    minutes = (result.outcome.completed_at - result.outcome.started_at).total_seconds() / 60
    run = started.result.run_id if started.result is not None else None
    history = await events_of(
        deployment.keeper.temporal.get_workflow_handle(turn_workflow_id(started.thread_id), run_id=run)
    )
    assert len(history) < EVENTS + EVENTS_A_MINUTE * minutes, history
