"""Looking again by hand: what was found, what changed, and that unknown changes nothing."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

import workflows.turn
from tests.e2e.waiting import until
from tests.workflow.scripted_provider import (
    AWAY,
    NO_SESSION,
    RUNNING,
    SILENT,
    Held,
    answered,
    asks,
    opened,
    stands,
)
from tests.workflow.stage import QUICK, Stage, new_thread, snapshot
from turnkeeper.errors import RefusedError
from turnkeeper.findings import Reconcile, SessionFound, TurnFinding
from turnkeeper.messages import thread_workflow_id
from turnkeeper.observations import NotSent, SessionMissing
from turnkeeper.vocabulary import Finding, Reason, SessionStatus, Standing, TurnState

SLOW = QUICK.model_copy(update={"look_interval": timedelta(hours=1), "look_interval_max": timedelta(hours=1)})
"""By itself it looks too late for any test."""


async def test_a_running_turn_is_looked_at_now_and_goes_on(stage: Stage) -> None:
    stage.provider.says("look", RUNNING)
    thread = new_thread()
    await stage.start(thread, limits=SLOW)
    found = await stage.keeper.reconcile(thread)
    assert (found.finding, found.standing, found.turn_id, found.turn_state) == (
        Finding.LIVE,
        Standing.RUNNING,
        "t1",
        TurnState.RUNNING,
    )
    assert (found.checked, found.changed) == (True, False)
    assert found.detail == "it is running"
    assert stage.provider.count("look") == 1
    stage.provider.says("look", asks())
    waits = await stage.keeper.reconcile(thread)
    assert (waits.finding, waits.standing, waits.turn_state) == (Finding.LIVE, Standing.WAITING, TurnState.WAITING)
    stage.provider.forget("look")
    done = await stage.keeper.reconcile(thread)
    assert (done.finding, done.reason, done.status) == (Finding.SETTLED, Reason.FINISHED, SessionStatus.READY)
    assert done.changed


async def test_a_run_that_is_gone_is_settled_and_the_answer_says_so(stage: Stage) -> None:
    """The first reading is a suspicion; the answer waits for the second."""
    stage.provider.says("look", stands(Standing.HALTED, "begun"))
    thread = new_thread()
    await stage.start(thread, limits=SLOW)
    found = await stage.keeper.reconcile(thread)
    assert (found.finding, found.reason, found.turn_state) == (
        Finding.SETTLED,
        Reason.PROVIDER_LOST_TURN,
        TurnState.INTERRUPTED,
    )
    assert (found.before, found.status) == (SessionStatus.RUNNING, SessionStatus.STOPPED)


async def test_a_provider_that_is_away_is_unknown_and_changes_nothing(stage: Stage) -> None:
    stage.provider.says("look", SILENT)
    thread = new_thread()
    await stage.start(thread, limits=SLOW)
    found = await stage.keeper.reconcile(thread)
    assert (found.finding, found.checked, found.changed) == (Finding.UNKNOWN, False, False)
    assert found.failure == AWAY
    assert (await stage.keeper.thread(thread)).active is not None


async def test_a_prompt_that_could_not_be_sent_is_tried_again_now(stage: Stage) -> None:
    """Its own next try would be an hour away."""
    limits = SLOW.model_copy(update={"retry_interval": timedelta(hours=1), "retry_interval_max": timedelta(hours=1)})
    stage.provider.says("submit", NotSent(failure=AWAY))
    thread = new_thread()
    await stage.start(thread, limits=limits)
    turn = stage.turn_of(thread)
    await until(lambda: snapshot(turn), lambda now: now.doing == "waits for the provider to answer")
    assert (await stage.keeper.reconcile(thread)).finding is Finding.UNKNOWN
    assert stage.provider.count("submit") == 2
    stage.provider.forget("submit")
    await stage.keeper.reconcile(thread)
    assert (await stage.settled_thread(thread)).recent[0].reason is Reason.FINISHED


async def test_a_thread_at_rest_learns_whether_its_session_exists(stage: Stage) -> None:
    thread = new_thread()
    await stage.start(thread)
    settled = await stage.settled_thread(thread)
    found = await stage.keeper.reconcile(thread)
    assert (found.finding, found.session_id, found.changed) == (Finding.READY, settled.session_id, False)
    stage.provider.says("read_session", SessionFound(session_id="ses_1", directory="/srv/shop", busy=True))
    assert (await stage.keeper.reconcile(thread)).finding is Finding.BUSY
    stage.provider.says("read_session", SILENT)
    unknown = await stage.keeper.reconcile(thread)
    assert (unknown.finding, unknown.checked, unknown.status) == (Finding.UNKNOWN, False, SessionStatus.READY)
    assert (await stage.keeper.thread(thread)) == settled, "unknown is not gone"


async def test_a_session_that_is_gone_stops_the_thread_until_the_next_prompt(stage: Stage) -> None:
    thread = new_thread()
    await stage.start(thread)
    await stage.settled_thread(thread)
    stage.provider.says("read_session", SessionMissing())
    found = await stage.keeper.reconcile(thread)
    assert (found.finding, found.before, found.status) == (Finding.GONE, SessionStatus.READY, SessionStatus.STOPPED)
    assert not (await stage.keeper.reconcile(thread)).changed
    seen = await stage.keeper.thread(thread)
    assert seen.last_error is not None
    assert "fresh session" in seen.last_error
    stage.provider.says("open_session", SessionMissing(), opened)
    await stage.start(thread)
    after = await stage.settled_thread(thread, turns=2)
    assert (after.status, after.last_error, after.recent[-1].context_lost) == (SessionStatus.READY, None, True)


async def test_a_session_that_goes_in_the_middle(stage: Stage) -> None:
    stage.provider.says("look", NO_SESSION)
    thread = new_thread()
    await stage.start(thread, limits=SLOW)
    found = await stage.keeper.reconcile(thread)
    assert (found.finding, found.reason) == (Finding.SETTLED, Reason.SESSION_GONE)


async def test_a_thread_that_never_sent_anything_has_nothing_to_check(stage: Stage) -> None:
    thread = await stage.small_thread(2000)
    found = await stage.keeper.reconcile(thread)
    assert (found.finding, found.checked, found.changed) == (Finding.NO_SESSION, True, False)
    assert stage.provider.count("read_session") == 0


async def test_there_has_to_be_a_thread(stage: Stage) -> None:
    with pytest.raises(RefusedError, match="no thread"):
        await stage.keeper.reconcile("nobody")


async def test_a_provider_that_hangs_is_unknown_and_no_other_thread_waits_for_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflows.turn, "TURN_PATIENCE", timedelta(seconds=1))
    hung, fine = new_thread(), new_thread()
    await stage.start(fine)
    await stage.settled_thread(fine)
    held = Held(answered())
    stage.provider.says("look", held)
    await stage.start(hung, limits=SLOW)
    await stage.provider.called("submit", times=2)
    asked = asyncio.create_task(stage.keeper.reconcile(hung))
    assert (await stage.keeper.reconcile(fine)).finding is Finding.READY
    assert not asked.done()
    found = await asked
    assert (found.finding, found.changed) == (Finding.UNSURE, False)
    held.released.set()
    await stage.settled_thread(hung)


async def test_the_signals_do_the_same_for_when_nobody_waits(stage: Stage) -> None:
    stage.provider.says("look", RUNNING, answered())
    thread = new_thread()
    await stage.start(thread, limits=SLOW)
    turn = stage.turn_of(thread)
    found: TurnFinding = await turn.execute_update("reconcile", Reconcile(), result_type=TurnFinding)
    assert (found.finding, found.before, found.state) == (Finding.LIVE, TurnState.RUNNING, TurnState.RUNNING)
    await stage.client.get_workflow_handle(thread_workflow_id(thread)).signal("request_reconcile", Reconcile())
    assert (await stage.settled_thread(thread)).recent[0].reason is Reason.FINISHED


async def test_a_turn_without_a_thread_can_be_asked_as_well(stage: Stage) -> None:
    stage.provider.says("look", RUNNING)
    turn = await stage.turn(limits=SLOW)
    await stage.provider.called("submit")
    await turn.signal("request_reconcile", Reconcile())
    await stage.provider.called("look")
    found: TurnFinding = await turn.execute_update("reconcile", Reconcile(), result_type=TurnFinding)
    assert found.finding is Finding.LIVE
    stage.provider.says("look", answered())
    found = await turn.execute_update("reconcile", Reconcile(), result_type=TurnFinding)
    assert found.outcome is not None
    assert found.finding is Finding.SETTLED
