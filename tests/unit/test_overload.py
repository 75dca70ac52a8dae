"""What a turn makes of "later": when it asks again, and when it gives up."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.scripted_turn import SILENT, T0
from turnkeeper import overload
from turnkeeper.lifecycle import begin, decide, learn
from turnkeeper.limits import TurnLimits
from turnkeeper.observations import Failure, NotSent, PerhapsSent, ProviderEvent, Unreachable
from turnkeeper.turn import (
    Delivery,
    EventsArrived,
    Look,
    LookAsked,
    LookStarted,
    Observed,
    Settle,
    StopAsked,
    StopCause,
    Submit,
    SubmitReported,
    SubmitStarted,
    Turn,
    Wait,
)
from turnkeeper.vocabulary import EventKind, Fault, Reason, Wake

LATER = Failure(code="provider_overloaded", fault=Fault.PROVIDER, message="Too many.", retryable=True, overloaded=True)


def in_seconds(seconds: float) -> Failure:
    return LATER.model_copy(update={"retry_after": seconds})


def refused(failure: Failure) -> Turn:
    """A turn whose submit was answered so."""
    turn = learn(begin(TurnLimits(), T0, resume=False, session_open=True), SubmitStarted(), T0)
    return learn(turn, SubmitReported(NotSent(failure=failure)), T0)


def looking(*failures: Failure) -> Turn:
    """A turn whose prompt was taken, and whose looks were answered so, a second apart."""
    turn = learn(begin(TurnLimits(), T0, resume=False, session_open=True), SubmitStarted(), T0)
    turn = learn(turn, SubmitReported(PerhapsSent(taken=True)), T0)
    for number, failure in enumerate(failures):
        now = T0 + timedelta(seconds=number)
        turn = learn(learn(turn, LookStarted(), now), Observed(Unreachable(failure=failure)), now)
    return turn


def test_a_submit_that_was_answered_later_is_sent_again_when_the_server_says() -> None:
    turn = refused(in_seconds(30))
    assert turn.delivery is Delivery.UNSENT
    wait = decide(turn, T0)
    assert isinstance(wait, Wait)
    assert timedelta(seconds=30) <= wait.until - T0 <= timedelta(seconds=45)
    assert wait.reason == "the provider to answer (Too many.)"
    assert decide(turn, wait.until) == Submit()


@given(
    asked=st.none() | st.floats(0, 1e9),
    times=st.integers(0, 1000),
    seed=st.text(),
)
def test_a_pause_is_never_shorter_than_asked_and_always_bounded(asked: float | None, times: int, seed: str) -> None:
    failure = LATER if asked is None else in_seconds(asked)
    pause = overload.pause_after(failure, times, seed)
    least = timedelta(seconds=min(asked or 0, overload.RETRY_AFTER_MAX.total_seconds()))
    assert least <= pause <= overload.RETRY_AFTER_MAX * 1.5
    assert pause >= overload.FIRST_PAUSE / 2
    assert pause == overload.pause_after(failure, times, seed), "a replay comes to the same"


def test_without_a_time_the_pauses_double_up_to_a_minute_and_differ_between_turns() -> None:
    pauses = [overload.pause_after(LATER, times, "turn").total_seconds() for times in range(10)]
    assert all(2 * 2**times <= pause <= 3 * 2**times for times, pause in enumerate(pauses[:5]))
    assert all(60 <= pause <= 90 for pause in pauses[5:])
    assert len({overload.pause_after(LATER, 3, str(turn)) for turn in range(100)}) == 100


def test_events_do_not_make_a_turn_look_while_the_server_asks_for_peace_and_a_person_does() -> None:
    turn = learn(looking(in_seconds(60)), EventsArrived((ProviderEvent(id="e", kind=EventKind.IDLE),)), T0)
    wait = decide(turn, T0)
    assert isinstance(wait, Wait)
    assert isinstance(decide(turn, wait.until), Look)
    assert decide(learn(looking(in_seconds(60)), LookAsked(), T0), T0) == Look(Wake.ASKED)


def given_up(turn: Turn) -> timedelta:
    at = overload.gives_up_at(turn)
    assert at is not None
    decided = decide(turn, at)
    assert isinstance(decided, Settle)
    assert decided.outcome.reason is Reason.PROVIDER_UNREACHABLE
    return at - T0


def test_a_server_that_is_there_is_given_up_later_than_a_silent_one() -> None:
    limit = TurnLimits().unreachable_timeout
    assert given_up(looking(SILENT)) == limit
    assert given_up(looking(LATER)) == overload.OVERLOAD_TIMEOUT
    assert given_up(looking(SILENT, LATER)) == overload.OVERLOAD_TIMEOUT
    assert given_up(looking(LATER, SILENT)) == limit
    assert given_up(looking(LATER, LATER, SILENT)) == limit + timedelta(seconds=1), "it was there a second ago"
    assert given_up(refused(LATER)) == overload.OVERLOAD_TIMEOUT


@pytest.mark.parametrize("last", [SILENT, LATER])
def test_however_it_alternates_it_ends(last: Failure) -> None:
    assert given_up(looking(*[LATER, SILENT] * 20, last)) <= overload.OVERLOAD_TIMEOUT


def test_a_stop_does_not_wait_for_the_time_that_the_server_asks_for() -> None:
    turn = learn(looking(in_seconds(600)), StopAsked(StopCause.ASKED), T0)
    turn = learn(learn(turn, LookStarted(), T0), Observed(Unreachable(failure=in_seconds(600))), T0)
    assert turn.look_due is not None
    assert turn.look_due - T0 <= TurnLimits().retry_interval_max
