"""What a thread does when the provider loses its run or its session: says so, and goes on if it was told to."""

from __future__ import annotations

import pytest

from tests.e2e.waiting import until
from tests.workflow.scripted_provider import ABORTED, NO_SESSION, RUNNING, Held, answered, asks, opened, stands
from tests.workflow.stage import QUICK, Stage, new_thread, result_of, snapshot, tell
from turnkeeper.continuation import CONTINUE_PROMPT
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import Interrupt
from turnkeeper.observations import Seen, SessionMissing
from turnkeeper.vocabulary import EventKind, OnLost, Reason, SessionStatus, Standing

HALTED = stands(Standing.HALTED, "begun")


async def test_a_lost_turn_is_continued_in_the_same_session_before_what_waits(skipping_stage: Stage) -> None:
    first = Held(HALTED)
    skipping_stage.provider.says("look", first, HALTED, answered())
    thread = new_thread()
    await skipping_stage.start(thread, "one", on_lost=OnLost.CONTINUE)
    await skipping_stage.start(thread, "two")
    first.released.set()
    settled = await skipping_stage.settled_thread(thread, turns=3)
    submits = skipping_stage.provider.requests("submit")
    assert [request.prompt for request in submits] == ["one", CONTINUE_PROMPT, "two"]
    assert len({request.session_id for request in submits}) == 1
    assert [(turn.turn_id, turn.reason, turn.continues) for turn in settled.recent] == [
        ("t1", Reason.PROVIDER_LOST_TURN, None),
        ("t3", Reason.FINISHED, "t1"),
        ("t2", Reason.FINISHED, None),
    ]
    assert settled.status is SessionStatus.READY


async def test_a_run_that_is_lost_again_and_again_ends(skipping_stage: Stage) -> None:
    skipping_stage.provider.says("look", HALTED)
    thread = new_thread()
    limits = TurnLimits(max_continues=2)
    await skipping_stage.start(thread, on_lost=OnLost.CONTINUE, limits=limits)
    settled = await skipping_stage.settled_thread(thread, turns=3)
    assert [turn.continues for turn in settled.recent] == [None, "t1", "t2"]
    assert settled.status is SessionStatus.STOPPED
    assert settled.last_error
    assert settled.recent[-1].next_step, "a person is told what to do"
    assert not settled.queued


async def test_a_lost_turn_is_a_persons_to_decide_by_default(skipping_stage: Stage) -> None:
    skipping_stage.provider.says("look", HALTED)
    thread = new_thread()
    await skipping_stage.start(thread)
    settled = await skipping_stage.settled_thread(thread)
    assert (len(settled.recent), settled.status) == (1, SessionStatus.STOPPED)


async def test_a_continuation_whose_session_is_gone_sends_nothing(skipping_stage: Stage) -> None:
    skipping_stage.provider.says("look", HALTED).says("open_session", SessionMissing(), opened)
    thread = new_thread()
    await skipping_stage.start(thread, on_lost=OnLost.CONTINUE)
    settled = await skipping_stage.settled_thread(thread, turns=2)
    assert [turn.reason for turn in settled.recent] == [Reason.PROVIDER_LOST_TURN, Reason.SESSION_GONE]
    assert skipping_stage.provider.count("submit") == 1
    assert settled.status is SessionStatus.STOPPED


async def test_a_session_that_goes_while_it_runs_is_not_continued(skipping_stage: Stage) -> None:
    skipping_stage.provider.says("look", NO_SESSION)
    thread = new_thread()
    await skipping_stage.start(thread, on_lost=OnLost.CONTINUE)
    settled = await skipping_stage.settled_thread(thread)
    assert [turn.reason for turn in settled.recent] == [Reason.SESSION_GONE]


async def test_a_turn_that_was_to_stop_is_not_continued(stage: Stage) -> None:
    stage.provider.says("look", lambda _: HALTED if stage.provider.count("abort") else RUNNING)
    thread = new_thread()
    await stage.start(thread, on_lost=OnLost.CONTINUE, limits=QUICK)
    await stage.provider.called("look")
    assert (await stage.keeper.interrupt(thread)).was_running
    settled = await stage.settled_thread(thread)
    assert [turn.reason for turn in settled.recent] == [Reason.STOPPED]


async def test_a_stop_of_the_turn_itself_after_its_loss_is_decided_still_wins(stage: Stage) -> None:
    closing = Held()
    stage.provider.says("look", asks(), HALTED).says("answer", closing)
    thread = new_thread()
    await stage.start(thread, on_lost=OnLost.CONTINUE, limits=QUICK)
    turn = stage.turn_of(thread)
    await until(lambda: snapshot(turn), lambda now: now.open_requests)
    await tell(turn, EventKind.IDLE)
    await stage.provider.called("answer")
    await turn.signal("interrupt", Interrupt(turn_id="t1"))
    closing.released.set()
    settled = await stage.settled_thread(thread)
    assert [turn.reason for turn in settled.recent] == [Reason.PROVIDER_LOST_TURN]
    assert stage.provider.count("submit") == 1


@pytest.mark.parametrize("straight", [False, True])
async def test_a_stop_of_a_lost_turn_stops_what_goes_on_with_it(stage: Stage, *, straight: bool) -> None:
    def look(_: object) -> Seen:
        if stage.provider.count("abort"):
            return ABORTED
        return HALTED if stage.provider.count("submit") == 1 else RUNNING

    stage.provider.says("look", look)
    thread = new_thread()
    await stage.start(thread, on_lost=OnLost.CONTINUE, limits=QUICK)
    await stage.provider.called("submit", times=2)
    if straight:
        await stage.turn_of(thread).signal("interrupt", Interrupt(turn_id="t1"))
    else:
        stopped = await stage.keeper.interrupt(thread, "t1")
        assert (stopped.turn_id, stopped.confirmed) == ("t2", True)
    settled = await stage.settled_thread(thread, turns=2)
    assert [turn.reason for turn in settled.recent] == [Reason.PROVIDER_LOST_TURN, Reason.STOPPED]


async def test_a_context_that_was_lost_shows_in_the_thread_and_its_turn(skipping_stage: Stage) -> None:
    thread = new_thread()
    await skipping_stage.start(thread)
    await skipping_stage.settled_thread(thread)
    skipping_stage.provider.says("open_session", SessionMissing(), opened)
    await skipping_stage.start(thread)
    settled = await skipping_stage.settled_thread(thread, turns=2)
    assert [turn.context_lost for turn in settled.recent] == [False, True]
    turn = skipping_stage.turn_of(thread)
    assert (await result_of(turn)).context_lost
    assert (await snapshot(turn)).context_lost
