"""Stopping what a thread runs: while it starts, while it runs, when it is over; by update and by its signal twin."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.waiting import until
from tests.workflow.scripted_provider import ABORTED, AWAY, HANGS, RUNNING, SILENT, ScriptedProvider, answered
from tests.workflow.stage import HASTY, QUICK, Stage, elapsed, new_thread, tell
from turnkeeper.errors import RefusedError
from turnkeeper.messages import Interrupt, InterruptResult
from turnkeeper.observations import AbortReport
from turnkeeper.thread_messages import ThreadSnapshot
from turnkeeper.vocabulary import EventKind, OnBusy, Reason, SessionStatus, TurnState
from workflows import calls


def runs_until_abort(provider: ScriptedProvider) -> None:
    provider.says("look", lambda _: ABORTED if provider.count("abort") else RUNNING)


def is_stopped(thread: ThreadSnapshot) -> bool:
    return thread.active is None and [turn.reason for turn in thread.recent] == [Reason.STOPPED]


def assert_says_that_it_may_run(thread: ThreadSnapshot) -> None:
    """What an unconfirmed stop leaves."""
    assert (thread.status, thread.active) == (SessionStatus.STOPPED, None)
    assert "may still be at work" in (thread.last_error or "")
    assert thread.session_id is not None


async def test_a_running_turn_is_stopped_and_the_thread_is_ready_for_the_next_prompt(stage: Stage) -> None:
    runs_until_abort(stage.provider)
    thread = new_thread()
    await stage.start(thread, limits=QUICK)
    await stage.provider.called("submit")
    result = await stage.keeper.interrupt(thread, "t1", why="enough")
    assert result.was_running
    assert result.confirmed
    assert result.outcome is not None
    assert result.outcome.reason is Reason.STOPPED
    after = await stage.keeper.thread(thread)
    assert (after.status, after.active, after.last_error) == (SessionStatus.READY, None, None)
    assert after.recent[0].state is TurnState.INTERRUPTED


async def test_a_silent_provider_leaves_the_stop_unconfirmed_within_the_grace(stage: Stage) -> None:
    stage.provider.says("look", SILENT)
    thread = new_thread()
    await stage.start(thread, limits=HASTY)
    await stage.provider.called("submit")
    result = await stage.keeper.interrupt(thread)
    assert not result.confirmed
    after = await stage.keeper.thread(thread)
    assert after.recent[0].confirmed is False
    assert_says_that_it_may_run(after)
    stage.provider.says("look", answered())
    await stage.start(thread, "two", limits=QUICK)
    again = await stage.settled_thread(thread, turns=2)
    assert (again.status, again.session_id, again.last_error) == (SessionStatus.READY, after.session_id, None)


async def test_a_stop_that_the_provider_refuses_is_told_in_its_words(stage: Stage) -> None:
    stage.provider.says("look", RUNNING).says("abort", AbortReport(sent=False, failure=AWAY))
    thread = new_thread()
    await stage.start(thread, limits=HASTY)
    await stage.provider.called("submit")
    await stage.keeper.interrupt(thread)
    after = await stage.keeper.thread(thread)
    assert_says_that_it_may_run(after)
    assert AWAY.message.removesuffix(".") in (after.last_error or "")


async def test_a_cancelled_workflow_whose_stop_is_not_confirmed_leaves_the_same(stage: Stage) -> None:
    stage.provider.says("look", SILENT)
    thread = new_thread()
    await stage.start(thread, limits=HASTY)
    await stage.provider.called("submit")
    await stage.turn_of(thread).cancel()
    assert_says_that_it_may_run(await until(lambda: stage.keeper.thread(thread), is_stopped))


@pytest.mark.parametrize("way", ["send now", "in its place"])
async def test_a_turn_that_has_to_make_way_and_may_run_on_says_so(stage: Stage, way: str) -> None:
    stage.provider.says("look", SILENT)
    thread = new_thread()
    await stage.start(thread, limits=HASTY)
    await stage.provider.called("submit")
    on_busy = OnBusy.QUEUE if way == "send now" else OnBusy.INTERRUPT
    await stage.start(thread, "two", on_busy=on_busy, limits=HASTY)
    if way == "send now":
        await stage.keeper.send_now(thread, "t2")
    await until(lambda: stage.keeper.thread(thread), lambda now: now.recent)
    stage.provider.says("look", answered())
    after = await stage.settled_thread(thread, turns=2)
    assert "may still be at work" in (after.recent[0].error or "")
    assert after.recent[0].next_step
    assert (after.status, after.last_error) == (SessionStatus.READY, None), "of the one that was sent in its place"


async def test_a_turn_that_is_only_starting_is_stopped_before_anything_is_sent(stage: Stage) -> None:
    stage.provider.opens_at_door = False
    stage.provider.says("open_session", HANGS)
    thread = new_thread()
    await stage.start(thread, limits=QUICK)
    result = await stage.keeper.interrupt(thread)
    assert result.confirmed
    assert stage.provider.count("submit") == 0


async def test_a_stop_during_a_quick_call_that_hangs_waits_for_its_limit_at_most(stage: Stage) -> None:
    """Quick calls run inside the workflow task, where no stop is heard."""
    stage.provider.says("look", HANGS, ABORTED)
    thread = new_thread()
    await stage.start(thread, limits=QUICK)
    await stage.provider.called("submit")
    await tell(stage.turn_of(thread), EventKind.IDLE)
    await stage.provider.called("look")
    result = await stage.keeper.interrupt(thread)
    assert result.confirmed
    assert result.outcome is not None
    limit = calls.LOOK.local_limit
    assert limit is not None
    assert elapsed(result.outcome) < (limit + QUICK.interrupt_grace).total_seconds()


async def test_nothing_running_is_a_success_that_says_so(stage: Stage) -> None:
    thread = await stage.small_thread(2000)
    assert await stage.keeper.interrupt(thread) == InterruptResult(turn_id=None, was_running=False)


async def test_another_turn_than_the_running_one_is_refused_by_name(stage: Stage) -> None:
    runs_until_abort(stage.provider)
    thread = new_thread()
    await stage.start(thread, limits=QUICK)
    with pytest.raises(RefusedError, match="t1") as refused:
        await stage.keeper.interrupt(thread, "t7")
    assert refused.value.detail_code == "not_running"
    active = (await stage.keeper.thread(thread)).active
    assert active is not None
    await stage.keeper.interrupt(thread, "t1")
    with pytest.raises(RefusedError, match="none is"):
        await stage.keeper.interrupt(thread, "t1")


async def test_two_stops_at_once_get_the_same_answer(stage: Stage) -> None:
    runs_until_abort(stage.provider)
    thread = new_thread()
    await stage.start(thread, limits=QUICK)
    await stage.provider.called("submit")
    first, second = await asyncio.gather(stage.keeper.interrupt(thread), stage.keeper.interrupt(thread))
    assert first == second
    assert first.confirmed


# The signal twin, also while no worker is up.


async def test_by_signal(stage: Stage) -> None:
    runs_until_abort(stage.provider)
    thread = new_thread()
    await stage.start(thread, limits=QUICK)
    await stage.provider.called("submit")
    await stage.thread_of(thread).signal("request_interrupt", Interrupt(turn_id="t7"))
    await stage.thread_of(thread).signal("request_interrupt", Interrupt(turn_id="t1"))
    await until(lambda: stage.keeper.thread(thread), is_stopped)


async def test_a_stop_given_while_no_worker_is_up_is_kept_and_done(empty_stage: Stage) -> None:
    stage, thread = empty_stage, new_thread()
    runs_until_abort(stage.provider)
    async with stage.worker_up():
        await stage.start(thread, limits=QUICK)
        await stage.provider.called("submit")
    await stage.thread_of(thread).signal("request_interrupt", Interrupt())
    async with stage.worker_up():
        await until(lambda: stage.keeper.thread(thread), is_stopped)


async def test_a_stop_kept_behind_a_kept_prompt_stops_that_prompt(empty_stage: Stage) -> None:
    """Both were given while no worker was up; they are done in the order in which they were given."""
    stage, thread = empty_stage, new_thread()
    runs_until_abort(stage.provider)
    await stage.request(thread, stage.prompt(limits=QUICK))
    await stage.thread_of(thread).signal("request_interrupt", Interrupt())
    async with stage.worker_up():
        await until(lambda: stage.keeper.thread(thread), is_stopped)


@pytest.mark.parametrize("way", ["signal", "update"])
async def test_a_stop_that_meets_a_turn_just_over_does_no_harm(empty_stage: Stage, way: str) -> None:
    """The turn has ended, and the thread learns of the stop and of the end in one step."""
    stage, thread = empty_stage, new_thread()
    stage.provider.says("look", HANGS)
    async with stage.worker_up():
        await stage.start(thread)
        await stage.provider.called("submit")
    handle = stage.thread_of(thread)
    stopping = asyncio.create_task(stage.keeper.interrupt(thread)) if way == "update" else None
    if way == "signal":
        await handle.signal("request_interrupt", Interrupt())
    await stage.turn_of(thread).terminate("an operator")
    stage.provider.says("look", answered())
    async with stage.worker_up():
        settled = await stage.settled_thread(thread)
        assert settled.recent[0].reason is Reason.TURNKEEPER_ERROR
        if stopping is not None:
            assert (await stopping).was_running
        next_turn = (await stage.start(thread, "the thread goes on")).result
        assert next_turn is not None
        assert next_turn.turn_id == "t2", "in the same thread, which remembers"
