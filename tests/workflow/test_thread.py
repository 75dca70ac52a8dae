"""A thread: one turn at a time in the order given, and what it remembers of how each ended."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.e2e.waiting import until
from tests.workflow.scripted_provider import (
    AWAY,
    NO_SESSION,
    RUNNING,
    Answer,
    Held,
    Verb,
    answered,
    opened,
    stands,
)
from tests.workflow.stage import Stage, new_thread, result_of
from turnkeeper.errors import RefusedError
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import InterruptResult
from turnkeeper.observations import Admission, NotSent, Refused, SessionBusy, SessionMissing
from turnkeeper.thread_messages import StartTurn
from turnkeeper.vocabulary import OnBusy, Reason, SessionStatus, Standing, TurnState
from workflows.thread import ThreadWorkflow


async def test_prompts_given_while_busy_run_in_their_order_one_at_a_time(skipping_stage: Stage) -> None:
    first = Held(answered())
    skipping_stage.provider.says("look", first, answered())
    thread = new_thread()
    positions = [(await skipping_stage.start(thread, prompt)).result for prompt in ("one", "two", "three")]
    assert [(given.turn_id, given.position, given.state) for given in positions if given] == [
        ("t1", 0, TurnState.RUNNING),
        ("t2", 1, TurnState.QUEUED),
        ("t3", 2, TurnState.QUEUED),
    ]
    busy = await skipping_stage.keeper.thread(thread)
    assert [turn.prompt_start for turn in busy.queued] == ["two", "three"]
    first.released.set()
    settled = await skipping_stage.settled_thread(thread, turns=3)
    assert [request.prompt for request in skipping_stage.provider.requests("submit")] == ["one", "two", "three"]
    assert [turn.turn_id for turn in settled.recent] == ["t1", "t2", "t3"]
    of_turns = [verb for verb in skipping_stage.provider.order() if verb != "admit"]
    assert of_turns == ["submit", "look", *["open_session", "submit", "look"] * 2], "never two at a time"
    assert len({turn.run_id for turn in settled.recent}) == 3, "each turn is a run of its own"


async def test_all_turns_of_a_thread_share_its_provider_session(skipping_stage: Stage) -> None:
    thread = new_thread()
    await skipping_stage.start(thread, "one")
    await skipping_stage.start(thread, "two")
    settled = await skipping_stage.settled_thread(thread, turns=2)
    created, known = (request.session for request in skipping_stage.provider.requests("admit"))
    (resumed,) = skipping_stage.provider.requests("open_session")
    assert created is not None
    assert known is None, "only the first start has its session opened at the door"
    assert resumed.session_id == settled.session_id is not None


async def test_a_session_that_could_not_be_opened_at_the_door_is_opened_by_the_turn(skipping_stage: Stage) -> None:
    """The door's attempt may have created one all the same: the turn looks for it by the same key."""
    thread = new_thread()
    skipping_stage.provider.opens_at_door = False
    await skipping_stage.start(thread)
    settled = await skipping_stage.settled_thread(thread)
    (tried,) = (request.session for request in skipping_stage.provider.requests("admit"))
    (opened_later,) = skipping_stage.provider.requests("open_session")
    assert opened_later.perhaps_created
    assert opened_later.creation_key == tried.creation_key
    assert settled.session_id is not None


