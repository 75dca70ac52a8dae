"""A prompt that goes into a running turn, on a real OpenCode: taken up, answered late, or dropped and queued."""

from __future__ import annotations

import asyncio

from tests.e2e.turns.deployment import Deployment, new_thread
from tests.e2e.turns.prompts import DONE, SHORT, bash, plan, slow_text
from turnkeeper.client import StartedTurn
from turnkeeper.messages import TurnResult
from turnkeeper.vocabulary import OnBusy, Reason


async def steer(deployment: Deployment, thread: str, prompt: str) -> StartedTurn:
    return await deployment.keeper.start_turn(thread, prompt, on_busy=OnBusy.STEER, limits=SHORT)


async def user_texts(deployment: Deployment, result: TurnResult) -> list[str]:
    """What OpenCode stored of clients' prompts, in its order."""
    assert result.session_id is not None
    messages = await deployment.session(result.session_id).messages()
    users = [message for message in messages if message["info"]["role"] == "user"]
    return [part["text"] for message in users for part in message["parts"] if part["type"] == "text"]


async def test_a_prompt_given_while_a_tool_runs_is_answered_by_the_next_step(deployment: Deployment) -> None:
    thread = new_thread()
    first = await deployment.start(plan(bash("sleep 6"), DONE), thread=thread)
    await deployment.until_turn(first, lambda turn: any(tool.status == "running" for tool in turn.tools))
    steered = await steer(deployment, thread, "say pineapple")
    assert steered.result is not None
    assert steered.result.steered is True
    result = await deployment.keeper.wait(steered)
    assert (result.turn_id, result.steered, result.outcome.reason) == ("t1", ("t2",), Reason.FINISHED)
    assert await user_texts(deployment, result) == [plan(bash("sleep 6"), DONE), "say pineapple"]
    settled = await deployment.keeper.thread(thread)
    assert [(turn.turn_id, turn.steered_into) for turn in settled.recent] == [("t2", "t1"), ("t1", None)]
    assert settled.queued == ()


async def test_a_prompt_given_while_text_streams_is_answered_after_it_in_the_same_turn(deployment: Deployment) -> None:
    thread = new_thread()
    first = await deployment.start(plan(slow_text(12)), thread=thread)
    await deployment.until_running(first)
    steered = [await steer(deployment, thread, prompt) for prompt in ("middle", "last")]
    assert [start.result.steered for start in steered if start.result] == [True, True]
    result = await deployment.settled(first)
    assert result.steered == ("t2", "t3"), "one answer under the last is one to both"
    assert result.outcome.reason is Reason.FINISHED
    assert (await user_texts(deployment, result))[1:] == ["middle", "last"]
    session = deployment.session(result.session_id or "")
    assert await session.status() == "none"


async def test_a_prompt_that_an_abort_drops_is_queued_and_held_and_then_run_once(deployment: Deployment) -> None:
    thread = new_thread()
    first = await deployment.start(plan(slow_text(30)), thread=thread)
    await deployment.until_running(first)
    await asyncio.sleep(1)
    steered = await steer(deployment, thread, "dropped")
    waits = await deployment.start("behind", thread=thread)
    stopped = await deployment.keeper.interrupt(thread)
    assert stopped.confirmed
    assert ([turn.turn_id for turn in stopped.queued], stopped.held) == (["t2", "t3"], True)
    await deployment.keeper.resume_queue(thread)
    result, last = await deployment.keeper.wait(steered), await deployment.settled(waits)
    assert (result.turn_id, result.outcome.reason) == ("t2", Reason.FINISHED)
    assert result.outcome.completed_at <= last.outcome.started_at
    assert (await user_texts(deployment, last)).count("dropped") == 2, "the dropped one, never run, and its second life"


async def test_a_prompt_for_an_idle_thread_is_an_ordinary_turn(deployment: Deployment) -> None:
    thread = new_thread()
    await deployment.settled(await deployment.start("one", thread=thread))
    started = await steer(deployment, thread, "two")
    assert started.result is not None
    assert started.result.steered is None
    assert (await deployment.settled(started)).turn_id == "t2"
