"""A prompt that goes into a running turn, on a real OpenCode: taken up, answered late, or dropped and run once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from temporalio.client import Client

from tests.e2e.turns.deployment import Deployment, deployed, new_thread
from tests.e2e.turns.gate import Gate
from tests.e2e.turns.prompts import DONE, SHORT, bash, plan, short, slow_text
from tests.e2e.waiting import until
from turnkeeper.cli.endings import Exit
from turnkeeper.cli.presses import Presses
from turnkeeper.cli.run import Order, run_with
from turnkeeper.cli.service import Service
from turnkeeper.client import StartedTurn
from turnkeeper.dev.model import ScriptedModel
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.errors import RefusedError
from turnkeeper.messages import TurnResult
from turnkeeper.vocabulary import OnBusy, Reason
from workflows.thread import STEER_ANSWER

PROMPTS: Final = "/prompt_async"


@pytest.fixture
async def gate(opencode: OpenCodeServer) -> AsyncIterator[Gate]:
    async with Gate.before(opencode.port) as gate:
        yield gate


@pytest.fixture
async def gated(
    temporal_client: Client, opencode: OpenCodeServer, gate: Gate, workspace: Path, root: Path
) -> AsyncIterator[Deployment]:
    """Whose worker speaks to OpenCode through the gate."""
    async with deployed(temporal_client, opencode, directory=workspace, root=root, url=gate.url) as deployment:
        yield deployment


async def steer(deployment: Deployment, thread: str, prompt: str, into: str | None = None) -> StartedTurn:
    return await deployment.keeper.start_turn(thread, prompt, on_busy=OnBusy.STEER, limits=SHORT, expected_turn_id=into)


def seen_by(model: ScriptedModel, result: TurnResult) -> list[tuple[str, int]]:
    """Of each model call of the session its prompt, and how many user messages it was given."""
    return [(record.call.prompt, record.call.turn) for record in model.calls_of(result.session_id or "")]


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


async def test_a_prompt_that_an_abort_drops_is_queued_and_held_and_then_run_once(
    deployment: Deployment, scripted_model: ScriptedModel
) -> None:
    thread = new_thread()
    first = await deployment.start(plan(slow_text(30)), thread=thread)
    session = await deployment.until_running(first)
    steered = await steer(deployment, thread, "dropped")
    stored = await session.until(lambda messages: messages[-1]["info"]["role"] == "user" and len(messages) > 2)
    waits = await deployment.start("behind", thread=thread)
    stopped = await deployment.keeper.interrupt(thread)
    assert stopped.confirmed
    assert ([turn.turn_id for turn in stopped.queued], stopped.held) == (["t2", "t3"], True)
    await deployment.keeper.resume_queue(thread)
    result, last = await deployment.keeper.wait(steered), await deployment.settled(waits)
    assert (result.turn_id, result.outcome.reason) == ("t2", Reason.FINISHED)
    assert result.client_message_id == stored[-1]["info"]["id"], "the same message for life"
    assert await user_texts(deployment, last) == [plan(slow_text(30)), "dropped", "behind"]
    assert seen_by(scripted_model, last) == [(plan(slow_text(30)), 1), ("dropped", 2), ("behind", 3)]


async def test_what_was_dropped_is_not_in_the_context_of_a_prompt_that_is_sent_before_it(
    deployment: Deployment, scripted_model: ScriptedModel
) -> None:
    thread = new_thread()
    first = await deployment.start(plan(slow_text(30)), thread=thread)
    session = await deployment.until_running(first)
    dropped = await steer(deployment, thread, "dropped")
    await session.until(lambda messages: len(messages) > 2)
    waits = await deployment.start("behind", thread=thread)
    await deployment.keeper.interrupt(thread)
    await deployment.keeper.send_now(thread, "t3")
    await deployment.settled(waits)
    last = await deployment.settled(dropped)
    assert seen_by(scripted_model, last)[1:] == [("behind", 2), ("dropped", 3)]
    assert (await user_texts(deployment, last))[1:] == ["behind", "dropped"]


async def test_a_steer_that_arrives_while_it_runs_as_a_turn_of_its_own_runs_once(
    gated: Deployment, gate: Gate, scripted_model: ScriptedModel
) -> None:
    """A clock of ours ended the turn while the post was still on its way."""
    thread, late = new_thread(), plan(slow_text(4))
    first = await gated.start(plan(slow_text(60)), thread=thread, limits=short(deadline=10))
    await gated.until_running(first)
    gate.hold_requests(PROMPTS)
    starting = asyncio.create_task(steer(gated, thread, late))
    held = await gate.next_held()
    gate.let_pass()
    assert (await gated.settled(first)).outcome.reason is Reason.DEADLINE_EXCEEDED
    steered = await starting
    second = await until(lambda: gated.keeper.thread(thread), lambda now: now.active and now.active.turn_id == "t2")
    session = gated.session(second.session_id or "")
    await session.until(lambda messages: messages[-1]["info"]["role"] == "assistant" and len(messages) > 3)
    held.deliver()
    result = await gated.settled(steered)
    assert (result.turn_id, result.outcome.reason) == ("t2", Reason.FINISHED)
    await session.until_idle()
    assert (await user_texts(gated, result))[1:] == [late]
    assert seen_by(scripted_model, result)[1:] == [(late, 2)]


async def test_a_steer_that_arrives_after_the_stop_and_runs_is_followed_and_not_sent_again(
    gated: Deployment, gate: Gate, scripted_model: ScriptedModel
) -> None:
    thread = new_thread()
    first = await gated.start(plan(slow_text(60)), thread=thread)
    session = await gated.until_running(first)
    gate.hold_requests(PROMPTS)
    starting = asyncio.create_task(steer(gated, thread, "late"))
    held = await gate.next_held()
    gate.let_pass()
    assert (await gated.keeper.interrupt(thread)).held
    held.deliver()
    await session.until(lambda messages: messages[-1]["info"].get("finish") == "stop")
    posts = sum(PROMPTS in line for line in gate.seen)
    await gated.keeper.resume_queue(thread)
    result = await gated.settled(await starting)
    assert (result.turn_id, result.outcome.reason) == ("t2", Reason.FINISHED)
    assert sum(PROMPTS in line for line in gate.seen) == posts
    assert seen_by(scripted_model, result)[1:] == [("late", 2)]


async def test_a_steer_for_one_turn_never_reaches_its_successor(
    deployment: Deployment, scripted_model: ScriptedModel
) -> None:
    thread = new_thread()
    first = await deployment.start(plan(slow_text(30)), thread=thread)
    session = await deployment.until_running(first)
    with pytest.raises(RefusedError, match="that is t1"):
        await steer(deployment, thread, "for another", into="t7")
    dropped = await steer(deployment, thread, "dropped", into="t1")
    await session.until(lambda messages: len(messages) > 2)
    stopped = await deployment.keeper.interrupt(thread)
    assert (stopped.queued, stopped.held) == ((), False)
    with pytest.raises(RefusedError, match="did not take the prompt"):
        await deployment.keeper.wait(dropped)
    now = await deployment.keeper.thread(thread)
    assert [note.idempotency_key for note in now.refusals] == [dropped.idempotency_key]
    with pytest.raises(RefusedError, match="not the running one"):
        await steer(deployment, thread, "too late", into="t1")
    last = await deployment.settled(await deployment.start("next", thread=thread))
    assert seen_by(scripted_model, last)[1:] == [("next", 2)]
    assert (await user_texts(deployment, last))[1:] == ["next"]


async def test_a_prompt_for_an_idle_thread_is_an_ordinary_turn(deployment: Deployment) -> None:
    thread = new_thread()
    await deployment.settled(await deployment.start("one", thread=thread))
    started = await steer(deployment, thread, "two")
    assert started.result is not None
    assert started.result.steered is None
    assert (await deployment.settled(started)).turn_id == "t2"


async def test_the_command_goes_on_with_the_turn_that_its_dropped_prompt_becomes(
    deployment: Deployment, scripted_model: ScriptedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Long after the start was answered: somebody aborts the session in OpenCode itself."""
    thread = new_thread()
    session = await deployment.until_running(await deployment.start(plan(slow_text(40)), thread=thread))

    async def here(_: Path) -> Service:
        return Service(deployment.keeper, deployment.keeper.temporal, "by a test")

    order = Order("dropped", thread=thread, on_busy=OnBusy.STEER)
    command = asyncio.create_task(run_with(Presses(), here, tmp_path, order, as_json=False))
    await session.until(lambda messages: len(messages) > 2)
    await asyncio.sleep(STEER_ANSWER.total_seconds() + 1)  # what the start waits for an answer is over
    await session.abort()
    assert await command is Exit.OK
    told = capsys.readouterr()
    assert "turn t1 is over and did not take the prompt up: it is a turn of its own now" in told.out + told.err
    result = await deployment.keeper.result(thread)
    assert (result.turn_id, result.outcome.reason) == ("t2", Reason.FINISHED)
    assert seen_by(scripted_model, result)[1:] == [("dropped", 2)]
    assert (await user_texts(deployment, result))[1:] == ["dropped"]
