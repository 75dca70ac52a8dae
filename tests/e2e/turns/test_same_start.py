"""The same start sent twice is one turn and one prompt."""

from __future__ import annotations

import asyncio

from tests.e2e.turns.deployment import Deployment, assert_ended, new_thread
from tests.e2e.turns.prompts import DONE, bash, plan, slow_text
from turnkeeper.client import StartedTurn
from turnkeeper.messages import TurnResult
from turnkeeper.vocabulary import Reason, TurnState


async def test_at_once_on_a_new_thread(deployment: Deployment) -> None:
    thread = new_thread()
    starts = [deployment.start(plan(bash("sleep 1"), DONE), thread=thread, key="the same") for _ in range(6)]
    await _one_turn(deployment, await asyncio.gather(*starts))


async def test_again_while_it_runs(deployment: Deployment) -> None:
    first = await deployment.start(plan(slow_text(2)), key="the same")
    await deployment.until_running(first)
    again = await deployment.start(plan(slow_text(2)), thread=first.thread_id, key="the same")
    await _one_turn(deployment, [first, again])


async def test_again_after_it_ended(deployment: Deployment) -> None:
    first = await deployment.start("hello", key="the same")
    await deployment.settled(first)
    again = await deployment.start("hello", thread=first.thread_id, key="the same")
    await _one_turn(deployment, [first, again])


async def test_another_key_is_another_turn_behind_the_first(deployment: Deployment) -> None:
    first = await deployment.start(plan(bash("sleep 1"), DONE), key="one")
    second = await deployment.start("hello", thread=first.thread_id, key="two")
    assert second.result is not None
    assert (second.result.state, second.result.position) == (TurnState.QUEUED, 1)
    results = [await deployment.settled(first), await deployment.settled(second)]
    assert [result.turn_id for result in results] == ["t1", "t2"]
    assert results[0].outcome.completed_at <= results[1].outcome.started_at
    await _prompts_in_session(deployment, results[0], 2)


async def _one_turn(deployment: Deployment, starts: list[StartedTurn]) -> None:
    answers = [started.result for started in starts if started.result is not None]
    assert len(answers) == len(starts)
    assert len({(answer.turn_id, answer.run_id) for answer in answers}) == 1, answers
    results = [await deployment.settled(started) for started in starts]
    assert all(result == results[0] for result in results)
    assert_ended(results[0].outcome, TurnState.COMPLETED, Reason.FINISHED)
    await _prompts_in_session(deployment, results[0], 1)
    thread = await deployment.keeper.thread(starts[0].thread_id)
    assert [turn.turn_id for turn in thread.recent] == ["t1"]
    assert not thread.queued


async def _prompts_in_session(deployment: Deployment, result: TurnResult, count: int) -> None:
    """All prompts of the session, whatever their ids: no other was sent beside the turn's own."""
    assert result.session_id is not None
    messages = await deployment.session(result.session_id).messages()
    assert sum(message["info"]["role"] == "user" for message in messages) == count
