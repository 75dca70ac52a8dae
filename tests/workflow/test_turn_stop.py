"""Stopping a turn: in each phase, by each way to ask, with a provider that obeys, that is late, or that is silent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError

from tests.e2e.waiting import until
from tests.workflow.scripted_provider import (
    ABORTED,
    AWAY,
    HANGS,
    NO_PROMPT,
    RUNNING,
    SILENT,
    Held,
    ScriptedProvider,
    stands,
)
from tests.workflow.stage import HASTY, QUICK, Stage, TurnHandle, elapsed, outcome_of, snapshot, tell
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import Interrupt, InterruptResult, Outcome
from turnkeeper.observations import Accepted, NotSent, Observation
from turnkeeper.vocabulary import EventKind, EvidenceKind, Reason, Standing, TurnState

GRACE = QUICK.interrupt_grace.total_seconds()
SHORT_GRACE = HASTY.interrupt_grace.total_seconds()


async def stop(turn: TurnHandle) -> InterruptResult:
    answer: InterruptResult = await turn.execute_update(
        "interrupt_and_wait", Interrupt(why="enough"), result_type=InterruptResult
    )
    return answer


async def waiting_turn(stage: Stage, limits: TurnLimits = QUICK) -> TurnHandle:
    """A turn whose prompt is accepted and that waits."""
    turn = await stage.turn(limits=limits)
    await until(lambda: snapshot(turn), lambda now: now.doing.startswith("waits"))
    return turn


def runs_until_abort(provider: ScriptedProvider, *, aborts: int = 1, before: Observation = RUNNING) -> None:
    """The provider goes on until it was told so often to abort."""
    provider.says("look", lambda _: ABORTED if provider.count("abort") >= aborts else before)


def assert_stopped(outcome: Outcome | None, *, confirmed: bool) -> Outcome:
    assert outcome is not None
    assert (outcome.state, outcome.reason) == (TurnState.INTERRUPTED, Reason.STOPPED)
    assert outcome.confirmed is confirmed, outcome.evidence
    return outcome


# In each phase.


async def test_before_the_session_is_open_nothing_is_ever_sent(stage: Stage) -> None:
    stage.provider.says("open_session", HANGS)
    turn = await stage.turn(limits=QUICK)
    await stage.provider.called("open_session")
    outcome = assert_stopped((await stop(turn)).outcome, confirmed=True)
    assert outcome.evidence.kind is EvidenceKind.COMMAND
    assert stage.provider.order() == ["open_session"]
    await until(cancelled_calls(stage), lambda verbs: "open_session" in verbs)


async def test_while_submit_hangs_the_stop_does_not_wait_for_it(stage: Stage) -> None:
    """As long as submit may still deliver the prompt, nothing can be confirmed."""
    stage.provider.says("submit", HANGS).says("look", NO_PROMPT)
    turn = await stage.turn(limits=HASTY)
    await stage.provider.called("submit")
    outcome = assert_stopped((await stop(turn)).outcome, confirmed=False)
    assert outcome.evidence.kind is EvidenceKind.TIMER
    assert SHORT_GRACE <= elapsed(outcome) < SHORT_GRACE + 2
    assert stage.provider.count("submit") == 1


async def test_a_submit_that_arrives_after_the_stop_is_aborted(stage: Stage) -> None:
    submit = Held(Accepted())
    stage.provider.says("submit", submit)
    stage.provider.says("look", lambda _: ABORTED if submit.released.is_set() else NO_PROMPT)
    turn = await stage.turn(limits=QUICK)
    await stage.provider.called("submit")
    stopping = asyncio.create_task(stop(turn))
    await stage.provider.called("abort")
    submit.released.set()
    assert_stopped((await stopping).outcome, confirmed=True)


async def test_a_submit_that_failed_unsent_while_a_look_was_under_way_ends_the_stop(stage: Stage) -> None:
    submit, look = Held(NotSent(failure=AWAY)), Held(NO_PROMPT)
    stage.provider.says("submit", submit).says("look", look)
    turn = await stage.turn(limits=QUICK)
    await stage.provider.called("submit")
    stopping = asyncio.create_task(stop(turn))
    await stage.provider.called("look")
    submit.released.set()
    await until(lambda: snapshot(turn), lambda now: now.delivery == "unsent")
    look.released.set()
    assert_stopped((await stopping).outcome, confirmed=True)


async def test_in_the_first_second_an_abort_that_is_lost_is_repeated(stage: Stage) -> None:
    runs_until_abort(stage.provider, aborts=2, before=stands(Standing.UNSTARTED))
    outcome = assert_stopped((await stop(await waiting_turn(stage))).outcome, confirmed=True)
    assert stage.provider.count("abort") == 2
    assert elapsed(outcome) < GRACE


async def test_a_running_turn_is_confirmed_by_what_the_provider_says_then(stage: Stage) -> None:
    runs_until_abort(stage.provider)
    outcome = assert_stopped((await stop(await waiting_turn(stage))).outcome, confirmed=True)
    assert outcome.evidence.kind is EvidenceKind.SNAPSHOT
    assert stage.provider.order() == ["open_session", "submit", "abort", "look"]


@pytest.mark.parametrize("look", [SILENT, RUNNING, HANGS], ids=["unreachable", "goes on", "hangs"])
async def test_a_provider_that_does_not_confirm_is_unconfirmed_after_the_grace(stage: Stage, look: Any) -> None:  # noqa: ANN401 - an answer of the script
    turn = await waiting_turn(stage, HASTY)
    stage.provider.says("look", look)
    outcome = assert_stopped((await stop(turn)).outcome, confirmed=False)
    assert SHORT_GRACE <= elapsed(outcome) < SHORT_GRACE + 3


async def test_an_abort_that_hangs_does_not_hold_the_grace_up(stage: Stage) -> None:
    turn = await waiting_turn(stage, HASTY)
    stage.provider.says("abort", HANGS)
    outcome = assert_stopped((await stop(turn)).outcome, confirmed=False)
    assert elapsed(outcome) < SHORT_GRACE + 3


async def test_while_a_look_hangs_the_stop_goes_first(stage: Stage) -> None:
    turn = await waiting_turn(stage)
    stage.provider.says("look", HANGS, ABORTED)
    await tell(turn, EventKind.IDLE)
    await stage.provider.called("look")
    outcome = assert_stopped((await stop(turn)).outcome, confirmed=True)
    assert elapsed(outcome) < GRACE
    await until(cancelled_calls(stage), lambda verbs: "look" in verbs)


async def test_a_turn_that_finished_meanwhile_is_finished_not_stopped(stage: Stage) -> None:
    turn = await waiting_turn(stage)
    result = await stop(turn)
    assert result.outcome is not None
    assert result.outcome.reason is Reason.FINISHED


# By each way to ask.


async def test_by_signal(stage: Stage) -> None:
    runs_until_abort(stage.provider)
    turn = await waiting_turn(stage)
    await turn.signal("interrupt", {"why": "typed by an operator as plain JSON"})
    assert_stopped(await outcome_of(turn), confirmed=True)


async def test_by_cancelling_the_workflow_the_provider_is_told_too(stage: Stage) -> None:
    runs_until_abort(stage.provider)
    turn = await waiting_turn(stage)
    await turn.cancel()
    assert_stopped(await outcome_of(turn), confirmed=True)
    assert stage.provider.count("abort") == 1


@pytest.mark.parametrize("verb", ["open_session", "submit", "look"])
async def test_by_cancelling_the_workflow_while_a_call_hangs(stage: Stage, verb: Any) -> None:  # noqa: ANN401 - a verb
    stage.provider.says("look", NO_PROMPT).says(verb, HANGS, ABORTED)
    turn = await stage.turn(limits=HASTY)
    if verb == "look":
        await tell(turn, EventKind.IDLE)
    await stage.provider.called(verb)
    await turn.cancel()
    outcome = assert_stopped(await outcome_of(turn), confirmed=verb != "submit")
    assert elapsed(outcome) < SHORT_GRACE + 3


async def test_twice_joins_the_stop_in_progress(stage: Stage) -> None:
    runs_until_abort(stage.provider, aborts=2)
    turn = await waiting_turn(stage)
    first, second, _ = await asyncio.gather(stop(turn), stop(turn), turn.signal("interrupt", Interrupt()))
    assert_stopped(first.outcome, confirmed=True)
    assert first == second
    assert stage.provider.count("abort") == 2


async def test_of_another_turn_is_refused_and_changes_nothing(stage: Stage) -> None:
    turn = await waiting_turn(stage)
    other = Interrupt(turn_id="t9")
    await turn.signal("interrupt", other)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await turn.execute_update("interrupt_and_wait", other)
    assert "t1" in str(refused.value.cause), "names the turn that does run"
    assert (await snapshot(turn)).stop_requested_at is None


def cancelled_calls(stage: Stage) -> Any:  # noqa: ANN401 - an asker for `until`
    async def ask() -> list[str]:
        return list(stage.provider.cancelled)

    return ask
