"""A turn alone: how it is delivered, what makes it look, and how it ends when nobody stops it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.exceptions import ApplicationError

from tests.e2e.waiting import until
from tests.workflow.scripted_provider import (
    AWAY,
    DIES,
    NO_PROMPT,
    NO_SESSION,
    RUNNING,
    SILENT,
    Held,
    answered,
    asks,
    opened,
    stands,
)
from tests.workflow.stage import Stage, elapsed, outcome_of, result_of, snapshot, tell
from turnkeeper.limits import TurnLimits
from turnkeeper.observations import Accepted, NotSent, PerhapsSent, Refused, SessionMissing
from turnkeeper.vocabulary import EventKind, EvidenceKind, Reason, Standing, TurnState, Wake


async def test_a_turn_opens_a_session_sends_once_looks_and_gives_the_answer(skipping_stage: Stage) -> None:
    skipping_stage.provider.says("look", answered("42"))
    turn = await skipping_stage.turn(prompt="What is six times seven?")
    result = await result_of(turn)
    assert result.outcome.state is TurnState.COMPLETED
    assert result.outcome.reason is Reason.FINISHED
    assert result.outcome.text == "42"
    assert skipping_stage.provider.order() == ["open_session", "submit", "look"]
    [sent] = skipping_stage.provider.requests("submit")
    assert (sent.prompt, sent.message_id, sent.session_id) == (
        "What is six times seven?",
        result.client_message_id,
        result.session_id,
    )


async def test_an_event_makes_it_look_at_once(stage: Stage) -> None:
    turn = await stage.turn()
    await until(lambda: snapshot(turn), lambda now: now.doing.startswith("waits"))
    await tell(turn, EventKind.PROGRESS, EventKind.BUSY)
    await until(lambda: snapshot(turn), lambda now: now.events_seen == 2)
    assert stage.provider.count("look") == 0, "progress alone is no reason to look"
    await tell(turn, EventKind.IDLE)
    outcome = await outcome_of(turn)
    assert outcome.evidence.woken_by is Wake.EVENT
    assert outcome.evidence.kind is EvidenceKind.SNAPSHOT
    assert elapsed(outcome) < 10, "it did not wait for its clock"


async def test_an_event_ends_nothing_while_the_provider_still_works(stage: Stage) -> None:
    stage.provider.says("look", RUNNING, answered())
    turn = await stage.turn()
    await until(lambda: snapshot(turn), lambda now: now.doing.startswith("waits"))
    await tell(turn, EventKind.IDLE)
    await stage.provider.called("look")
    assert (await until(lambda: snapshot(turn), lambda now: now.looks == 1)).state is TurnState.RUNNING
    await tell(turn, EventKind.IDLE)
    assert (await outcome_of(turn)).reason is Reason.FINISHED


async def test_an_event_is_enough_when_the_answer_to_submit_is_late(stage: Stage) -> None:
    """The turn may be over before its delivery is reported."""
    late = Held(Accepted())
    stage.provider.says("submit", late)
    turn = await stage.turn()
    await stage.provider.called("submit")
    await tell(turn, EventKind.IDLE)
    assert (await outcome_of(turn)).reason is Reason.FINISHED


async def test_without_any_event_it_looks_by_its_own_clock(skipping_stage: Stage) -> None:
    skipping_stage.provider.says("look", RUNNING, RUNNING, answered())
    outcome = await outcome_of(await skipping_stage.turn())
    assert outcome.evidence.woken_by is Wake.TIMER
    assert 35 <= elapsed(outcome) < 45, "after 5 s, 10 s because something was new, then 20 s"


async def test_a_question_to_a_person_is_not_a_stall(skipping_stage: Stage) -> None:
    skipping_stage.provider.says("look", *[asks()] * 20, answered())
    outcome = await outcome_of(await skipping_stage.turn())
    assert outcome.reason is Reason.FINISHED
    assert elapsed(outcome) > TurnLimits().stall_timeout.total_seconds()


async def test_a_session_that_is_gone_ends_the_turn(skipping_stage: Stage) -> None:
    skipping_stage.provider.says("look", RUNNING, NO_SESSION)
    outcome = await outcome_of(await skipping_stage.turn())
    assert (outcome.state, outcome.reason) == (TurnState.INTERRUPTED, Reason.SESSION_GONE)


async def test_a_run_that_died_in_the_provider_is_lost_after_two_readings(skipping_stage: Stage) -> None:
    skipping_stage.provider.says("look", RUNNING, stands(Standing.HALTED, "begun"))
    outcome = await outcome_of(await skipping_stage.turn())
    assert (outcome.state, outcome.reason) == (TurnState.INTERRUPTED, Reason.PROVIDER_LOST_TURN)
    assert skipping_stage.provider.count("look") == 3
    assert outcome.failure is not None
    assert outcome.failure.next_step


# Sessions.


async def test_a_lost_context_begins_one_fresh_session_even_if_its_creation_is_repeated(skipping_stage: Stage) -> None:
    lost_answer = RuntimeError("the answer was lost")
    skipping_stage.provider.says("open_session", SessionMissing(), lost_answer, opened)
    turn = await skipping_stage.turn(session_id="ses_old")
    result = await result_of(turn)
    missed, created, again = skipping_stage.provider.requests("open_session")
    assert missed.session_id == "ses_old"
    assert created.session_id is again.session_id is None
    assert (created.perhaps_created, again.perhaps_created) == (False, True)
    assert created.creation_key == again.creation_key, "the same key finds a session whose answer was lost"
    assert result.context_lost
    assert result.session_id != "ses_old"


@pytest.mark.usefixtures("impatient_calls")
async def test_an_endpoint_that_no_worker_serves_is_unreachable(skipping_stage: Stage) -> None:
    limits = TurnLimits(unreachable_timeout=timedelta(seconds=2))
    turn = await skipping_stage.turn(task_queue="nobody-serves-this", limits=limits)
    outcome = await outcome_of(turn)
    assert outcome.reason is Reason.PROVIDER_UNREACHABLE
    assert "not sent" in outcome.evidence.detail
    assert outcome.failure is not None
    assert outcome.failure.code == "worker_lost"


# Delivery: sent again only while it is certain that the provider does not have it.


@pytest.mark.usefixtures("impatient_calls")
async def test_a_worker_that_dies_while_it_submits_is_followed_by_a_look_never_by_a_second_submit(
    skipping_stage: Stage,
) -> None:
    skipping_stage.provider.says("submit", DIES).says("look", RUNNING, answered())
    turn = await skipping_stage.turn()
    assert (await outcome_of(turn)).reason is Reason.FINISHED
    assert skipping_stage.provider.order() == ["open_session", "submit", "look", "look"]


async def test_an_unsent_prompt_is_sent_again_under_the_same_id(skipping_stage: Stage) -> None:
    skipping_stage.provider.says("submit", NotSent(failure=AWAY), NotSent(failure=AWAY), Accepted())
    result = await result_of(await skipping_stage.turn())
    assert result.outcome.reason is Reason.FINISHED
    ids = [request.message_id for request in skipping_stage.provider.requests("submit")]
    assert ids == [result.client_message_id] * 3


async def test_a_prompt_that_never_appears_is_sent_three_times_at_most(skipping_stage: Stage) -> None:
    skipping_stage.provider.says("submit", PerhapsSent()).says("look", NO_PROMPT)
    limits = TurnLimits(accept_budget=timedelta(seconds=3))
    outcome = await outcome_of(await skipping_stage.turn(limits=limits))
    assert outcome.reason is Reason.PROMPT_REJECTED
    assert skipping_stage.provider.count("submit") == 3
    fresh = [request.fresh_session for request in skipping_stage.provider.requests("submit")]
    assert fresh == [True, False, False]  # only the first submit to a session made for it goes without a look


async def test_a_refused_prompt_ends_at_once_and_says_why(skipping_stage: Stage) -> None:
    refusal = AWAY.model_copy(update={"message": "there is no agent 'bulid'", "retryable": False})
    skipping_stage.provider.says("submit", Refused(failure=refusal))
    outcome = await outcome_of(await skipping_stage.turn())
    assert (outcome.state, outcome.reason) == (TurnState.ERROR, Reason.PROMPT_REJECTED)
    assert outcome.failure == refusal
    assert skipping_stage.provider.count("look") == 0


async def test_a_worker_without_the_endpoint_counts_as_no_answer_and_says_so(skipping_stage: Stage) -> None:
    """As when a worker's configuration lacks the endpoint that the turn began on."""
    unknown = ApplicationError("There is no endpoint 'scripted'.", type="unknown_endpoint", non_retryable=True)
    skipping_stage.provider.says("look", unknown)
    limits = TurnLimits(retry_interval_max=timedelta(seconds=60))
    outcome = await outcome_of(await skipping_stage.turn(limits=limits))
    assert outcome.reason is Reason.PROVIDER_UNREACHABLE
    assert outcome.failure is not None
    assert (outcome.failure.code, outcome.failure.message) == ("unknown_endpoint", "There is no endpoint 'scripted'.")


@pytest.mark.parametrize("silent_looks", [1, 5])
async def test_a_provider_that_comes_back_in_time_costs_nothing_but_time(
    skipping_stage: Stage, silent_looks: int
) -> None:
    skipping_stage.provider.says("look", *[SILENT] * silent_looks, answered())
    assert (await outcome_of(await skipping_stage.turn())).reason is Reason.FINISHED
    assert skipping_stage.provider.count("submit") == 1
