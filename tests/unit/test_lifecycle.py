"""The rules of a turn, told as what happens to it and what a person then sees."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.scripted_turn import T0, seconds, seen
from tests.unit.turn_story import (
    ABORTED,
    ACCEPTED,
    NO_ANSWER,
    NO_PROMPT,
    NO_SESSION,
    NOT_SENT,
    OPENED,
    PERHAPS_SENT,
    RUNNING,
    STOP,
    TAKEN,
    UNSTARTED,
    WAITING,
    Story,
    accepted,
    fresh,
    running,
    submitting,
)
from turnkeeper.lifecycle import adopted, state_of
from turnkeeper.limits import MAX_SUBMITS, TurnLimits
from turnkeeper.observations import NotThere, Refused, SessionBusy, SessionMissing
from turnkeeper.turn import (
    Abort,
    Look,
    OpenSession,
    SessionReported,
    Settled,
    Submit,
    SubmitReported,
    SubmitStarted,
    Wait,
)
from turnkeeper.vocabulary import EventKind, EvidenceKind, Reason, Standing, TurnState, Wake

HALTED = seen(Standing.HALTED, "half an answer")
SUCCEEDED = seen(Standing.SUCCEEDED)


# --- a normal turn --------------------------------------------------------------------------------------------------


def test_it_opens_the_session_sends_the_prompt_waits_and_ends_finished() -> None:
    story = fresh()
    assert story.decision == OpenSession(resume=False)
    assert story.learns(OPENED).decision == Submit()
    assert story.learns(SubmitStarted(), ACCEPTED).waits == 10
    assert story.after(2).hears(EventKind.IDLE).decision == Look(Wake.EVENT)
    outcome = story.looks(SUCCEEDED).outcome
    assert (outcome.state, outcome.reason, outcome.confirmed) == (TurnState.COMPLETED, Reason.FINISHED, None)
    assert (outcome.evidence.kind, outcome.evidence.woken_by) == (EvidenceKind.SNAPSHOT, Wake.EVENT)
    assert outcome.completed_at == T0 + seconds(2)


def test_a_session_that_is_gone_is_made_anew_and_the_loss_is_remembered() -> None:
    story = fresh(resume=True)
    assert story.decision == OpenSession(resume=True)
    assert story.learns(SessionReported(SessionMissing())).decision == OpenSession(resume=False)
    assert story.turn.context_lost


def test_a_refused_session_or_prompt_ends_it_with_the_providers_words() -> None:
    refused = Refused(failure=NO_ANSWER.failure)
    for story in (fresh().learns(SessionReported(refused)), submitting().learns(SubmitReported(refused))):
        assert story.outcome.reason is Reason.PROMPT_REJECTED
        assert story.outcome.failure == NO_ANSWER.failure


@pytest.mark.parametrize(
    ("standing", "reason", "state"),
    [
        (Standing.SUCCEEDED, Reason.FINISHED, TurnState.COMPLETED),
        (Standing.TRUNCATED, Reason.TRUNCATED, TurnState.COMPLETED),
        (Standing.REFUSED, Reason.REFUSED, TurnState.INTERRUPTED),
        (Standing.ABSORBED, Reason.SUPERSEDED, TurnState.INTERRUPTED),
        (Standing.ABORTED, Reason.ABORTED_ELSEWHERE, TurnState.INTERRUPTED),
        (Standing.FAILED, Reason.PROVIDER_ERROR, TurnState.ERROR),
    ],
)
def test_a_conclusive_reading_ends_it_at_once(standing: Standing, reason: Reason, state: TurnState) -> None:
    outcome = running().looks(seen(standing)).outcome
    assert (outcome.reason, outcome.state) == (reason, state)


def test_a_person_sees_running_waiting_and_the_end() -> None:
    story = running()
    assert state_of(story.turn) is TurnState.RUNNING
    assert state_of(story.looks(WAITING).turn) is TurnState.WAITING
    story.looks(SUCCEEDED).learns(Settled(story.outcome))
    assert state_of(story.turn) is TurnState.COMPLETED


# --- the first second -----------------------------------------------------------------------------------------------


def test_an_accepted_prompt_that_does_not_run_yet_is_looked_at_again() -> None:
    story = accepted().hears(EventKind.IDLE).looks(UNSTARTED)
    assert story.waits == 2
    assert story.after(2).looks(UNSTARTED).is_open
    assert story.after(7.9).looks(UNSTARTED).is_open


def test_a_stored_prompt_that_never_runs_is_taken_out_and_sent_again_after_its_start_budget() -> None:
    story = accepted().looks(UNSTARTED).after(8).looks(UNSTARTED).after(2).looks(UNSTARTED)
    assert story.decision == Submit(anew=True)
    assert story.learns(SubmitStarted(), TAKEN).after(5).looks(RUNNING).is_open


def test_a_prompt_that_is_never_run_is_dropped_after_the_last_submit() -> None:
    story = fresh().learns(OPENED, SubmitStarted(), TAKEN)
    for _ in range(MAX_SUBMITS - 1):
        story.looks(UNSTARTED).after(10).looks(UNSTARTED)
        assert story.decision == Submit(anew=True)
        assert story.learns(SubmitStarted(), TAKEN).is_open
    outcome = story.looks(UNSTARTED).after(10).looks(UNSTARTED).outcome
    assert outcome.reason is Reason.PROMPT_DROPPED


def test_what_was_begun_before_prompts_were_sent_again_is_dropped_at_once() -> None:
    story = fresh(recovers=False).learns(OPENED, SubmitStarted(), ACCEPTED)
    story.looks(UNSTARTED).after(8).looks(UNSTARTED).after(2).looks(UNSTARTED)
    assert story.outcome.reason is Reason.PROMPT_DROPPED


def test_a_prompt_that_somebody_else_sent_is_not_sent_again() -> None:
    story = fresh()
    story.turn = adopted(story.turn, story.now)
    story.looks(UNSTARTED).after(10).looks(UNSTARTED)
    assert story.outcome.reason is Reason.PROMPT_DROPPED


@pytest.mark.parametrize("told", ["a refused connection", "a relay that was cut off", "an interrupted request"])
def test_what_the_provider_was_given_before_it_was_away_is_not_waited_for(told: str) -> None:
    def after_gap() -> Story:
        story = submitting().learns(TAKEN)
        match told:
            case "a refused connection":
                return story.looks(NO_ANSWER)
            case "a relay that was cut off":
                return story.hears(EventKind.ATTACHED, cut_off=True)
            case _:
                return story.hears(EventKind.IDLE, cut_off=True)

    assert after_gap().looks(UNSTARTED).after(2).looks(UNSTARTED).decision == Submit(anew=True)
    assert after_gap().looks(NO_PROMPT).after(2).looks(NO_PROMPT).decision == Submit()
    again = after_gap().looks(UNSTARTED).after(2).looks(UNSTARTED).after(0.1).learns(SubmitStarted(), TAKEN)
    assert isinstance(again.looks(UNSTARTED).after(9.9).looks(UNSTARTED).decision, Wait), "that was before this submit"


def test_a_gap_from_before_the_prompt_left_shortens_nothing() -> None:
    story = fresh().learns(OPENED).hears(EventKind.ATTACHED, cut_off=True).after(0.1)
    story.learns(SubmitStarted(), ACCEPTED).looks(UNSTARTED).after(2).looks(UNSTARTED)
    assert isinstance(story.decision, Wait)


@pytest.mark.parametrize("report", [ACCEPTED, SubmitReported(SessionBusy(session_id="ses_1"))])
def test_a_prompt_that_runs_after_all_is_only_looked_at(report: SubmitReported) -> None:
    story = accepted().looks(UNSTARTED).after(10).looks(UNSTARTED).learns(SubmitStarted(), report)
    assert story.decision == Look(Wake.TIMER)
    assert story.looks(RUNNING).is_open


def test_a_reading_from_before_the_prompt_was_taken_out_says_nothing_of_the_one_on_its_way() -> None:
    story = accepted().looks(UNSTARTED).after(10).looks(UNSTARTED).learns(SubmitStarted())
    story.looks(UNSTARTED).after(10).looks(UNSTARTED).learns(TAKEN)
    assert story.turn.submits == 2
    story.looks(NO_PROMPT).after(2).looks(NO_PROMPT)
    assert story.is_open, "it may yet appear: nobody took it out of the list but we"


def test_a_stop_while_a_dropped_prompt_waits_to_be_sent_again_aborts_and_sends_nothing() -> None:
    story = accepted().looks(UNSTARTED).after(10).looks(UNSTARTED).learns(STOP)
    assert story.decision == Abort()
    story.learns(ABORTED).looks(UNSTARTED).after(5).looks(UNSTARTED)
    assert story.outcome.confirmed


def test_a_prompt_that_fails_before_it_runs_says_what_the_provider_said() -> None:
    story = accepted().looks(UNSTARTED).hears(EventKind.SESSION_ERROR, detail="no such model")
    outcome = story.looks(UNSTARTED).after(2).looks(UNSTARTED).outcome
    assert outcome.reason is Reason.PROVIDER_ERROR
    assert outcome.failure is not None
    assert outcome.failure.message == "no such model"


def test_an_error_from_before_the_prompt_left_is_another_turns() -> None:
    story = fresh().learns(OPENED).hears(EventKind.SESSION_ERROR, detail="the last turn's")
    story.learns(SubmitStarted(), ACCEPTED).looks(UNSTARTED).after(2).looks(UNSTARTED)
    assert story.is_open


# --- a run that is lost ---------------------------------------------------------------------------------------------


def test_idle_before_the_last_word_is_not_lost() -> None:
    story = running().hears(EventKind.IDLE).looks(HALTED)
    assert story.waits == 2
    assert story.after(0.35).hears(EventKind.IDLE).looks(SUCCEEDED).outcome.reason is Reason.FINISHED


def test_two_readings_that_agree_make_it_lost() -> None:
    outcome = running().looks(HALTED).after(2).looks(HALTED).outcome
    assert (outcome.state, outcome.reason) == (TurnState.INTERRUPTED, Reason.PROVIDER_LOST_TURN)


def test_two_readings_too_near_each_other_do_not() -> None:
    assert running().looks(HALTED).after(1.9).looks(HALTED).is_open


def test_a_run_that_was_with_a_provider_that_was_away_is_lost_a_second_sooner() -> None:
    story = running().after(1).looks(NO_ANSWER).after(1).hears(EventKind.ATTACHED, cut_off=True).looks(HALTED)
    assert story.waits == 1
    assert story.after(1).looks(HALTED).outcome.reason is Reason.PROVIDER_LOST_TURN


def test_a_run_that_outlived_the_gap_is_lost_as_slowly_as_any() -> None:
    story = running().after(1).hears(EventKind.ATTACHED, cut_off=True).after(1).looks(RUNNING).looks(HALTED)
    assert story.waits == 2
    assert story.after(1).looks(HALTED).is_open


def test_a_turn_that_was_begun_before_gaps_decided_is_lost_as_slowly_as_ever() -> None:
    story = Story(replace(running().turn, gap_decides=False)).hears(EventKind.ATTACHED, cut_off=True).looks(HALTED)
    assert story.waits == 2


def test_a_changed_fingerprint_restarts_the_suspicion() -> None:
    story = running().looks(HALTED).after(2).looks(seen(Standing.HALTED, "more of it"))
    assert story.waits == 2
    assert not story.after(2).looks(seen(Standing.HALTED, "more of it")).is_open


def test_a_reading_at_work_ends_the_suspicion() -> None:
    story = running().looks(HALTED).after(2).looks(RUNNING).after(2).looks(HALTED)
    assert story.is_open


def test_a_deleted_session_is_gone() -> None:
    assert running().looks(NO_SESSION).outcome.reason is Reason.SESSION_GONE


# --- a provider that does not answer --------------------------------------------------------------------------------


def test_silence_ends_nothing_before_its_time_and_then_does() -> None:
    story = running().looks(NO_ANSWER)
    for pause in (1, 2, 3, 3):
        assert story.waits == pause
        story.after(pause).looks(NO_ANSWER)
    assert story.after(290.9).is_open
    outcome = story.after(0.1).outcome
    assert outcome.reason is Reason.PROVIDER_UNREACHABLE
    assert "may still be at work" in outcome.evidence.detail


def test_a_pause_ends_with_the_providers_last_chance() -> None:
    limits = TurnLimits(retry_interval=seconds(4), retry_interval_max=seconds(4), unreachable_timeout=seconds(5))
    story = running(limits).looks(NO_ANSWER).after(4).looks(NO_ANSWER)
    assert story.waits == 1


def test_it_says_so_when_the_prompt_was_never_sent() -> None:
    story = fresh().learns(SessionReported(NO_ANSWER)).after(300)
    assert "not sent" in story.outcome.evidence.detail


def test_one_answer_ends_the_silence() -> None:
    story = running().looks(NO_ANSWER).after(299).looks(RUNNING).after(5).looks(NO_ANSWER)
    assert story.after(299).is_open


def test_silence_says_nothing_against_a_run() -> None:
    story = running().looks(HALTED).after(2).looks(NO_ANSWER)
    assert story.is_open


# --- sending again --------------------------------------------------------------------------------------------------


def test_a_prompt_that_was_not_sent_is_sent_again_after_a_pause() -> None:
    story = submitting().learns(NOT_SENT)
    assert story.waits == 1
    assert story.after(1).decision == Submit()


def test_a_prompt_that_was_taken_is_looked_for_when_an_event_says_so_or_after_a_while() -> None:
    story = submitting().learns(TAKEN)
    assert story.waits == 5
    assert story.after(1).hears(EventKind.IDLE).decision == Look(Wake.EVENT)


def test_a_turn_that_looks_often_looks_for_its_taken_prompt_as_often() -> None:
    assert submitting(TurnLimits(look_interval=seconds(1))).learns(TAKEN).waits == 1


def test_a_taken_prompt_that_never_appears_is_sent_again_only_after_the_whole_budget() -> None:
    story = submitting().learns(TAKEN).after(5).looks(NO_PROMPT).after(24).looks(NO_PROMPT)
    assert isinstance(story.decision, Wait)
    assert isinstance(story.after(3).looks(NO_PROMPT).decision, Submit)


def test_a_prompt_that_was_perhaps_sent_is_looked_for_until_its_budget_is_over() -> None:
    story = submitting().learns(PERHAPS_SENT)
    assert story.decision == Look(Wake.SUBMIT)
    story.looks(NO_PROMPT)
    while story.now < T0 + seconds(29.5):
        assert story.waits == 0.5
        story.after(0.5).looks(NO_PROMPT)
    assert story.after(0.5).looks(NO_PROMPT).decision == Submit()


def test_a_prompt_is_never_sent_again_while_the_session_is_busy() -> None:
    story = submitting().learns(PERHAPS_SENT).after(31).looks(NotThere(what="prompt", busy=True))
    assert isinstance(story.decision, Wait)


def test_a_prompt_that_was_once_seen_is_never_sent_again() -> None:
    story = accepted().after(31).looks(NO_PROMPT).after(2).looks(NO_PROMPT)
    assert story.outcome.reason is Reason.PROVIDER_LOST_TURN


def test_after_the_last_submit_the_prompt_counts_as_rejected() -> None:
    story = fresh().learns(OPENED)
    for _ in range(MAX_SUBMITS):
        assert story.decision == Submit()
        story.learns(SubmitStarted(), PERHAPS_SENT).looks(NO_PROMPT).after(28).looks(NO_PROMPT).after(2).looks(
            NO_PROMPT
        )
    assert story.outcome.reason is Reason.PROMPT_REJECTED
