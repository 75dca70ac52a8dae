"""When a lost turn is gone on with by itself: only if asked, in the same session, a bounded number of times."""

from __future__ import annotations

import pytest

from tests.unit.scripted_turn import T0
from tests.unit.test_threads import ADMITTED, outcome
from tests.unit.turn_story import NO_PROMPT, RUNNING, accepted, fresh
from turnkeeper import threads
from turnkeeper.continuation import CONTINUE_PROMPT, continued
from turnkeeper.lifecycle import begin
from turnkeeper.limits import TurnLimits
from turnkeeper.observations import SessionMissing
from turnkeeper.thread_messages import QueuedTurn, StartTurn, ThreadState
from turnkeeper.turn import SessionReported
from turnkeeper.vocabulary import OnLost, Reason, SessionStatus, TurnState


def begun(*, on_lost: OnLost = OnLost.CONTINUE, behind: int = 0) -> tuple[ThreadState, QueuedTurn]:
    """A thread whose first turn runs and may be continued once, with so many prompts behind it."""
    state = ThreadState()
    admitted = ADMITTED.model_copy(update={"limits": TurnLimits(max_continues=1)})
    for number in range(behind + 1):
        start = StartTurn(prompt="go", idempotency_key=f"k{number}", on_lost=on_lost)
        state = threads.accept(state, start, admitted, T0).state
    found = threads.begin_next(state, T0)
    assert found is not None
    return found


def after(state: ThreadState, turn: QueuedTurn, reason: Reason, session: str | None = "ses_1") -> ThreadState:
    over = threads.settled(state, outcome(reason), session)
    return continued(over, turn, outcome(reason), T0, stop_asked=False)


def test_a_lost_turn_is_followed_by_one_that_goes_on_with_it_before_all_that_wait() -> None:
    state, lost = begun(behind=2)
    state = after(state, lost, Reason.PROVIDER_LOST_TURN)
    assert [(queued.turn_id, queued.continues) for queued in state.queue] == [("t4", "t1"), ("t2", None), ("t3", None)]
    assert state.queue[0].start.prompt == CONTINUE_PROMPT
    assert (state.status, state.recent[-1].state) == (SessionStatus.STOPPED, TurnState.INTERRUPTED)
    next_turn = threads.begin_next(state, T0)
    assert next_turn is not None
    assert next_turn[0].active is not None
    assert next_turn[0].active.continues == "t1"


def test_it_ends_after_so_many_in_a_row() -> None:
    state, lost = begun()
    state = after(state, lost, Reason.PROVIDER_LOST_TURN)
    again = threads.begin_next(state, T0)
    assert again is not None
    state, follow_up = again
    assert after(state, follow_up, Reason.PROVIDER_LOST_TURN).queue == ()


@pytest.mark.parametrize("reason", sorted(set(Reason) - {Reason.PROVIDER_LOST_TURN}))
def test_no_other_end_is_gone_on_with(reason: Reason) -> None:
    assert after(*begun(), reason).queue == ()


def test_nor_a_turn_that_did_not_ask_for_it_nor_one_that_was_to_stop_nor_one_without_a_session() -> None:
    lost = Reason.PROVIDER_LOST_TURN
    assert after(*begun(on_lost=OnLost.SETTLE), lost).queue == ()
    assert after(*begun(), lost, session=None).queue == ()
    state, turn = begun()
    over = threads.settled(state, outcome(lost), "ses_1")
    assert continued(over, turn, outcome(lost), T0, stop_asked=True) == over


def test_a_follow_up_never_begins_in_another_session() -> None:
    """There, "your last run was cut off" would be a lie."""
    story = fresh()
    story.turn = begin(TurnLimits(), T0, resume=True, bound=True)
    gone = story.learns(SessionReported(SessionMissing())).outcome
    assert (gone.reason, gone.state) == (Reason.SESSION_GONE, TurnState.INTERRUPTED)


def test_a_follow_up_can_be_found_by_its_key() -> None:
    state, lost = begun()
    state = after(state, lost, Reason.PROVIDER_LOST_TURN)
    known = threads.accept(state, state.queue[0].start, None, T0)
    assert (known.turn_id, known.repeated) == ("t2", True)


def test_a_prompt_that_somebody_took_back_is_not_gone_on_with() -> None:
    state, turn = begun()
    story = accepted().after(5).looks(RUNNING).after(5).looks(NO_PROMPT).after(5).looks(NO_PROMPT)
    taken_back = story.outcome
    assert (taken_back.reason, taken_back.failure and taken_back.failure.code) == (
        Reason.PROVIDER_LOST_TURN,
        "prompt_removed",
    )
    over = threads.settled(state, taken_back, "ses_1")
    assert continued(over, turn, taken_back, T0, stop_asked=False) == over


def test_a_closed_thread_goes_on_with_nothing() -> None:
    state, turn = begun()
    lost = outcome(Reason.PROVIDER_LOST_TURN)
    over = threads.settled(state, lost, "ses_1").model_copy(update={"closed": True})
    assert continued(over, turn, lost, T0, stop_asked=False) == over
