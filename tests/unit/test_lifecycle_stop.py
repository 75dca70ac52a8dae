"""A stop is a bounded machine: abort, look, abort again, and say whether the provider agreed."""

from __future__ import annotations

import pytest

from tests.unit.scripted_turn import T0, seen
from tests.unit.turn_story import (
    ABORTED,
    NO_ANSWER,
    NO_PROMPT,
    NO_SESSION,
    NOT_SENT,
    OPENED,
    PERHAPS_SENT,
    RUNNING,
    STOP,
    UNSTARTED,
    Story,
    accepted,
    fresh,
    running,
    submitting,
)
from turnkeeper.lifecycle import begin
from turnkeeper.limits import TurnLimits
from turnkeeper.outcomes import stop_words
from turnkeeper.turn import Abort, IllegalTransitionError, Look, StopAsked, StopCause, SubmitStarted
from turnkeeper.vocabulary import EvidenceKind, Reason, Standing, TurnState, Wake

HALTED = seen(Standing.HALTED, "half an answer")
SUCCEEDED = seen(Standing.SUCCEEDED)


def stopping() -> Story:
    """At work, and the first abort was sent."""
    return running().learns(STOP, ABORTED)


def test_a_stop_before_anything_was_sent_is_confirmed_at_once() -> None:
    outcome = fresh().learns(OPENED, STOP).outcome
    assert (outcome.reason, outcome.confirmed) == (Reason.STOPPED, True)
    assert outcome.evidence.kind is EvidenceKind.COMMAND


def tried_before() -> Story:
    """Begun by a worker that died: nobody knows whether it sent the prompt."""
    return Story(begin(TurnLimits(), T0, resume=False, session_open=True, tried_before=True))


def test_a_stop_aborts_what_a_lost_try_may_have_sent() -> None:
    story = tried_before().learns(STOP)
    assert story.decision == Abort()
    outcome = story.learns(ABORTED).looks(RUNNING).after(1).learns(ABORTED).looks(seen(Standing.ABORTED)).outcome
    assert (outcome.reason, outcome.confirmed, outcome.evidence.kind) == (Reason.STOPPED, True, EvidenceKind.SNAPSHOT)


def test_a_stop_after_a_lost_try_is_confirmed_when_nothing_appears_for_long_enough() -> None:
    story = tried_before().learns(STOP, ABORTED).looks(NO_PROMPT).after(4.9).learns(ABORTED).looks(NO_PROMPT)
    assert story.is_open
    assert story.after(0.2).learns(ABORTED).looks(NO_PROMPT).outcome.confirmed


@pytest.mark.parametrize("stopped_first", [True, False])
def test_what_this_try_did_not_send_the_lost_one_may_have(stopped_first: bool) -> None:  # noqa: FBT001 - a parameter
    story = tried_before().learns(SubmitStarted())
    story = story.learns(STOP, NOT_SENT) if stopped_first else story.learns(NOT_SENT, STOP)
    assert story.decision == Abort()


def test_what_was_said_of_a_stop_is_kept_with_the_outcome() -> None:
    story = running().learns(StopAsked(StopCause.ASKED, "wrong branch"))
    assert story.turn.stop is not None
    assert stop_words(story.turn.stop) == "a stop was asked for: wrong branch"
    assert story.learns(ABORTED).looks(seen(Standing.ABORTED)).outcome.why == "wrong branch"


def test_a_clock_that_ends_a_turn_is_not_said_to_have_been_asked() -> None:
    story = running().learns(StopAsked(StopCause.DEADLINE, "5 s after its start"))
    assert story.turn.stop is not None
    assert stop_words(story.turn.stop) == "the deadline has passed: 5 s after its start"
    assert story.learns(ABORTED).looks(seen(Standing.ABORTED)).outcome.why == ""


def test_a_stop_while_submitting_aborts_and_never_sends() -> None:
    story = submitting().learns(STOP)
    assert story.decision == Abort()
    assert story.learns(ABORTED, NOT_SENT).outcome.confirmed
    with pytest.raises(IllegalTransitionError):
        story.learns(SubmitStarted())


def test_a_stop_in_the_first_second_aborts_until_something_is_proven() -> None:
    story = accepted().learns(STOP)
    for _ in range(3):
        assert story.decision == Abort()
        assert story.learns(ABORTED).decision == Look(Wake.STOP)
        story.looks(UNSTARTED).after(1)
    story.learns(ABORTED).looks(RUNNING).after(1)
    assert story.decision == Abort()
    outcome = story.learns(ABORTED).looks(seen(Standing.ABORTED)).outcome
    assert (outcome.reason, outcome.confirmed) == (Reason.STOPPED, True)


def test_a_prompt_that_stays_unstarted_after_a_stop_is_confirmed_when_it_was_quiet_for_long_enough() -> None:
    story = accepted().learns(STOP, ABORTED).looks(UNSTARTED).after(4.9).looks(UNSTARTED)
    assert story.is_open
    assert story.after(0.1).looks(UNSTARTED).outcome.confirmed


def test_a_prompt_that_never_appears_after_a_stop_is_confirmed_when_it_was_quiet_for_long_enough() -> None:
    story = submitting().learns(PERHAPS_SENT, STOP, ABORTED).looks(NO_PROMPT).after(4.9).looks(NO_PROMPT)
    assert story.is_open
    assert story.after(0.1).looks(NO_PROMPT).outcome.confirmed


def test_a_stop_in_the_middle_is_confirmed_by_the_aborted_message() -> None:
    story = running().learns(STOP)
    assert story.decision == Abort()
    assert story.learns(ABORTED).looks(HALTED).waits == 0.4
    outcome = story.after(0.4).looks(seen(Standing.ABORTED)).outcome
    assert (outcome.state, outcome.reason, outcome.confirmed) == (TurnState.INTERRUPTED, Reason.STOPPED, True)


def test_a_stop_in_a_retry_wait_is_confirmed_by_two_readings() -> None:
    """The provider then stores neither an end nor an error."""
    story = stopping().looks(HALTED).after(0.4).looks(HALTED)
    assert story.is_open
    assert story.after(1.6).looks(HALTED).outcome.confirmed


def test_a_halted_run_is_not_aborted_again() -> None:
    story = stopping().looks(HALTED).after(1.5)
    assert story.decision == Look(Wake.STOP)


def test_a_stop_of_a_deleted_session_has_succeeded() -> None:
    outcome = stopping().looks(NO_SESSION).outcome
    assert (outcome.reason, outcome.confirmed) == (Reason.STOPPED, True)


def test_a_stop_that_nobody_answers_is_unconfirmed_when_its_grace_is_over() -> None:
    story = stopping().looks(NO_ANSWER).after(11.9)
    assert story.is_open
    outcome = story.after(0.1).outcome
    assert (outcome.reason, outcome.confirmed) == (Reason.STOPPED, False)
    assert outcome.evidence.kind is EvidenceKind.TIMER
    assert outcome.failure is not None
    assert outcome.failure.message == (
        "The provider did not confirm the stop (no answer): the agent may still be at work."
    )


def test_a_turn_that_finished_just_before_the_abort_keeps_its_outcome() -> None:
    outcome = stopping().looks(SUCCEEDED).outcome
    assert (outcome.reason, outcome.confirmed) == (Reason.FINISHED, None)


def test_a_second_stop_joins_the_first() -> None:
    story = stopping()
    assert story.after(3).learns(StopAsked(StopCause.DEADLINE)).turn.stop == stopping().turn.stop
