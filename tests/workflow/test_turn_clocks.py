"""Every `running` has a clock: what ends a turn that nobody stops and that never ends by itself, in virtual hours."""

from __future__ import annotations

from datetime import timedelta

from tests.workflow.scripted_provider import ABORTED, AWAY, RUNNING, SILENT, ScriptedProvider, answered, asks, stands
from tests.workflow.stage import Stage, elapsed, events_of, outcome_of, result_of
from turnkeeper.limits import TurnLimits
from turnkeeper.observations import NotSent, Seen, Unreachable
from turnkeeper.vocabulary import EvidenceKind, Reason, Standing, TurnState

HOUR = timedelta(hours=1)
PATIENT = TurnLimits(look_interval=HOUR / 12, look_interval_max=HOUR, retry_interval_max=HOUR / 60)
"""Fewer looks in a virtual hour: each costs the machine 45 ms."""


def until_aborted(provider: ScriptedProvider, before: Seen) -> None:
    """The provider stays as it is until it is told to abort."""
    provider.says("look", lambda _: ABORTED if provider.count("abort") else before)


async def test_a_provider_without_progress_is_stopped_as_stalled(skipping_stage: Stage) -> None:
    until_aborted(skipping_stage.provider, RUNNING)
    outcome = await outcome_of(await skipping_stage.turn())
    assert (outcome.state, outcome.reason, outcome.confirmed) == (TurnState.ERROR, Reason.STALLED, True)
    assert 360 <= elapsed(outcome) < 450
    assert skipping_stage.provider.count("abort") == 1
    assert outcome.failure is not None
    assert outcome.failure.next_step


async def test_an_open_tool_may_be_silent_for_an_hour(skipping_stage: Stage) -> None:
    until_aborted(skipping_stage.provider, stands(Standing.RUNNING, "building", tools=1))
    outcome = await outcome_of(await skipping_stage.turn(limits=PATIENT))
    assert outcome.reason is Reason.STALLED
    assert HOUR.total_seconds() <= elapsed(outcome) < 2 * HOUR.total_seconds()


async def test_nothing_extends_the_deadline_not_even_a_person_who_does_not_answer(skipping_stage: Stage) -> None:
    until_aborted(skipping_stage.provider, asks())
    outcome = await outcome_of(await skipping_stage.turn(limits=PATIENT))
    assert (outcome.state, outcome.reason) == (TurnState.ERROR, Reason.DEADLINE_EXCEEDED)
    assert outcome.confirmed
    assert 0 <= elapsed(outcome) - PATIENT.deadline.total_seconds() < 15


async def test_a_provider_that_never_answers_again_is_given_up_as_unreachable(skipping_stage: Stage) -> None:
    skipping_stage.provider.says("look", RUNNING, SILENT)
    outcome = await outcome_of(await skipping_stage.turn(limits=PATIENT))
    assert (outcome.state, outcome.reason) == (TurnState.ERROR, Reason.PROVIDER_UNREACHABLE)
    assert outcome.evidence.kind is EvidenceKind.TIMER
    assert "may still be at work" in outcome.evidence.detail
    assert outcome.failure == AWAY


async def test_a_prompt_that_could_never_be_sent_is_reported_as_not_sent(skipping_stage: Stage) -> None:
    skipping_stage.provider.says("submit", NotSent(failure=AWAY))
    outcome = await outcome_of(await skipping_stage.turn(limits=PATIENT))
    assert outcome.reason is Reason.PROVIDER_UNREACHABLE
    assert "was not sent" in outcome.evidence.detail
    assert skipping_stage.provider.count("look") == 0


async def test_a_session_that_cannot_be_opened_is_unreachable_too(skipping_stage: Stage) -> None:
    skipping_stage.provider.says("open_session", Unreachable(failure=AWAY))
    result = await result_of(await skipping_stage.turn(limits=PATIENT))
    assert result.outcome.reason is Reason.PROVIDER_UNREACHABLE
    assert result.session_id is None
    assert skipping_stage.provider.count("submit") == 0


async def test_an_hour_of_work_grows_the_history_by_no_more_than_six_events_a_minute(skipping_stage: Stage) -> None:
    """A provider that is found further each time."""
    provider, working = skipping_stage.provider, 24
    provider.says("look", *[stands(Standing.RUNNING, f"step {step}") for step in range(working)], answered())
    turn = await skipping_stage.turn(looks_grow=True, session_id="ses_new", session_is_new=True)
    outcome = await outcome_of(turn)
    minutes = elapsed(outcome) / 60
    assert minutes > 50
    assert len(await events_of(turn)) < 60 + 6 * minutes


async def test_a_stalled_provider_that_ignores_the_abort_is_left_unconfirmed(skipping_stage: Stage) -> None:
    skipping_stage.provider.says("look", RUNNING)
    outcome = await outcome_of(await skipping_stage.turn())
    assert (outcome.reason, outcome.confirmed) == (Reason.STALLED, False)
    assert skipping_stage.provider.count("abort") > 1
