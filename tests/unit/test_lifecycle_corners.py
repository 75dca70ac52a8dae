"""Rare orders of things, each found by a property test or by reading, each told in its shortest form."""

from __future__ import annotations

import pytest

from tests.unit.paper_providers import Arbitrary
from tests.unit.scripted_turn import SILENT, T0, Play, seconds, seen
from tests.unit.turn_story import ABORTED, ACCEPTED, NO_PROMPT, NO_SESSION, STOP, accepted, fresh, submitting
from turnkeeper.lifecycle import begin
from turnkeeper.limits import TurnLimits
from turnkeeper.observations import (
    Accepted,
    NotSent,
    NotThere,
    Observation,
    PerhapsSent,
    Refused,
    SessionMissing,
    SessionOpened,
)
from turnkeeper.turn import (
    GiveUp,
    IllegalTransitionError,
    Look,
    LookStarted,
    Observed,
    SessionReported,
    Submit,
    SubmitReported,
    SubmitStarted,
)
from turnkeeper.vocabulary import EventKind, Reason, Standing, Wake


def test_a_look_for_a_stop_may_return_after_the_submit_was_reported_not_sent() -> None:
    story = submitting().learns(STOP, ABORTED, LookStarted())
    story.learns(SubmitReported(NotSent(failure=SILENT))).learns(Observed(NO_PROMPT))
    assert story.outcome.confirmed


def test_an_answer_to_the_submit_does_not_put_off_the_next_abort() -> None:
    story = submitting().learns(STOP, ABORTED).looks(NO_PROMPT).after(0.3).learns(ACCEPTED)
    assert story.waits == pytest.approx(0.1)


def test_two_readings_agree_only_if_they_were_made_apart() -> None:
    """The second one was asked for 0.1 s after the first and took 2 s: it is no later witness."""
    story = accepted().after(5).looks(seen(Standing.HALTED)).hears(EventKind.IDLE)
    story.after(0.1).learns(LookStarted()).after(2).learns(Observed(seen(Standing.HALTED)))
    assert story.is_open


def test_one_reading_without_the_prompt_does_not_send_it_again() -> None:
    """The provider was away for the whole budget; its first word says nothing about what it does next."""
    story = submitting().learns(SubmitReported(PerhapsSent())).after(31).looks(NO_PROMPT)
    assert not isinstance(story.decision, Submit)


def test_one_reading_without_the_prompt_does_not_confirm_a_stop() -> None:
    story = submitting().learns(STOP, ABORTED, SubmitReported(PerhapsSent())).after(6).looks(NO_PROMPT)
    assert story.is_open


def test_a_stop_counts_from_the_end_of_a_submit() -> None:
    """The prompt may have left at the very end of it, 0.1 s ago."""
    story = submitting().learns(STOP, ABORTED).after(2).looks(NO_PROMPT).after(5).looks(NO_PROMPT)
    story.learns(SubmitReported(PerhapsSent())).after(0.1).looks(NO_PROMPT)
    assert story.is_open


@pytest.mark.parametrize(
    "reading",
    [
        seen(Standing.RUNNING),
        seen(Standing.RUNNING, tools=1),
        seen(Standing.WAITING),
        NotThere(what="prompt", busy=True),
    ],
    ids=["running", "a tool", "a person", "somebody else's work"],
)
def test_a_day_without_news_costs_a_look_a_minute(reading: Observation) -> None:
    """A look is about ten history events, and Temporal ends a workflow at 51,200."""
    limits = TurnLimits(stall_timeout=seconds(80_000), tool_stall_timeout=seconds(80_000))
    provider = Arbitrary([SessionOpened(session_id="ses_1")], [Accepted()], [reading])
    play = Play(begin(limits, T0, resume=False), provider)
    play.run()
    assert play.now - T0 >= limits.deadline
    assert play.times(Look) <= limits.deadline / limits.look_interval_max + 60


def test_a_late_error_of_an_earlier_turn_does_not_fail_a_slow_start() -> None:
    """Heard after our prompt left, though it was said before: events wake, snapshots decide."""
    story = accepted().hears(EventKind.SESSION_ERROR, detail="the earlier turn failed", at=T0 - seconds(1))
    story.looks(seen(Standing.UNSTARTED)).after(2).looks(seen(Standing.UNSTARTED))
    assert story.is_open


def test_a_late_error_of_an_earlier_turn_does_not_reject_a_prompt_on_its_way() -> None:
    story = submitting().hears(EventKind.SESSION_ERROR, detail="the earlier turn failed", at=T0 - seconds(1))
    story.learns(SubmitReported(PerhapsSent())).looks(NO_PROMPT).after(2).looks(NO_PROMPT)
    assert story.is_open


def test_a_fresh_session_cannot_be_missing() -> None:
    """Taken at its word, it would be created again at once, and again."""
    with pytest.raises(IllegalTransitionError):
        fresh(resume=False).learns(SessionReported(SessionMissing()))


def test_a_prompt_that_was_perhaps_sent_at_the_last_moment_is_looked_for() -> None:
    story = submitting().learns(SubmitReported(NotSent(failure=SILENT)))
    story.after(299).learns(SubmitStarted()).after(2).learns(SubmitReported(PerhapsSent()))
    assert isinstance(story.decision, Look)


def test_a_verdict_is_not_overruled() -> None:
    story = submitting().learns(STOP, ABORTED, LookStarted())
    story.learns(SubmitReported(Refused(failure=SILENT))).learns(Observed(NO_SESSION))
    assert story.outcome.reason is Reason.PROMPT_REJECTED


def test_what_made_it_look_is_told_right() -> None:
    story = accepted().after(5).looks(seen(Standing.RUNNING)).learns(STOP, ABORTED).looks(seen(Standing.RUNNING))
    story.after(0.4)
    assert story.decision == Look(Wake.STOP)
    assert story.looks(seen(Standing.ABORTED)).outcome.evidence.woken_by is Wake.STOP


def test_progress_while_the_provider_is_silent_does_not_end_the_turn() -> None:
    story = accepted().after(5).looks(seen(Standing.RUNNING)).after(300).hears(EventKind.PROGRESS)
    assert not isinstance(story.decision, GiveUp)


def test_readings_from_before_the_prompt_was_stored_do_not_say_that_it_was_removed() -> None:
    """An event woke looks while the submit was under way; the last of them ends just after it."""
    story = submitting().hears(EventKind.IDLE).looks(NO_PROMPT).after(2.5).learns(LookStarted())
    story.after(0.1).learns(ACCEPTED).after(0.5).learns(Observed(NO_PROMPT))
    assert story.is_open


def test_a_second_submit_that_was_not_sent_does_not_undo_what_a_look_saw_of_the_first() -> None:
    story = submitting().learns(SubmitReported(PerhapsSent())).after(28).looks(NO_PROMPT).after(2).looks(NO_PROMPT)
    assert story.decision == Submit()
    story.learns(SubmitStarted()).hears(EventKind.IDLE).looks(seen(Standing.RUNNING))
    assert story.learns(SubmitReported(NotSent(failure=SILENT))).waits == 10


def test_a_slow_look_does_not_use_up_the_start_budget() -> None:
    """It was begun 8 s after the prompt was accepted, and the run began while it was under way."""
    story = accepted().looks(seen(Standing.UNSTARTED)).after(8).learns(LookStarted())
    assert story.after(3).learns(Observed(seen(Standing.UNSTARTED))).is_open