async def test_the_session_that_a_lost_first_task_created_is_looked_for(
    skipping_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each worker that dies there would leave a session behind that no thread knows."""
    admit = ThreadWorkflow._admit  # noqa: SLF001 - a fault put inside
    lost: list[str] = []

    async def admit_and_die(self: ThreadWorkflow, start: StartTurn) -> Admission:
        admission = await admit(self, start)
        if not lost:
            lost.append("once")
            raise RuntimeError("the worker died here")  # not a failure type of the workflow: the task is repeated
        return admission

    monkeypatch.setattr(ThreadWorkflow, "_admit", admit_and_die)
    thread = new_thread()
    await skipping_stage.start(thread)
    await skipping_stage.settled_thread(thread)
    created, again = (request.session for request in skipping_stage.provider.requests("admit"))
    assert (created.perhaps_created, again.perhaps_created) == (False, True)
    assert created.creation_key == again.creation_key


async def test_a_session_that_vanished_between_turns_is_replaced_once_and_then_kept(skipping_stage: Stage) -> None:
    thread = new_thread()
    await skipping_stage.start(thread)
    before = await skipping_stage.settled_thread(thread)
    skipping_stage.provider.says("open_session", SessionMissing(), opened)
    started = await skipping_stage.start(thread)
    result = await skipping_stage.keeper.wait(started)
    after = await skipping_stage.settled_thread(thread, turns=2)
    assert result.context_lost
    assert after.session_id == result.session_id != before.session_id


async def test_a_busy_thread_rejects_a_prompt_that_would_rather_not_wait(skipping_stage: Stage) -> None:
    look = Held(answered())
    skipping_stage.provider.says("look", look)
    thread = new_thread()
    await skipping_stage.start(thread)
    before = await skipping_stage.keeper.thread(thread)
    with pytest.raises(RefusedError, match="busy") as refused:
        await skipping_stage.start(thread, on_busy=OnBusy.REJECT)
    assert refused.value.detail_code == "thread_busy"
    assert await skipping_stage.keeper.thread(thread) == before
    look.released.set()
    await skipping_stage.settled_thread(thread)
    assert (await skipping_stage.start(thread, on_busy=OnBusy.REJECT)).result is not None


ENDS: list[tuple[Verb, tuple[Answer, ...], TurnState, Reason, SessionStatus]] = [
    ("look", (answered(),), TurnState.COMPLETED, Reason.FINISHED, SessionStatus.READY),
    ("look", (stands(Standing.TRUNCATED),), TurnState.COMPLETED, Reason.TRUNCATED, SessionStatus.READY),
    ("look", (stands(Standing.REFUSED),), TurnState.INTERRUPTED, Reason.REFUSED, SessionStatus.READY),
    ("look", (stands(Standing.ABORTED),), TurnState.INTERRUPTED, Reason.ABORTED_ELSEWHERE, SessionStatus.READY),
    ("look", (stands(Standing.ABSORBED),), TurnState.INTERRUPTED, Reason.SUPERSEDED, SessionStatus.READY),
    ("look", (stands(Standing.HALTED),), TurnState.INTERRUPTED, Reason.PROVIDER_LOST_TURN, SessionStatus.STOPPED),
    ("look", (NO_SESSION,), TurnState.INTERRUPTED, Reason.SESSION_GONE, SessionStatus.STOPPED),
    (
        "look",
        (stands(Standing.FAILED).model_copy(update={"failure": AWAY}),),
        TurnState.ERROR,
        Reason.PROVIDER_ERROR,
        SessionStatus.ERROR,
    ),
    ("look", (stands(Standing.UNSTARTED),), TurnState.ERROR, Reason.PROMPT_DROPPED, SessionStatus.ERROR),
    ("submit", (Refused(failure=AWAY),), TurnState.ERROR, Reason.PROMPT_REJECTED, SessionStatus.ERROR),
    ("submit", (NotSent(failure=AWAY),), TurnState.ERROR, Reason.PROVIDER_UNREACHABLE, SessionStatus.ERROR),
    ("look", (RUNNING,), TurnState.ERROR, Reason.STALLED, SessionStatus.ERROR),
]


@pytest.mark.parametrize(("verb", "answers", "state", "reason", "status"), ENDS, ids=[str(end[3]) for end in ENDS])
async def test_how_each_end_shows_in_the_thread(
    skipping_stage: Stage,
    verb: Verb,
    answers: tuple[Answer, ...],
    state: TurnState,
    reason: Reason,
    status: SessionStatus,
) -> None:
    """And whatever the end, the next prompt is welcome and wipes the error."""
    thread = new_thread()
    skipping_stage.provider.says(verb, *answers)
    limits = TurnLimits(retry_interval_max=timedelta(minutes=1))  # fewer steps until unreachable
    await skipping_stage.start(thread, limits=limits)
    after = await skipping_stage.settled_thread(thread)
    assert (after.recent[0].state, after.recent[0].reason, after.status) == (state, reason, status)
    assert (after.last_error is not None) is (status in {SessionStatus.ERROR, SessionStatus.STOPPED})
    assert after.last_error == after.recent[0].error
    skipping_stage.provider.forget(verb)
    await skipping_stage.start(thread)
    healed = await skipping_stage.settled_thread(thread, turns=2)
    assert (healed.status, healed.last_error) == (SessionStatus.READY, None)


# What operators do to workflows.


async def test_a_turn_that_an_operator_terminates_is_our_error_and_the_next_one_runs(skipping_stage: Stage) -> None:
    skipping_stage.provider.says("look", Held(), answered())
    thread = new_thread()
    await skipping_stage.start(thread, "one")
    await skipping_stage.start(thread, "two")
    await skipping_stage.provider.called("look")
    await skipping_stage.turn_of(thread).terminate("an operator")
    settled = await skipping_stage.settled_thread(thread, turns=2)
    assert [(turn.state, turn.reason) for turn in settled.recent] == [
        (TurnState.ERROR, Reason.TURNKEEPER_ERROR),
        (TurnState.COMPLETED, Reason.FINISHED),
    ]
    assert settled.recent[0].error


async def test_terminating_a_thread_stops_its_turn_at_the_provider(stage: Stage) -> None:
    stage.provider.says("look", stands(Standing.ABORTED))
    thread = new_thread()
    await stage.start(thread)
    await stage.provider.called("submit")
    turn = stage.turn_of(thread)
    await stage.thread_of(thread).terminate("an operator")
    result = await result_of(turn)
    assert (result.outcome.reason, result.outcome.confirmed) == (Reason.STOPPED, True)
    assert stage.provider.count("abort") == 1


async def test_a_thread_born_again_waits_for_the_turn_of_the_terminated_one(stage: Stage) -> None:
    abort = Held()
    stage.provider.says("abort", abort).says("look", stands(Standing.ABORTED))
    thread = new_thread()
    await stage.start(thread)
    await stage.provider.called("submit")
    await stage.thread_of(thread).terminate("an operator")
    await stage.provider.called("abort")
    await stage.request(thread, stage.prompt("again"))
    reborn = await until(lambda: stage.keeper.thread(thread), lambda now: now.active is not None)
    assert reborn.status is SessionStatus.STARTING
    abort.released.set()
    await stage.provider.called("submit", times=2)
    assert [request.prompt for request in stage.provider.requests("submit")][1] == "again"
    stopped: InterruptResult = await stage.keeper.interrupt(thread)
    assert stopped.confirmed


async def test_cancelling_a_thread_stops_its_turn_and_ends_it_for_good(stage: Stage) -> None:
    stage.provider.says("look", stands(Standing.ABORTED))
    thread = new_thread()
    await stage.start(thread, "one")
    await stage.start(thread, "two")
    await stage.provider.called("submit")
    await stage.thread_of(thread).cancel()
    result = await result_of(stage.turn_of(thread))
    assert (result.outcome.reason, result.outcome.confirmed) == (Reason.STOPPED, True)
    description = await until(stage.thread_of(thread).describe, lambda now: now.close_time is not None)
    assert description.status is not None
    assert description.status.name == "CANCELED"
    assert [request.prompt for request in stage.provider.requests("submit")] == ["one"]


async def test_a_prompt_is_not_sent_into_a_session_that_works_on_something_else(skipping_stage: Stage) -> None:
    thread = new_thread()
    await skipping_stage.start(thread, "one")
    await skipping_stage.settled_thread(thread)
    busy = SessionBusy(session_id="ses_1")
    skipping_stage.provider.says("open_session", busy, busy, opened)
    await skipping_stage.start(thread, "two")
    settled = await skipping_stage.settled_thread(thread, turns=2)
    assert settled.recent[-1].reason is Reason.FINISHED
    assert skipping_stage.provider.order().count("open_session") == 3
    skipping_stage.provider.says("open_session", busy)
    await skipping_stage.start(thread, "three")
    settled = await skipping_stage.settled_thread(thread, turns=3)
    assert (settled.recent[-1].reason, settled.status) == (Reason.SESSION_BUSY, SessionStatus.ERROR)
    assert [request.prompt for request in skipping_stage.provider.requests("submit")] == ["one", "two"]
    skipping_stage.provider.forget("open_session")
    await skipping_stage.start(thread, "four")
    assert (await skipping_stage.settled_thread(thread, turns=4)).status is SessionStatus.READY
