"""Stopping a thread's session for a later resume, and closing a thread for good."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from tests.e2e.waiting import until, until_true
from tests.workflow.scripted_provider import ABORTED, AWAY, HANGS, NO_SESSION, RUNNING, SILENT, Held, answered
from tests.workflow.stage import HASTY, QUICK, Stage, new_thread, tell
from tests.workflow.test_queue import queued, runs_until_abort, sent
from turnkeeper import resting
from turnkeeper.commands import CloseThread, StopSession
from turnkeeper.errors import RefusedError, ServiceUnavailableError
from turnkeeper.findings import SessionFound
from turnkeeper.messages import InterruptResult
from turnkeeper.observations import AbortReport, LookRequest, Observation
from turnkeeper.vocabulary import EventKind, Reason, SessionStatus, TurnState


async def test_a_stopped_session_is_kept_and_the_next_prompt_resumes_it(stage: Stage) -> None:
    runs_until_abort(stage.provider, answered())
    thread = await queued(stage, "one")
    stopped = await stage.keeper.stop_session(thread, why="lunch")
    assert (stopped.was_running, stopped.confirmed) == (True, True)
    after = await stage.keeper.thread(thread)
    assert (after.status, after.active, after.last_error) == (SessionStatus.STOPPED, None, None)
    assert after.recent[0].state is TurnState.INTERRUPTED
    await stage.start(thread, "two")
    again = await stage.settled_thread(thread, turns=2)
    assert (again.status, again.session_id) == (SessionStatus.READY, after.session_id)
    assert stage.provider.requests("open_session")[-1].session_id == after.session_id


async def at_rest(stage: Stage) -> str:
    """A thread whose one turn is over."""
    thread = new_thread()
    await stage.start(thread)
    await stage.settled_thread(thread)
    return thread


async def test_an_idle_thread_is_stopped_and_says_so(stage: Stage) -> None:
    thread = await at_rest(stage)
    stopped = await stage.keeper.stop_session(thread, only_if_idle=True)
    assert stopped == InterruptResult(turn_id=None, was_running=False)
    assert (await stage.keeper.thread(thread)).status is SessionStatus.STOPPED


async def test_what_somebody_else_runs_in_an_idle_threads_session_is_aborted_until_nothing_runs(stage: Stage) -> None:
    thread = await at_rest(stage)
    session_id = (await stage.keeper.thread(thread)).session_id or ""
    busy = SessionFound(session_id=session_id, directory="/srv/shop", busy=True)
    stage.provider.says("read_session", busy, busy.model_copy(update={"busy": False}))
    assert (await stage.keeper.stop_session(thread)).confirmed
    assert [request.session_id for request in stage.provider.requests("abort")] == [session_id, session_id]
    assert (await stage.keeper.thread(thread)).status is SessionStatus.STOPPED


@pytest.mark.parametrize("fails", ["abort", "read_session"])
async def test_a_stop_of_an_idle_session_that_fails_keeps_it_and_says_why(stage: Stage, fails: str) -> None:
    thread = await at_rest(stage)
    if fails == "abort":
        stage.provider.says("abort", AbortReport(sent=False, failure=AWAY))
    else:
        stage.provider.says("read_session", SILENT)
    stopped = await stage.keeper.stop_session(thread)
    assert (stopped.was_running, stopped.confirmed, stopped.failure) == (False, False, AWAY.message)
    after = await stage.keeper.thread(thread)
    assert (after.status, after.last_error) == (SessionStatus.READY, AWAY.message)


async def test_a_stop_of_an_idle_session_is_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resting, "REST_STOP_GRACE", timedelta(seconds=1))
    thread = await at_rest(stage)
    stage.provider.says("abort", HANGS)
    stopped = await stage.keeper.stop_session(thread)
    assert stopped.failure == resting.OUT_OF_TIME
    assert (await stage.keeper.thread(thread)).last_error == resting.OUT_OF_TIME


async def test_no_turn_begins_under_the_abort_of_an_idle_session(stage: Stage) -> None:
    thread = await at_rest(stage)
    abort = Held(AbortReport(sent=True))
    stage.provider.says("abort", abort)
    stopping = asyncio.create_task(stage.keeper.stop_session(thread))
    await stage.provider.called("abort")
    starting = asyncio.create_task(stage.start(thread, "two"))
    meanwhile = await until(lambda: stage.keeper.thread(thread), lambda now: now.queued or now.active)
    assert meanwhile.active is None, "the abort could hit it"
    abort.released.set()
    assert (await stopping).confirmed
    await starting
    assert (await stage.settled_thread(thread, turns=2)).status is SessionStatus.READY


async def test_a_kept_stop_of_an_idle_session_asks_the_provider_too(stage: Stage) -> None:
    thread = await at_rest(stage)
    await stage.thread_of(thread).signal("request_stop_session", StopSession())
    await stage.provider.called("abort")
    await until(lambda: stage.keeper.thread(thread), lambda now: now.status is SessionStatus.STOPPED)


async def test_an_idle_thread_without_a_session_has_nothing_to_ask(stage: Stage) -> None:
    thread = await stage.small_thread(2000)
    assert (await stage.keeper.stop_session(thread)).confirmed
    assert stage.provider.count("abort") == 0


async def test_a_stop_of_an_idle_session_is_refused_while_a_turn_runs(stage: Stage) -> None:
    runs_until_abort(stage.provider)
    thread = await queued(stage, "one")
    with pytest.raises(RefusedError, match="busy"):
        await stage.keeper.stop_session(thread, only_if_idle=True)
    assert (await stage.keeper.thread(thread)).status is SessionStatus.RUNNING
    await stage.keeper.interrupt(thread)


async def test_a_stop_that_fails_keeps_the_turn_and_says_why(stage: Stage) -> None:
    stage.provider.says("look", RUNNING).says("abort", AbortReport(sent=False, failure=AWAY))
    thread = new_thread()
    await stage.start(thread, limits=HASTY)
    await stage.provider.called("submit")
    stopped = await stage.keeper.stop_session(thread)
    assert (stopped.was_running, stopped.confirmed, stopped.outcome) == (True, False, None)
    assert stopped.failure == AWAY.message
    after = await stage.keeper.thread(thread)
    assert (after.status, after.last_error) == (SessionStatus.RUNNING, AWAY.message)
    assert after.active is not None
    assert after.active.turn_id == "t1"
    stage.provider.forget("abort")
    stage.provider.says("look", answered())
    await tell(stage.turn_of(thread), EventKind.IDLE)
    settled = await stage.settled_thread(thread)
    assert (settled.status, settled.last_error) == (SessionStatus.READY, None), "it was followed to its end"


async def test_a_session_that_is_gone_is_stopped(stage: Stage) -> None:
    stage.provider.says("look", NO_SESSION)
    thread = await queued(stage, "one")
    assert (await stage.keeper.stop_session(thread)).confirmed
    after = await stage.keeper.thread(thread)
    assert (after.status, after.last_error) == (SessionStatus.STOPPED, None)


async def test_who_interrupts_for_good_ends_the_turn_that_a_failing_stop_would_keep(stage: Stage) -> None:
    stage.provider.says("look", SILENT)
    thread = new_thread()
    await stage.start(thread, limits=QUICK)
    await stage.provider.called("submit")
    stopping = asyncio.create_task(stage.keeper.stop_session(thread))
    await stage.provider.called("abort")
    for_good = await stage.keeper.interrupt(thread)
    assert for_good.outcome is not None
    assert (for_good.outcome.reason, for_good.confirmed) == (Reason.STOPPED, False)
    assert (await stopping).outcome == for_good.outcome


async def test_a_stop_during_the_start_sends_nothing(stage: Stage) -> None:
    stage.provider.opens_at_door = False
    stage.provider.says("open_session", HANGS)
    thread = new_thread()
    await stage.start(thread, limits=QUICK)
    assert (await stage.keeper.stop_session(thread)).confirmed
    assert (stage.provider.count("submit"), stage.provider.count("abort")) == (0, 0)
    assert (await stage.keeper.thread(thread)).status is SessionStatus.STOPPED


async def test_a_stop_is_not_delayed_by_other_threads_whose_provider_hangs(stage: Stage) -> None:
    threads = [new_thread() for _ in range(10)]

    def look(request: LookRequest) -> Observation | Held:
        hanging = [sent.session_id for sent in stage.provider.requests("submit")[: len(threads)]]
        if request.session_id in hanging:
            return Held()
        return ABORTED if stage.provider.count("abort") else RUNNING

    stage.provider.says("look", look)
    for thread in threads:
        await stage.start(thread)
    await until_true(lambda: stage.provider.count("submit") == len(threads))
    for thread in threads:
        await tell(stage.turn_of(thread), EventKind.IDLE)
    await stage.provider.called("look", times=len(threads))
    mine = new_thread()
    await stage.start(mine, limits=QUICK)
    await stage.provider.called("submit", times=len(threads) + 1)
    loop = asyncio.get_running_loop()
    asked = loop.time()
    stopped = await stage.keeper.stop_session(mine)
    assert stopped.confirmed
    assert loop.time() - asked < 3, "one abort and one look"
    for thread in threads:
        await stage.turn_of(thread).terminate("the test is over")


# Closing.


async def test_closing_stops_the_turn_hands_back_what_waits_and_ends_the_thread(stage: Stage) -> None:
    runs_until_abort(stage.provider)
    thread = await queued(stage, "one", "two", "three")
    closed = await stage.keeper.close(thread)
    assert closed.stopped is not None
    assert closed.stopped.confirmed
    assert [queued.start.prompt for queued in closed.returned] == ["two", "three"]
    ended = await until(stage.thread_of(thread).describe, lambda now: now.close_time is not None)
    assert ended.status is not None
    assert ended.status.name == "COMPLETED"
    assert sent(stage) == ["one"]
    assert (await stage.keeper.thread(thread)).closed
    again = await stage.keeper.close(thread)
    assert again.returned == closed.returned, "nothing is lost when the first answer was"


async def test_an_idle_thread_is_closed_at_once(stage: Stage) -> None:
    thread = new_thread()
    await stage.start(thread)
    await stage.settled_thread(thread)
    closed = await stage.keeper.close(thread)
    assert (closed.stopped, closed.returned) == (None, ())
    with pytest.raises(RefusedError, match="has ended"):
        await stage.keeper.start_turn(thread, "two")


async def test_a_thread_that_is_being_closed_takes_nothing_more(stage: Stage) -> None:
    abort = Held()
    stage.provider.says("abort", abort).says("look", ABORTED)
    thread = await queued(stage, "one")
    closing = asyncio.create_task(stage.keeper.close(thread))
    await stage.provider.called("abort")
    with pytest.raises(RefusedError, match="closed"):
        await stage.start(thread, "two")
    abort.released.set()
    assert (await closing).returned == ()


async def test_a_stop_and_a_close_given_while_no_worker_is_up_are_kept_and_done(empty_stage: Stage) -> None:
    stage = empty_stage
    runs_until_abort(stage.provider, answered())
    async with stage.worker_up():
        thread = await queued(stage, "one", "two")
    with pytest.raises(ServiceUnavailableError, match="kept"):
        await stage.keeper.stop_session(thread, within=1)
    async with stage.worker_up():
        stopped = await until(lambda: stage.keeper.thread(thread), lambda now: now.active is None)
        assert (stopped.status, stopped.held) == (SessionStatus.STOPPED, True)
    await stage.thread_of(thread).signal("request_stop_session", StopSession())
    await stage.thread_of(thread).signal("request_close", CloseThread())
    async with stage.worker_up():
        await until(stage.thread_of(thread).describe, lambda now: now.close_time is not None)
        assert [waiting.start.prompt for waiting in (await stage.keeper.waiting(thread)).prompts] == ["two"]
