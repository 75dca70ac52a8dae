"""The rules of a thread: one turn at a time, in order, each prompt once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.scripted_turn import T0, seconds
from turnkeeper import queueing, threads
from turnkeeper.errors import RefusedError
from turnkeeper.limits import MAX_PROMPT_CHARACTERS, MAX_QUEUED_TURNS, MAX_RECENT_TURNS, TurnLimits
from turnkeeper.messages import Evidence, Outcome, TurnRecord
from turnkeeper.observations import Admission, Failure
from turnkeeper.outcomes import SETTLEMENTS
from turnkeeper.thread_messages import StartTurn, ThreadState
from turnkeeper.turn import IllegalTransitionError
from turnkeeper.vocabulary import EvidenceKind, Fault, OnBusy, Reason, SessionStatus, TurnState


def start(key: str, prompt: str = "go", on_busy: OnBusy = OnBusy.QUEUE) -> StartTurn:
    return StartTurn(prompt=prompt, idempotency_key=key, on_busy=on_busy)


ADMITTED = Admission(task_queue="q", directory="/work", limits=TurnLimits())


def accept(state: ThreadState, *keys: str) -> ThreadState:
    for key in keys:
        state = threads.accept(state, start(key), ADMITTED, T0).state
    return state


def begin(state: ThreadState) -> ThreadState:
    begun = threads.begin_next(state, T0)
    assert begun is not None
    return begun[0]


def outcome(reason: Reason = Reason.FINISHED) -> Outcome:
    over = T0 + seconds(5)
    turn_state, session = SETTLEMENTS[reason]
    failed = session in {SessionStatus.ERROR, SessionStatus.STOPPED}
    return Outcome(
        state=turn_state,
        reason=reason,
        evidence=Evidence(kind=EvidenceKind.SNAPSHOT, at=over, detail="seen"),
        started_at=T0,
        completed_at=over,
        failure=Failure(code="x", fault=Fault.PROVIDER, message="it\nbroke") if failed else None,
    )


STORY_STEPS = ("accept", "repeat", "begin", "started", "settled", "failed", "unconfirmed")
UNCONFIRMED = outcome(Reason.STOPPED).model_copy(
    update={
        "confirmed": False,
        "failure": Failure(code="stop_unconfirmed", fault=Fault.PROVIDER, message="it may still run"),
    }
)
IDLE = ThreadState()
RUNNING = threads.started(begin(accept(IDLE, "one")), "run-1")


def test_a_turn_goes_from_the_queue_through_starting_and_running_to_ready() -> None:
    accepted = threads.accept(IDLE, start("one"), ADMITTED, T0)
    assert (accepted.turn_id, accepted.repeated, accepted.state.status) == ("t1", False, SessionStatus.IDLE)
    begun = begin(accepted.state)
    assert (begun.status, begun.queue) == (SessionStatus.STARTING, ())
    running = threads.started(begun, "run-1")
    assert running.status is SessionStatus.RUNNING
    over = threads.settled(running, outcome(), "ses_1")
    assert (over.status, over.active, over.session_id) == (SessionStatus.READY, None, "ses_1")
    assert over.recent[-1].completed_at == T0 + seconds(5)


def test_one_turn_runs_and_the_others_wait_in_order() -> None:
    state = accept(RUNNING, "two", "three")
    assert threads.begin_next(state, T0) is None
    state = begin(threads.settled(state, outcome(), "ses_1"))
    assert state.active is not None
    assert (state.active.turn_id, [queued.turn_id for queued in state.queue]) == ("t2", ["t3"])


def test_a_turn_has_its_place_unless_it_is_just_being_begun() -> None:
    accepted = accept(IDLE, "one")
    assert not threads.placed(accepted, "t1"), "it is next"
    assert not threads.placed(begin(accepted), "t1"), "its run is not known yet"
    assert threads.placed(RUNNING, "t1")
    assert threads.placed(accept(RUNNING, "two"), "t2"), "it waits for another"
    assert threads.placed(threads.settled(RUNNING, outcome(), "ses_1"), "t1"), "it is over"
    assert threads.placed(IDLE, "t9"), "nobody knows it any more"
    for waits in ({"held": True}, {"closed": True}):
        assert threads.placed(accepted.model_copy(update=waits), "t1"), waits


def test_a_turn_that_begins_clears_the_error_of_the_one_before() -> None:
    failed = RUNNING.model_copy(update={"last_error": "what went wrong before"})
    state = threads.settled(failed, outcome(), "ses_1").model_copy(update={"last_error": "what went wrong"})
    assert begin(accept(state, "two")).last_error is None


def test_the_same_key_gives_the_same_turn_and_nothing_more() -> None:
    again = threads.accept(RUNNING, start("one", on_busy=OnBusy.REJECT), None, T0)
    assert (again.turn_id, again.repeated, again.state) == ("t1", True, RUNNING)
    over = threads.settled(RUNNING, outcome(), "ses_1")
    assert threads.accept(over, start("one"), ADMITTED, T0).repeated


def test_a_known_key_with_another_prompt_is_refused_before_and_after_the_turn() -> None:
    over = threads.settled(RUNNING, outcome(), "ses_1")
    for state in (RUNNING, over):
        with pytest.raises(RefusedError, match=r"with another prompt \(turn t1\)") as refused:
            threads.accept(state, start("one", "something else"), ADMITTED, T0)
        assert refused.value.detail_code == "key_reused"


def test_keys_that_an_earlier_version_remembered_are_still_known() -> None:
    carried = ThreadState.model_validate_json('{"turns_accepted": 1, "idempotency": [["one", "t1"]]}')
    assert threads.accept(carried, start("one", "whatever it was"), None, T0).turn_id == "t1"
    remembered = accept(carried, "two").model_dump_json()
    assert threads.accept(ThreadState.model_validate_json(remembered), start("two"), None, T0).turn_id == "t2"


def test_a_busy_thread_says_so_to_who_will_not_wait() -> None:
    error = threads.refusal(RUNNING, start("two", on_busy=OnBusy.REJECT))
    assert error is not None
    assert error.failure().code == "thread_busy"
    assert threads.refusal(IDLE, start("two", on_busy=OnBusy.REJECT)) is None


def test_a_full_queue_refuses_and_changes_nothing() -> None:
    state = accept(RUNNING, *(f"key {number}" for number in range(MAX_QUEUED_TURNS)))
    with pytest.raises(RefusedError, match=str(MAX_QUEUED_TURNS)):
        accept(state, "one too many")


def test_waiting_prompts_are_bounded_together_but_one_that_need_not_wait_is_not() -> None:
    huge = start("huge", "x" * MAX_PROMPT_CHARACTERS)
    assert threads.refusal(IDLE, huge) is None
    assert threads.refusal(RUNNING, huge) is None
    queued = threads.accept(RUNNING, huge, ADMITTED, T0).state
    error = threads.refusal(queued, start("small"))
    assert error is not None
    assert error.failure().code == "queue_full"


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_leaves_turn_and_session_as_the_table_says(reason: Reason) -> None:
    over = threads.settled(RUNNING, outcome(reason), "ses_1")
    assert (over.recent[-1].state, over.status) == SETTLEMENTS[reason]
    failed = over.status in {SessionStatus.ERROR, SessionStatus.STOPPED}
    assert over.last_error == ("it broke" if failed else None)


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.STOPPED])
@pytest.mark.parametrize("confirmed", [None, True, False])
def test_only_a_stop_is_left_otherwise_for_want_of_a_confirmation(reason: Reason, confirmed: bool | None) -> None:  # noqa: FBT001 - a parameter of the case
    over = threads.settled(RUNNING, outcome(reason).model_copy(update={"confirmed": confirmed}), "ses_1")
    assert over.status is SETTLEMENTS[reason][1]


def test_a_stop_that_was_not_confirmed_leaves_a_stopped_session_that_says_so_and_is_resumed() -> None:
    over = threads.settled(RUNNING, UNCONFIRMED, "ses_1")
    assert (over.status, over.session_id, over.last_error) == (SessionStatus.STOPPED, "ses_1", "it may still run")
    assert (over.recent[-1].state, over.recent[-1].error) == (TurnState.INTERRUPTED, "it may still run")
    again = begin(accept(over, "two"))
    assert (again.status, again.session_id, again.last_error) == (SessionStatus.STARTING, "ses_1", None)


def test_why_a_turn_was_stopped_is_remembered_and_told() -> None:
    stopped = outcome(Reason.STOPPED).model_copy(update={"why": "wrong branch"})
    turn = threads.settled(RUNNING, stopped, "ses_1").recent[-1]
    assert "because: wrong branch" in threads.notes(turn)


def test_an_error_is_forgotten_when_a_turn_succeeds() -> None:
    failed = threads.settled(RUNNING, outcome(Reason.STALLED), "ses_1")
    mended = threads.settled(begin(accept(failed, "two")), outcome(), "ses_1")
    assert mended.last_error is None


def test_only_the_latest_turns_are_remembered() -> None:
    state = IDLE
    for number in range(MAX_RECENT_TURNS + 3):
        state = threads.settled(begin(accept(state, f"key {number}")), outcome(), "ses_1")
    assert [turn.turn_id for turn in state.recent] == [f"t{number}" for number in range(4, MAX_RECENT_TURNS + 4)]
    assert threads.describe(state, "t1") is None


def test_a_start_is_told_how_many_turns_come_first() -> None:
    state = accept(RUNNING, "two")
    accepted = threads.accept(state, start("three"), ADMITTED, T0)
    result = threads.start_result(accepted.state, "thread", accepted)
    assert (result.turn_id, result.position, result.state, result.run_id) == ("t3", 2, TurnState.QUEUED, None)
    again = threads.accept(accepted.state, start("one"), ADMITTED, T0)
    running = threads.start_result(again.state, "thread", again)
    assert (running.position, running.state, running.run_id) == (0, TurnState.RUNNING, "run-1")


def test_a_forgotten_turn_is_not_said_to_have_succeeded() -> None:
    state = threads.settled(RUNNING, outcome(Reason.PROVIDER_ERROR), "ses_1")
    for number in range(MAX_RECENT_TURNS):
        state = threads.settled(begin(accept(state, f"key {number}")), outcome(), "ses_1")
    again = threads.accept(state, start("one"), ADMITTED, T0)
    assert threads.start_result(again.state, "thread", again).state is not TurnState.COMPLETED


def test_the_admitted_limits_are_the_turns() -> None:
    limits = TurnLimits(deadline=seconds(60))
    admission = ADMITTED.model_copy(update={"limits": limits, "session_id": "ses_1"})
    queued = threads.accept(IDLE, start("one"), admission, T0).state.queue[0]
    assert (queued.limits, queued.new_session_id) == (limits, "ses_1")


@pytest.mark.parametrize(
    "broken",
    [
        ThreadState(status=SessionStatus.RUNNING),
        RUNNING.model_copy(update={"status": SessionStatus.READY}),
        ThreadState(
            recent=(TurnRecord(turn_id="t1", idempotency_key="k", state=TurnState.COMPLETED, prompt_start="go"),)
        ),
    ],
    ids=["running without a turn", "a turn without running", "settled without time and reason"],
)
def test_a_state_that_breaks_the_invariants_is_a_fault_of_ours(broken: ThreadState) -> None:
    with pytest.raises(IllegalTransitionError):
        threads.check(broken)


def test_nothing_starts_or_settles_that_was_not_begun() -> None:
    with pytest.raises(IllegalTransitionError):
        threads.started(IDLE, "run-1")
    with pytest.raises(IllegalTransitionError):
        threads.settled(IDLE, outcome(), "ses_1")


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    st.lists(st.sampled_from(["accept", "repeat", "begin", "started", "settled", "failed", "unconfirmed"]), max_size=60)
)
def test_whatever_happens_each_prompt_runs_once_in_order(story: list[str]) -> None:
    state, accepted, run = IDLE, 0, []
    for step in story:
        match step:
            case "accept" if len(state.queue) < MAX_QUEUED_TURNS:
                accepted += 1
                state = accept(state, f"key {accepted}")
            case "repeat" if accepted:
                assert accept(state, f"key {accepted}") == state
            case "begin":
                begun = threads.begin_next(state, T0)
                assert (begun is None) == (state.active is not None or not state.queue)
                if begun is not None:
                    state, queued = begun
                    run.append(queued.turn_id)
            case "started" if state.active is not None:
                state = threads.started(state, "run")
            case "settled" | "failed" if state.active is not None:
                state = threads.settled(state, outcome(Reason.FINISHED if step == "settled" else Reason.STALLED), "s")
            case "unconfirmed" if state.active is not None:
                state = threads.settled(state, UNCONFIRMED, "s")
                assert (state.status, state.last_error) == (SessionStatus.STOPPED, "it may still run")
                state = threads.check(queueing.resumed(state))
            case _:
                pass
        threads.check(state)
    waiting = [queued.turn_id for queued in state.queue]
    assert run + waiting == [f"t{number}" for number in range(1, accepted + 1)]
