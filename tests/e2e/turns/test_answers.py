"""Turns that the agent ends by itself: answers, tools, and every way a model can fail."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.turns.deployment import Deployment, assert_ended
from turnkeeper.vocabulary import Reason, SessionStatus, TurnState


async def test_a_plain_answer(deployment: Deployment) -> None:
    started = await deployment.start("hello")
    result = await deployment.settled(started)
    assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED)
    assert result.outcome.text.startswith("scripted model: you said")
    assert result.outcome.usage.model_calls == 1
    assert result.outcome.usage.output_tokens > 0
    thread = await deployment.keeper.thread(started.thread_id)
    assert (thread.status, thread.active, thread.session_id) == (SessionStatus.READY, None, result.session_id)


async def test_a_tool_writes_a_file(deployment: Deployment, workspace: Path) -> None:
    result = await deployment.run("write turn.txt: written by a turn")
    assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED)
    assert (workspace / "turn.txt").read_text() == "written by a turn\n"
    assert result.outcome.tool_calls == 1


async def test_two_turns_of_a_thread_share_the_session(deployment: Deployment) -> None:
    first = await deployment.start("one")
    second = await deployment.start("two", thread=first.thread_id)
    results = [await deployment.settled(first), await deployment.settled(second)]
    for result in results:
        assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED)
    assert results[0].session_id == results[1].session_id
    assert "two" in results[1].outcome.text
