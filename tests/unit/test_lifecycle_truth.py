"""Turns against a provider with a real run inside: what Turnkeeper says is compared with what is true.

The world here keeps to what was measured of OpenCode (a prompt is readable after 1.25 s at worst and runs after another
1.25 s, an abort before that is lost, a run is idle 0.35 s before its last word) and is as unkind as it likes within
that: calls that take seconds, answers that are lost, a provider that goes away, any events at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.paper_providers import Truth, Truthful
from tests.unit.scripted_turn import T0, Play, event, seconds
from turnkeeper.lifecycle import begin
from turnkeeper.limits import MAX_SUBMITS, TurnLimits
from turnkeeper.turn import Fact, StopAsked, StopCause
from turnkeeper.vocabulary import EventKind, EvidenceKind, Reason, Standing

TRUE = settings(deadline=None, derandomize=True, max_examples=200)

LIMITS: Final = TurnLimits()
REASONS: Final = {
    Standing.SUCCEEDED: Reason.FINISHED,
    Standing.TRUNCATED: Reason.TRUNCATED,
    Standing.REFUSED: Reason.REFUSED,
    Standing.ABSORBED: Reason.SUPERSEDED,
    Standing.FAILED: Reason.PROVIDER_ERROR,
    Standing.ABORTED: Reason.ABORTED_ELSEWHERE,
    Standing.HALTED: Reason.PROVIDER_LOST_TURN,
}
"""How a turn must end, by how its run really did."""


def tenths(least: float, most: float) -> st.SearchStrategy[float]:
    return st.integers(round(least * 20), round(most * 20)).map(lambda value: value / 20)


@st.composite
def outages(draw: st.DrawFn) -> tuple[tuple[float, float], ...]:
    """When it is away: from and until, in seconds after the start."""
    spans = draw(st.lists(st.tuples(tenths(0, 400), tenths(0.5, 60)), max_size=2))
    return tuple((start, start + length) for start, length in spans)


def truths(*, runs_for: st.SearchStrategy[float]) -> st.SearchStrategy[Truth]:
    return st.builds(
        Truth,
        reaches_after=tenths(0, 4),
        stored_after=tenths(0, 1.25),
        started_after=tenths(0, 1.25),
        runs_for=runs_for,
        verdict=st.sampled_from(sorted(REASONS)),
        progress_every=tenths(5, 200),
        waits=st.none() | st.tuples(tenths(0, 50), tenths(50, 400)),
        answers=st.booleans(),
        away=outages(),
    )


invented = st.builds(event, st.sampled_from(EventKind), child=st.booleans(), detail=st.just("it broke"))
harmless = st.builds(event, st.sampled_from([kind for kind in EventKind if kind is not EventKind.SESSION_ERROR]))
events = st.lists(st.tuples(tenths(0, 700).map(seconds) | tenths(0, 10).map(seconds), invented), max_size=10)
call_times = st.lists(st.sampled_from([0.0, 0.05, 0.3, 1.0, 4.0]).map(seconds), min_size=1, max_size=4)


def quarters(least: float, most: float) -> st.SearchStrategy[float]:
    return st.integers(round(least * 4), round(most * 4)).map(lambda value: value / 4)


first_seconds = st.builds(
    Truth,
    reaches_after=quarters(0, 4),
    stored_after=quarters(0, 1.25),
    started_after=quarters(0, 1.25),
    runs_for=st.just(30.0),
    answers=st.booleans(),
    away=st.just(())
    | quarters(0.25, 4).map(lambda end: ((0.0, end),))
    | quarters(0.25, 4).map(lambda end: ((0.5, end + 1),)),
)
"""A coarse grid of what happens while the prompt is on its way, so that few examples cover it."""

ages = st.lists(tenths(0, 1).map(seconds) | tenths(0, 60).map(seconds), min_size=1, max_size=4)
"""How old what the relay read is when the turn is told."""

Inputs = Sequence[tuple[timedelta, Fact]]
short_or_long = tenths(0.5, 5) | tenths(5, 600)


def play(
    truth: Truth,
    inputs: Inputs = (),
    calls: Sequence[timedelta] = (seconds(0),),
    read_before: Sequence[timedelta] = (),
) -> tuple[Play, Truthful]:
    """A turn of a resumed session on a provider with `truth` inside."""
    provider = Truthful(truth)
    until_stored = truth.reaches_after + (truth.stored_after if truth.answers else 0)
    turn = begin(LIMITS, T0, resume=True, recovers=True, gap_decides=True)
    submit_time = seconds(until_stored)
    return Play(turn, provider, inputs, call_times=calls, submit_time=submit_time, ages=read_before), provider


def idle_at_its_end(truth: Truth, late: float) -> tuple[timedelta, Fact]:
    """The event that says so, if nothing goes wrong before; so many seconds late."""
    end = truth.reaches_after + truth.stored_after + truth.started_after + truth.runs_for
    return seconds(end + late), event(EventKind.IDLE)


def slack(truth: Truth, calls: Sequence[timedelta]) -> timedelta:
    """How much later than its end a run may be known to be over."""
    away = sum(end - start + LIMITS.retry_interval_max.total_seconds() for start, end in truth.away)
    return LIMITS.look_interval_max + 2 * LIMITS.confirm_delay + seconds(away) + 4 * max(calls)


@TRUE
@given(truths(runs_for=short_or_long), events, call_times, ages, tenths(0, 10))
def test_the_outcome_is_what_really_happened_whatever_the_events_say(
    truth: Truth, inputs: Inputs, calls: Sequence[timedelta], read_before: Sequence[timedelta], late: float
) -> None:
    played, provider = play(truth, [*inputs, idle_at_its_end(truth, late)], calls, read_before)
    outcome = played.run()
    assert outcome.reason is REASONS[truth.verdict]
    assert outcome.evidence.kind is EvidenceKind.SNAPSHOT
    over_at = provider.over_at
    assert over_at is not None
    assert over_at <= outcome.completed_at <= over_at + slack(truth, calls)
    assert provider.posts == 1


@TRUE
@given(
    first_seconds, quarters(0, 9.75), st.lists(st.tuples(quarters(0, 8).map(seconds), harmless), max_size=4), call_times
)
def test_a_slow_start_is_waited_for(
    truth: Truth, started_after: float, inputs: Inputs, calls: Sequence[timedelta]
) -> None:
    """Under load: far slower than was ever measured, but within `start_budget`.

    Where the provider was away that is not waited for: the prompt is taken out before it runs, and sent again.
    """
    played, provider = play(replace(truth, started_after=started_after), inputs, calls)
    assert played.run().reason is Reason.FINISHED
    assert provider.posts == 1 or truth.away


@TRUE
@given(truths(runs_for=tenths(1, 60)), st.integers(1, MAX_SUBMITS - 1), call_times)
def test_posts_that_vanish_are_sent_again_and_run_once(truth: Truth, lost: int, calls: Sequence[timedelta]) -> None:
    played, provider = play(replace(truth, lost_posts=lost, answers=False), (), calls)
    assert played.run().reason is REASONS[truth.verdict]
    assert provider.posts == lost + 1


@TRUE
@given(truths(runs_for=tenths(1, 60)), st.integers(1, MAX_SUBMITS), call_times)
def test_posts_that_are_stored_and_never_run_are_sent_again_and_run_once(
    truth: Truth, dropped: int, calls: Sequence[timedelta]
) -> None:
    played, provider = play(replace(truth, dropped_posts=dropped), (), calls)
    reason = played.run().reason
    assert reason is (REASONS[truth.verdict] if dropped < MAX_SUBMITS else Reason.PROMPT_DROPPED)
    assert provider.posts == min(dropped + 1, MAX_SUBMITS)


def confirmed_stop_is_true(
    truth: Truth, inputs: Inputs, calls: Sequence[timedelta], stop_at: float, read_before: Sequence[timedelta] = ()
) -> None:
    played, provider = play(truth, [*inputs, (seconds(stop_at), StopAsked(StopCause.ASKED))], calls, read_before)
    outcome = played.run()
    if outcome.confirmed is not False:
        assert not provider.ever_runs_after(outcome.completed_at)
    if outcome.confirmed is None:
        assert outcome.reason is REASONS[truth.verdict]
    assert provider.posts <= 1


@TRUE
@given(truths(runs_for=short_or_long), events, call_times, tenths(0, 700), ages)
def test_a_confirmed_stop_is_true(
    truth: Truth, inputs: Inputs, calls: Sequence[timedelta], stop_at: float, read_before: Sequence[timedelta]
) -> None:
    """`confirmed` means that nothing runs and nothing will: the one word that a person relies on."""
    confirmed_stop_is_true(truth, inputs, calls, stop_at, read_before)


@TRUE
@given(first_seconds, call_times, quarters(0, 5))
def test_a_confirmed_stop_in_the_first_seconds_is_true(
    truth: Truth, calls: Sequence[timedelta], stop_at: float
) -> None:
    """While the prompt is on its way, when aborts are lost and looks see nothing yet."""
    confirmed_stop_is_true(truth, (), calls, stop_at)


@TRUE
@given(truths(runs_for=short_or_long), tenths(0, 12) | tenths(0, 700))
def test_a_stop_is_confirmed_by_a_provider_that_answers(truth: Truth, stop_at: float) -> None:
    """Without a single event, and also when the first aborts are lost."""
    played, provider = play(replace(truth, away=()), [(seconds(stop_at), StopAsked(StopCause.ASKED))])
    outcome = played.run()
    assert outcome.confirmed is not False
    assert not provider.ever_runs_after(outcome.completed_at)
