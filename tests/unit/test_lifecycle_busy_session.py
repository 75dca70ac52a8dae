"""A session that works on something else: nothing is sent into it, and nobody waits for it for ever."""

from __future__ import annotations

from tests.unit.scripted_turn import seconds
from tests.unit.turn_story import NO_ANSWER, OPENED, STOP, Story, fresh
from turnkeeper.lifecycle import decide
from turnkeeper.limits import TurnLimits
from turnkeeper.observations import SessionBusy
from turnkeeper.turn import OpenSession, SessionReported, Settle, Submit, Wait
from turnkeeper.vocabulary import EventKind, Reason

BUSY = SessionReported(SessionBusy(session_id="ses_1"))
LIMITS = TurnLimits(session_busy_timeout=seconds(60))


def waits_for_session(story: Story) -> bool:
    decision = story.decision
    return isinstance(decision, Wait) and "session" in decision.reason


def test_a_prompt_waits_until_the_session_is_idle() -> None:
    story = fresh(LIMITS, resume=True).learns(BUSY)
    assert waits_for_session(story)
    story.after(story.waits)
    assert story.decision == OpenSession(resume=True)
    assert story.learns(OPENED).decision == Submit()


def test_the_idle_of_the_other_run_makes_it_ask_at_once_and_is_not_taken_for_its_own() -> None:
    story = fresh(LIMITS, resume=True).learns(BUSY).after(0.2).hears(EventKind.IDLE)
    assert story.decision == OpenSession(resume=True)
    story.learns(OPENED)
    assert story.turn.wake is None


def test_after_the_bound_it_says_so_and_nothing_was_sent() -> None:
    story = fresh(LIMITS, resume=True)
    asked = 0
    while not isinstance(decide(story.turn, story.now), Settle):
        story.learns(BUSY)
        asked += 1
        if isinstance(story.decision, Wait):
            story.after(story.waits)
    outcome = story.outcome
    assert (outcome.reason, story.turn.submits) == (Reason.SESSION_BUSY, 0)
    assert outcome.failure is not None
    assert outcome.failure.next_step
    assert (outcome.completed_at - outcome.started_at).total_seconds() == 60
    assert asked < 15, "it asks ever more rarely"


def test_unknown_is_not_busy_and_a_stop_needs_no_answer() -> None:
    story = fresh(LIMITS, resume=True).learns(BUSY).after(1).learns(SessionReported(NO_ANSWER))
    assert not waits_for_session(story)
    assert story.learns(STOP).outcome.confirmed
