"""OpenCode idle, busy again, retrying, compacting, at work in a child: none of it ends a turn early or reopens one."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.e2e.turns.deployment import Deployment, assert_ended
from tests.e2e.turns.prompts import DONE, SHORT, Step, bash, plan, short
from tests.e2e.waiting import until
from turnkeeper.dev.opencode_server import CONTEXT_LIMIT
from turnkeeper.messages import TurnResult
from turnkeeper.vocabulary import Reason, SessionStatus, TurnState, Wake

FULL: dict[str, int] = {"input_tokens": CONTEXT_LIMIT}
"""Of a step: OpenCode compacts after it."""


async def assert_settled_at_the_end(deployment: Deployment, result: TurnResult) -> None:
    """The outcome is OpenCode's last word, and afterwards nothing moves any more."""
    assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED, woken_by=(Wake.EVENT, Wake.TIMER))
    assert result.session_id is not None
    session = deployment.session(result.session_id)
    assert await session.status() == "none"
    last = (await session.messages())[-1]["info"]
    assert (last["id"], last["role"]) == (result.outcome.message_id, "assistant")
    thread = await until(lambda: deployment.keeper.thread(result.thread_id), lambda now: now.active is None)
    assert (thread.status, len(thread.recent)) == (SessionStatus.READY, 1)


async def test_the_providers_own_retry_shows_with_its_time_and_moves_the_stall_clock(deployment: Deployment) -> None:
    """The wait is twice as long as the silence that would count as a stall."""
    failing: Step = {"kind": "http", "status": 429, "retry_after": 12}
    started = await deployment.start(plan(failing, DONE), limits=short(stall_timeout=6))
    turn = await deployment.until_turn(started, lambda turn: turn.retry_at is not None)
    assert turn.retry_at is not None
    assert turn.retry_at > datetime.now(UTC)
    assert turn.state is TurnState.RUNNING
    assert turn.doing == f"waits for the provider's own retry at {turn.retry_at:%H:%M:%S} UTC"
    result = await deployment.settled(started)
    await assert_settled_at_the_end(deployment, result)
    assert result.outcome.completed_at > turn.retry_at
    assert (await deployment.keeper.turn(started.thread_id)).retry_at is None


async def test_a_retry_wait_can_be_stopped(deployment: Deployment) -> None:
    started = await deployment.start(plan({"kind": "http", "status": 500, "times": "always"}))
    await deployment.until_turn(started, lambda turn: turn.retry_at is not None)
    stopped = await deployment.keeper.interrupt(started.thread_id)
    assert stopped.confirmed


async def test_a_compaction_in_the_middle_of_a_turn_is_a_part_of_it(deployment: Deployment) -> None:
    result = await deployment.run(plan({**bash("echo one"), **FULL}, DONE))
    await assert_settled_at_the_end(deployment, result)
    assert await compacted(deployment, result)
    assert result.outcome.tool_calls == 1


async def test_a_compaction_after_the_answer_is_waited_for(deployment: Deployment) -> None:
    """The model has stopped, OpenCode has not: what it says after the compaction is the turn's last word."""
    result = await deployment.run(plan({"kind": "text", "say": "first", **FULL}, DONE))
    await assert_settled_at_the_end(deployment, result)
    assert await compacted(deployment, result)


async def test_a_sub_agent_that_ends_does_not_end_its_parent(deployment: Deployment) -> None:
    child = plan(bash("echo child"), {"kind": "text", "say": "child done"})
    task: Step = {
        "kind": "tool",
        "name": "task",
        "arguments": {"description": "sub", "prompt": child, "subagent_type": "general"},
    }
    result = await deployment.run(plan(task, bash("sleep 1"), DONE))
    await assert_settled_at_the_end(deployment, result)
    assert result.outcome.text == "all done"
    assert result.outcome.tool_calls == 2, "the child's own are its own"
    assert result.session_id is not None
    assert len(await deployment.session(result.session_id).children()) == 1


async def test_busy_again_after_the_end_reopens_nothing(deployment: Deployment) -> None:
    """Somebody prompts the same session in OpenCode itself: that run is none of the thread's."""
    started = await deployment.start(plan(DONE))
    result = await deployment.settled(started)
    assert result.session_id is not None
    session = deployment.session(result.session_id)
    before = await until(lambda: deployment.keeper.thread(started.thread_id), lambda now: now.active is None)
    await session.run(plan(bash("echo by hand"), {"kind": "text", "say": "for somebody else"}))
    assert await deployment.keeper.thread(started.thread_id) == before
    assert (await deployment.keeper.result(started.thread_id)).outcome == result.outcome
    mine = await deployment.settled(
        await deployment.keeper.start_turn(started.thread_id, plan({"kind": "text", "say": "mine"}), limits=SHORT)
    )
    assert mine.outcome.text == "mine"


async def compacted(deployment: Deployment, result: TurnResult) -> bool:
    assert result.session_id is not None
    messages = await deployment.session(result.session_id).messages()
    return any(part["type"] == "compaction" for message in messages for part in message["parts"])
