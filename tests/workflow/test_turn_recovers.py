"""A prompt that was dropped is sent again, and a turn that no events reach looks by itself."""

from __future__ import annotations

import pytest

from tests.workflow.scripted_provider import SILENT, ScriptedProvider, answered, stands
from tests.workflow.stage import Stage, elapsed, outcome_of, result_of, tell
from turnkeeper.limits import MAX_SUBMITS
from turnkeeper.observations import Accepted, PerhapsSent, SessionBusy
from turnkeeper.vocabulary import EventKind, Reason, Standing

UNSTARTED = stands(Standing.UNSTARTED)


def runs_with_submit(provider: ScriptedProvider, number: int) -> None:
    """What is sent before is stored and never run."""
    provider.says("look", lambda _: answered() if provider.count("submit") >= number else UNSTARTED)


async def test_a_prompt_that_was_stored_and_never_run_is_taken_out_and_sent_again(skipping_stage: Stage) -> None:
    provider = skipping_stage.provider
    runs_with_submit(provider, 2)
    result = await result_of(await skipping_stage.turn(recovers=True, withdraw=("msg_left_behind",)))
    assert result.outcome.reason is Reason.FINISHED
    first, second = provider.requests("submit")
    assert first.message_id == second.message_id == result.client_message_id
    assert (first.withdraw, second.withdraw) == (("msg_left_behind",), (result.client_message_id,))
    assert not second.fresh_session
    assert elapsed(result.outcome) >= 10, "it may be slow to begin"


async def test_what_the_provider_forgot_while_it_was_away_is_sent_again_at_once(skipping_stage: Stage) -> None:
    provider = skipping_stage.provider
    looks = iter([SILENT])
    provider.says("look", lambda _: next(looks, answered() if provider.count("submit") > 1 else UNSTARTED))
    outcome = await outcome_of(await skipping_stage.turn(recovers=True, session_id="ses_new", session_is_new=True))
    assert outcome.reason is Reason.FINISHED
    assert elapsed(outcome) < 5 + 1 + 2 + 5 + 1  # first look, the next one, the second reading, its answer
    assert [look.knock for look in provider.requests("look")] == [False, True, False, False], "only while it was away"


@pytest.mark.parametrize("report", [Accepted(), SessionBusy(session_id="ses_1")])
async def test_a_prompt_that_runs_after_all_is_not_sent_again(
    skipping_stage: Stage, report: Accepted | SessionBusy
) -> None:
    runs_with_submit(skipping_stage.provider, 2)
    skipping_stage.provider.says("submit", PerhapsSent(taken=True), report)
    outcome = await outcome_of(await skipping_stage.turn(recovers=True))
    assert outcome.reason is Reason.FINISHED
    assert skipping_stage.provider.count("submit") == 2


async def test_a_prompt_that_is_never_run_is_dropped_in_the_end(skipping_stage: Stage) -> None:
    skipping_stage.provider.says("look", UNSTARTED)
    outcome = await outcome_of(await skipping_stage.turn(recovers=True))
    assert outcome.reason is Reason.PROMPT_DROPPED
    assert skipping_stage.provider.count("submit") == MAX_SUBMITS


async def test_a_turn_that_was_begun_before_that_sends_nothing_again(skipping_stage: Stage) -> None:
    skipping_stage.provider.says("look", UNSTARTED)
    assert (await outcome_of(await skipping_stage.turn())).reason is Reason.PROMPT_DROPPED
    assert skipping_stage.provider.count("submit") == 1


async def test_without_events_a_long_turn_is_looked_at_by_the_short_interval(skipping_stage: Stage) -> None:
    steps = [stands(Standing.RUNNING, f"step {step}") for step in range(12)]
    skipping_stage.provider.says("look", *steps, answered())
    turn = await skipping_stage.turn(recovers=True, looks_grow=True)
    await tell(turn, EventKind.DETACHED)
    outcome = await outcome_of(turn)
    assert outcome.reason is Reason.FINISHED
    assert elapsed(outcome) <= (len(steps) + 1) * 10
