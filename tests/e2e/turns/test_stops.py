"""Stops: asked for at every moment of a turn, and the ones that our own clocks ask for."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tests.e2e.turns.deployment import Deployment, assert_ended
from tests.e2e.turns.prompts import DONE, STALL, bash, plan, short, slow_text
from tests.e2e.waiting import until, until_true
from turnkeeper.client import StartedTurn
from turnkeeper.messages import Outcome
from turnkeeper.vocabulary import EvidenceKind, Reason, SessionStatus, TurnState, Wake

CONFIRMING_WAKES = (Wake.STOP, Wake.EVENT, Wake.TIMER)
"""The look after an abort, or the one after the idle event that the abort caused, whichever finds the last word."""


async def stop(deployment: Deployment, started: StartedTurn, *, prompts: int = 1) -> Outcome:
    """Interrupt, and check what must hold of every confirmed stop."""
    answer = await deployment.keeper.interrupt(started.thread_id, why="a test")
    result = await deployment.settled(started, prompts=prompts)
    assert answer.was_running
    assert answer.confirmed
    assert answer.outcome == result.outcome
    assert result.outcome.confirmed is True
    assert result.outcome.failure is None
    await deployment.until_resting(started.thread_id, SessionStatus.READY)
    return result.outcome


async def test_before_the_first_token(deployment: Deployment) -> None:
    started = await deployment.start(plan({"kind": "stall"}))
    session = await deployment.until_running(started)
    outcome = await stop(deployment, started)
    assert_ended(outcome, TurnState.INTERRUPTED, Reason.STOPPED, woken_by=CONFIRMING_WAKES)
    assert await session.status() == "none"


async def test_in_the_middle_of_the_text(deployment: Deployment) -> None:
    started = await deployment.start(plan(slow_text(30)))
    session = await deployment.until_streaming(started)
    outcome = await stop(deployment, started)
    assert_ended(outcome, TurnState.INTERRUPTED, Reason.STOPPED, woken_by=CONFIRMING_WAKES)
    assert outcome.text.startswith("tok0 ")
    assert await session.status() == "none"
    again = await deployment.settled(await deployment.start("go on", thread=started.thread_id))
    assert_ended(again.outcome, TurnState.COMPLETED, Reason.FINISHED)


async def test_during_a_tool_whose_process_ends(deployment: Deployment, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    started = await deployment.start(plan(bash(f"echo $$ > {note}; sleep 300"), DONE))
    await until_true(lambda: note.exists() and note.read_text().strip())
    pid = int(note.read_text())
    outcome = await stop(deployment, started)
    assert_ended(outcome, TurnState.INTERRUPTED, Reason.STOPPED, woken_by=CONFIRMING_WAKES)
    assert outcome.tool_calls == 1
    await until_true(lambda: not _exists(pid))


async def test_while_the_provider_waits_to_retry(deployment: Deployment) -> None:
    started = await deployment.start(plan({"kind": "http", "status": 429, "retry_after": 60, "times": "always"}))
    turn = await deployment.until_turn(started, lambda turn: "retry" in turn.doing)
    assert turn.state is TurnState.RUNNING
    outcome = await stop(deployment, started)
    assert_ended(outcome, TurnState.INTERRUPTED, Reason.STOPPED, woken_by=CONFIRMING_WAKES)


async def test_twice_and_when_nothing_runs(deployment: Deployment) -> None:
    started = await deployment.start(plan(slow_text(30)))
    await deployment.until_running(started)
    first, second = await asyncio.gather(stop(deployment, started), stop(deployment, started))
    assert first == second
    late = await deployment.keeper.interrupt(started.thread_id)
    assert (late.was_running, late.confirmed) == (False, True)


async def test_a_waiting_permission_is_shown_and_stopped(deployment: Deployment) -> None:
    started = await deployment.start(plan(bash("echo ask me"), DONE))
    turn = await deployment.until_turn(started, lambda turn: turn.state is TurnState.WAITING)
    (request,) = turn.open_requests
    assert (request.kind, request.title) == ("permission", "bash: echo ask me")
    assert request.session_id == turn.session_id
    assert turn.doing == "waits for a person: 1 open"
    outcome = await stop(deployment, started)
    assert_ended(outcome, TurnState.INTERRUPTED, Reason.STOPPED, woken_by=CONFIRMING_WAKES)


async def test_a_waiting_question_is_shown_and_stopped(deployment: Deployment) -> None:
    started = await deployment.start("ask Which colour? red, green")
    turn = await deployment.until_turn(started, lambda turn: turn.state is TurnState.WAITING)
    (request,) = turn.open_requests
    assert (request.kind, request.title) == ("question", "Which colour?")
    assert_ended(await stop(deployment, started), TurnState.INTERRUPTED, Reason.STOPPED, woken_by=CONFIRMING_WAKES)


async def test_a_sub_agent_is_stopped_with_its_parent(deployment: Deployment) -> None:
    started = await deployment.start(f"sub-agent: {plan(slow_text(30))}")
    session = await deployment.until_running(started)
    (child,) = await until(session.children)
    child_session = deployment.session(child["id"])
    await until(child_session.status, lambda status: status == "busy")
    outcome = await stop(deployment, started)
    assert_ended(outcome, TurnState.INTERRUPTED, Reason.STOPPED, woken_by=CONFIRMING_WAKES)
    assert await child_session.status() == "none"


async def test_a_silent_provider_is_stalled_and_aborted(deployment: Deployment) -> None:
    started = await deployment.start(plan(STALL), limits=short(stall_timeout=3, look_interval=1))
    session = await deployment.until_running(started)
    result = await deployment.settled(started)
    assert_ended(result.outcome, TurnState.ERROR, Reason.STALLED, woken_by=CONFIRMING_WAKES)
    assert result.outcome.confirmed is True
    assert result.outcome.failure is not None
    assert result.outcome.failure.code == "stalled"
    assert (result.outcome.completed_at - result.outcome.started_at).total_seconds() < 15
    assert await session.status() == "none"


async def test_a_deadline_ends_a_turn_that_goes_on(deployment: Deployment) -> None:
    started = await deployment.start(plan(slow_text(60)), limits=short(deadline=3))
    result = await deployment.settled(started)
    assert_ended(result.outcome, TurnState.ERROR, Reason.DEADLINE_EXCEEDED, woken_by=CONFIRMING_WAKES)
    assert result.outcome.confirmed is True
    assert result.outcome.evidence.kind is EvidenceKind.SNAPSHOT


async def test_somebody_elses_abort_is_told_apart(deployment: Deployment) -> None:
    started = await deployment.start(plan(slow_text(30)))
    session = await deployment.until_streaming(started)
    await session.abort()
    result = await deployment.settled(started)
    assert_ended(result.outcome, TurnState.INTERRUPTED, Reason.ABORTED_ELSEWHERE, woken_by=(Wake.EVENT, Wake.TIMER))
    assert result.outcome.confirmed is None


async def test_what_somebody_else_runs_in_an_idle_threads_session_is_stopped_with_it(deployment: Deployment) -> None:
    started = await deployment.start(plan(DONE))
    session = deployment.session((await deployment.settled(started)).session_id or "")
    await session.prompt(plan(slow_text(60)))
    await until(session.status, lambda status: status == "busy")
    await session.until(lambda messages: messages[-1]["info"]["role"] == "assistant" and messages[-1]["parts"])
    answer = await deployment.keeper.stop_session(started.thread_id)
    assert (answer.was_running, answer.confirmed) == (False, True)
    assert await session.status() == "none"
    thread = await deployment.keeper.thread(started.thread_id)
    assert (thread.status, thread.session_id, thread.last_error) == (SessionStatus.STOPPED, session.id, None)
    again = await deployment.settled(await deployment.start("go on", thread=started.thread_id))
    assert_ended(again.outcome, TurnState.COMPLETED, Reason.FINISHED)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
