"""Every `running` has a clock, and events only make it look."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.unit.scripted_turn import SILENT, T0, seconds, seen
from tests.unit.turn_story import (
    ABORTED,
    ACCEPTED,
    NO_ANSWER,
    OPENED,
    RUNNING,
    STOP,
    UNSTARTED,
    WAITING,
    Story,
    accepted,
    fresh,
    running,
    submitting,
)
from turnkeeper.gaps import may_be_starting
from turnkeeper.lifecycle import decide, learn
from turnkeeper.limits import TurnLimits
from turnkeeper.observations import Observation, Unreachable
from turnkeeper.readings import LOOKS_WITHOUT_EVENTS
from turnkeeper.turn import (
    Abort,
    Fact,
    GiveUp,
    IllegalTransitionError,
    Look,
    LookStarted,
    Observed,
    OpenSession,
    SessionReported,
    Settled,
    StopAsked,
    StopCause,
    SubmitStarted,
)
from turnkeeper.vocabulary import EventKind, Reason, Standing, TurnState, Wake

A_TOOL = seen(Standing.RUNNING, tools=1)
TOO_SLOW = Unreachable(failure=SILENT.model_copy(update={"code": "provider_timeout"}))


def looked_at(story: Story, reading: Observation, span: float) -> Story:
    """`span` seconds in which every look says the same."""
    end = story.now + seconds(span)
    while story.now < end and not isinstance(story.decision, GiveUp):
        if isinstance(story.decision, Look):
            story.looks(reading)
        else:
            story.after(min(story.waits, (end - story.now).total_seconds()))
    return story


# --- how often it looks ---------------------------------------------------------------------------------------------


def test_looks_that_find_nothing_new_grow_rare_up_to_a_limit() -> None:
    story = running()
    for pause in (10, 20, 40, 80, 160):
        assert story.waits == pause
        story.after(pause)
        assert story.decision == Look(Wake.TIMER)
        story.looks(RUNNING)


def test_a_look_that_finds_progress_makes_them_frequent_again() -> None:
    story = running().after(10).looks(RUNNING).after(20).looks(RUNNING)
    assert story.looks(seen(Standing.RUNNING, "a new step")).waits == 10


def test_looks_grow_rare_whatever_they_find_where_events_tell_of_what_matters() -> None:
    story = Story(replace(running().turn, looks_grow=True))
    pauses = []
    for step in range(8):
        story.looks(seen(Standing.RUNNING, f"step {step}"))
        pauses.append(story.waits)
        story.after(story.waits)
    assert pauses == [10, 20, 40, 80, 160, 180, 180, 180]


def test_an_answered_question_makes_them_frequent_again() -> None:
    story = running().looks(WAITING).after(20).looks(WAITING).after(40).looks(WAITING)
    assert story.looks(RUNNING).waits == 10


# --- a provider that is busy and does nothing -----------------------------------------------------------------------


def test_a_silent_run_is_looked_at_once_more_before_it_counts_as_stalled() -> None:
    story = looked_at(running(), RUNNING, 359.9).after(0.1)
    assert story.decision == Look(Wake.TIMER)
    decision = story.looks(RUNNING).decision
    assert isinstance(decision, GiveUp)
    assert decision.cause is StopCause.STALLED
    outcome = story.learns(StopAsked(decision.cause, decision.why), ABORTED).looks(seen(Standing.ABORTED)).outcome
    assert (outcome.state, outcome.reason, outcome.confirmed) == (TurnState.ERROR, Reason.STALLED, True)


def test_a_last_look_that_finds_progress_keeps_it_alive() -> None:
    story = looked_at(running(), RUNNING, 359.9).after(0.1).looks(seen(Standing.RUNNING, "a new step"))
    assert looked_at(story, seen(Standing.RUNNING, "a new step"), 359.9).is_open


def test_tokens_keep_it_alive_without_a_look() -> None:
    story = running().after(300).hears(EventKind.PROGRESS)
    assert looked_at(story, RUNNING, 359.9).is_open


def test_a_silent_tool_has_its_own_longer_clock() -> None:
    assert looked_at(running().looks(A_TOOL), A_TOOL, 3599).is_open
    assert isinstance(looked_at(running().looks(A_TOOL), A_TOOL, 3661).decision, GiveUp)


def test_a_person_who_thinks_is_no_stall() -> None:
    story = looked_at(running().looks(WAITING), WAITING, 7 * 3600)
    assert story.is_open
    assert looked_at(story.looks(RUNNING), RUNNING, 359.9).is_open


def test_a_person_who_thinks_for_ever_meets_the_deadline() -> None:
    decision = looked_at(running().looks(WAITING), WAITING, 9 * 3600).decision
    assert isinstance(decision, GiveUp)
    assert decision.cause is StopCause.DEADLINE


def test_the_providers_own_retry_time_is_no_stall() -> None:
    retry = seen(Standing.RUNNING, retry_at=T0 + seconds(1000))
    assert looked_at(running().looks(retry), retry, 1350).is_open
    assert isinstance(looked_at(running().looks(retry), retry, 1420).decision, GiveUp)


def test_silence_of_the_whole_provider_is_no_stall() -> None:
    story = looked_at(running(), RUNNING, 355).looks(NO_ANSWER).after(10)
    assert story.decision == Look(Wake.TIMER)


# --- the hard deadline ----------------------------------------------------------------------------------------------


def test_the_deadline_ends_what_still_makes_progress() -> None:
    story = running(TurnLimits(deadline=seconds(60)))
    for step in range(5):
        story.after(10).looks(seen(Standing.RUNNING, f"step {step}"))
    assert story.waits == 5
    decision = story.after(5).decision
    assert isinstance(decision, GiveUp)
    story.learns(StopAsked(decision.cause, decision.why))
    assert story.decision == Abort()
    outcome = story.after(12).outcome
    assert (outcome.state, outcome.reason, outcome.confirmed) == (TurnState.ERROR, Reason.DEADLINE_EXCEEDED, False)
    assert outcome.failure is not None


# --- events ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EventKind)
def test_no_event_ends_a_turn(kind: EventKind) -> None:
    assert running().hears(kind).is_open
    assert accepted().looks(UNSTARTED).hears(kind).is_open


@pytest.mark.parametrize(
    "kind",
    [
        EventKind.IDLE,
        EventKind.RETRYING,
        EventKind.SESSION_ERROR,
        EventKind.REQUEST_OPENED,
        EventKind.REQUEST_CLOSED,
        EventKind.SESSION_DELETED,
    ],
)
def test_what_may_be_an_end_or_a_question_makes_it_look(kind: EventKind) -> None:
    assert running().hears(kind).decision == Look(Wake.EVENT)


@pytest.mark.parametrize("kind", [EventKind.PROGRESS, EventKind.BUSY])
def test_work_that_goes_on_does_not(kind: EventKind) -> None:
    assert running().hears(kind).waits == 10


@pytest.mark.parametrize("kind", [EventKind.IDLE, EventKind.SESSION_ERROR, EventKind.SESSION_DELETED])
def test_the_end_of_a_child_is_not_the_turns(kind: EventKind) -> None:
    story = running().hears(kind, child=True, detail="the child failed")
    assert story.waits == 10
    assert story.turn.session_error is None


def test_the_question_of_a_child_is_the_turns() -> None:
    assert running().hears(EventKind.REQUEST_OPENED, child=True).decision == Look(Wake.EVENT)


def test_a_relay_that_attaches_makes_it_look() -> None:
    assert running().hears(EventKind.ATTACHED).decision == Look(Wake.ATTACH)


def long_at_work(*, recovers: bool = True) -> Story:
    """Looked at so often that the pauses have grown."""
    story = Story(replace(running().turn, looks_grow=True, recovers=recovers))
    for step in range(5):
        story.after(story.waits).looks(seen(Standing.RUNNING, f"step {step}"))
    assert story.waits > 100
    return story


def test_while_no_events_come_looks_do_not_become_rarer() -> None:
    story = long_at_work()
    assert story.hears(EventKind.DETACHED).waits == 10
    for step in range(LOOKS_WITHOUT_EVENTS):
        assert story.after(10).looks(seen(Standing.RUNNING, f"still {step}")).waits == 10
    assert story.after(10).looks(RUNNING).waits == 20, "not for ever: a history has an end"
    story.hears(EventKind.ATTACHED).looks(A_TOOL)
    assert story.waits > 100


@pytest.mark.parametrize(
    "story",
    [
        running(),
        running().hears(EventKind.DETACHED).hears(EventKind.ATTACHED),
        running().hears(EventKind.DETACHED).looks(TOO_SLOW),
        running().looks(NO_ANSWER).looks(RUNNING),
    ],
)
def test_a_provider_that_answers_or_is_slow_is_not_asked_whether_it_is_up(story: Story) -> None:
    assert not may_be_starting(story.turn)


@pytest.mark.parametrize("story", [running().hears(EventKind.DETACHED), running().looks(NO_ANSWER)])
def test_a_provider_that_is_away_is_asked_whether_it_is_up(story: Story) -> None:
    assert may_be_starting(story.turn)


def test_a_turn_that_was_begun_before_relays_told_of_gaps_does_not_mind_them() -> None:
    assert long_at_work(recovers=False).hears(EventKind.DETACHED).waits > 100


def test_a_relay_that_attaches_while_a_look_fails_causes_another_at_once() -> None:
    story = running().learns(LookStarted()).hears(EventKind.ATTACHED).learns(Observed(NO_ANSWER))
    assert story.decision == Look(Wake.ATTACH)
    assert story.looks(NO_ANSWER).waits > 0


def test_a_relay_that_attaches_makes_a_turn_try_again_what_was_not_answered() -> None:
    story = fresh().learns(SessionReported(NO_ANSWER)).hears(EventKind.ATTACHED)
    assert story.decision == OpenSession(resume=False, again=True)


def test_an_event_during_a_look_causes_another() -> None:
    story = running().learns(LookStarted()).hears(EventKind.IDLE).learns(Observed(RUNNING))
    assert story.decision == Look(Wake.EVENT)


def test_an_event_before_a_look_causes_only_that_one() -> None:
    assert running().hears(EventKind.IDLE).hears(EventKind.IDLE).looks(RUNNING).waits > 0


# --- the end, and what cannot be ------------------------------------------------------------------------------------


def test_a_settled_turn_absorbs_everything_and_asks_for_nothing() -> None:
    story = running().looks(seen(Standing.SUCCEEDED))
    turn = story.learns(Settled(story.outcome)).turn
    assert story.learns(LookStarted(), Observed(NO_ANSWER), ACCEPTED, SubmitStarted()).turn is turn
    assert story.learns(STOP).turn == replace(turn, stop_wanted=True), "all but that a person wants it stopped"
    with pytest.raises(IllegalTransitionError):
        decide(turn, story.now + timedelta(days=1))


@pytest.mark.parametrize(
    ("story", "fact"),
    [
        (fresh(), SubmitStarted()),
        (submitting(), SubmitStarted()),
        (fresh().learns(OPENED, STOP), SubmitStarted()),
        (fresh().learns(OPENED), ACCEPTED),
        (fresh().learns(OPENED), Observed(RUNNING)),
        (running(), ABORTED),
        (running(), Settled(running().looks(seen(Standing.SUCCEEDED)).outcome.model_copy(update={"state": "running"}))),
    ],
    ids=[
        "sent without a session",
        "sent twice",
        "sent after a stop",
        "reported but never sent",
        "seen but never sent",
        "aborted unasked",
        "settled as running",
    ],
)
def test_a_fact_that_cannot_be_true_is_a_fault_of_ours(story: Story, fact: Fact) -> None:
    with pytest.raises(IllegalTransitionError):
        learn(story.turn, fact, story.now)


def test_a_tool_is_progress_and_worth_a_look() -> None:
    story = accepted().after(5).looks(RUNNING).after(4).hears(EventKind.TOOL)
    assert story.decision == Look(Wake.EVENT)
    assert story.turn.progress_at == story.now
