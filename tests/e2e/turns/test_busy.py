"""Prompts that are given while something runs, on a real OpenCode: in line, in place of, or beside it."""

from __future__ import annotations

from tests.e2e.turns.deployment import Deployment, assert_ended, new_thread
from tests.e2e.turns.prompts import SHORT, plan, short, slow_text
from tests.e2e.waiting import until
from turnkeeper.vocabulary import EvidenceKind, OnBusy, Reason, SessionStatus, TurnState, Wake


async def test_a_held_queue_goes_on_in_its_order_and_each_prompt_is_answered_once(deployment: Deployment) -> None:
    thread = new_thread()
    first = await deployment.start(plan(slow_text(30)), thread=thread)
    second = await deployment.start("two", thread=thread)
    third = await deployment.start("three", thread=thread)
    await deployment.until_running(first)
    stopped = await deployment.keeper.interrupt(thread)
    assert stopped.confirmed
    assert ([turn.turn_id for turn in stopped.queued], stopped.held) == (["t2", "t3"], True)
    await deployment.keeper.resume_queue(thread)
    answers = [await deployment.settled(started) for started in (second, third)]
    assert [answer.outcome.reason for answer in answers] == [Reason.FINISHED, Reason.FINISHED]
    assert answers[0].outcome.completed_at <= answers[1].outcome.started_at


async def test_a_prompt_that_interrupts_is_answered_after_a_confirmed_stop(deployment: Deployment) -> None:
    thread = new_thread()
    first = await deployment.start(plan(slow_text(30)), thread=thread)
    await deployment.until_running(first)
    waits = await deployment.start("waits", thread=thread)
    keeper = deployment.keeper
    urgent = await keeper.start_turn(thread, "urgent", on_busy=OnBusy.INTERRUPT, limits=SHORT)
    stopped = await deployment.settled(first)
    assert (stopped.outcome.reason, stopped.outcome.confirmed) == (Reason.STOPPED, True)
    answer, later = await deployment.settled(urgent), await deployment.settled(waits)
    assert (answer.outcome.reason, later.outcome.reason) == (Reason.FINISHED, Reason.FINISHED)
    assert answer.outcome.completed_at <= later.outcome.started_at


async def test_a_prompt_waits_for_a_session_that_somebody_else_uses(deployment: Deployment) -> None:
    """Sent into the other run, it would be merged with it, or dropped when that is aborted."""
    thread = new_thread()
    result = await deployment.settled(await deployment.start("one", thread=thread))
    assert result.session_id is not None
    session = deployment.session(result.session_id)
    await session.prompt(plan(slow_text(4)))
    await until(session.status, lambda status: status == "busy")
    started = await deployment.start("two", thread=thread)
    turn = await deployment.until_turn(started, lambda turn: turn.turn_id == "t2" and "session" in turn.doing)
    assert turn.delivery == "unsent"
    outcome = (await deployment.settled(started)).outcome
    assert_ended(outcome, TurnState.COMPLETED, Reason.FINISHED, woken_by=Wake)


async def test_a_session_that_stays_busy_ends_the_turn_and_takes_no_prompt(deployment: Deployment) -> None:
    thread = new_thread()
    result = await deployment.settled(await deployment.start("one", thread=thread))
    assert result.session_id is not None
    session = deployment.session(result.session_id)
    await session.prompt(plan(slow_text(30)))
    await until(session.status, lambda status: status == "busy")
    started = await deployment.start("two", thread=thread, limits=short(session_busy_timeout=2))
    outcome = (await deployment.settled(started, prompts=0)).outcome
    assert_ended(outcome, TurnState.ERROR, Reason.SESSION_BUSY, kind=EvidenceKind.COMMAND, woken_by=(None,))
    await deployment.until_resting(thread, SessionStatus.ERROR)
    await session.abort()
    await session.until_idle()
    again = await deployment.settled(await deployment.start("three", thread=thread))
    assert again.outcome.reason is Reason.FINISHED
