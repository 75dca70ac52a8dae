"""A turn that is told what the relay read as its session became idle, and when it looks all the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.e2e.waiting import until
from tests.workflow.scripted_provider import ABORTED, RUNNING, Held, answered, asking, stands
from tests.workflow.stage import QUICK, Stage, TurnHandle, ended, new_thread, outcome_of, result_of, snapshot, tell
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import Answer, Interrupt
from turnkeeper.observations import Accepted, OpenRequest
from turnkeeper.vocabulary import (
    AnswerState,
    EventKind,
    EvidenceKind,
    PermissionReply,
    Reason,
    Standing,
    TurnState,
    Wake,
)

PATIENT = TurnLimits()
"""Its first look by the clock is far away."""

BEFORE_SUBMIT_IS_GIVEN_UP = 8.0
"""Seconds, of the fifteen or so that a submit may take."""


async def waiting_turn(stage: Stage, *, limits: TurnLimits = PATIENT, takes_readings: bool = True) -> TurnHandle:
    """A turn that has given its prompt away and waits."""
    turn = await stage.turn(limits=limits, takes_readings=takes_readings)
    await until(lambda: snapshot(turn), lambda now: now.doing.startswith("waits"))
    return turn


async def test_a_threads_turn_that_is_told_its_end_does_not_look(stage: Stage) -> None:
    thread_id = new_thread()
    await stage.start(thread_id, limits=PATIENT)
    await stage.provider.called("submit")
    turn = stage.turn_of(thread_id)
    await tell(turn, EventKind.PROGRESS, EventKind.IDLE, reading=await ended(turn, answered("42")))
    outcome = await outcome_of(turn)
    assert (outcome.state, outcome.reason, outcome.text) == (TurnState.COMPLETED, Reason.FINISHED, "42")
    assert (outcome.evidence.kind, outcome.evidence.woken_by) == (EvidenceKind.SNAPSHOT, Wake.EVENT)
    assert (await stage.settled_thread(thread_id)).recent[0].reason is Reason.FINISHED
    assert stage.provider.count("look") == 0


@pytest.mark.parametrize(
    "other",
    [{"message_id": "msg_other"}, {"session_id": "ses_other"}, {"text_limit": PATIENT.text_limit - 1}],
    ids=lambda other: next(iter(other)),
)
async def test_what_it_would_not_ask_for_makes_it_look(stage: Stage, other: dict[str, Any]) -> None:
    stage.provider.says("look", answered("seen"))
    turn = await waiting_turn(stage)
    await tell(turn, EventKind.IDLE, reading=await ended(turn, answered("told"), **other))
    assert (await outcome_of(turn)).text == "seen"
    assert stage.provider.count("look") == 1


async def test_a_turn_that_was_begun_before_looks(stage: Stage) -> None:
    stage.provider.says("look", answered("seen"))
    turn = await waiting_turn(stage, takes_readings=False)
    await tell(turn, EventKind.IDLE, reading=await ended(turn, answered("told")))
    assert (await outcome_of(turn)).text == "seen"


async def test_a_turn_that_looks_already_waits_for_its_own_answer(stage: Stage) -> None:
    own = Held(answered("seen"))
    stage.provider.says("look", own)
    turn = await waiting_turn(stage)
    await tell(turn, EventKind.IDLE)
    await stage.provider.called("look")
    await tell(turn, EventKind.IDLE, reading=await ended(turn, answered("told")))
    assert (await until(lambda: snapshot(turn), lambda now: now.events_seen == 2)).state is TurnState.RUNNING
    own.released.set()
    assert (await outcome_of(turn)).text == "seen"
    assert stage.provider.count("look") == 1


async def test_it_is_enough_when_the_answer_to_submit_is_late(stage: Stage) -> None:
    stage.provider.says("submit", Held(Accepted()))
    turn = await stage.turn(limits=PATIENT, takes_readings=True)
    await stage.provider.called("submit")
    await tell(turn, EventKind.IDLE, reading=await ended(turn, answered()))
    async with asyncio.timeout(BEFORE_SUBMIT_IS_GIVEN_UP):
        assert (await outcome_of(turn)).reason is Reason.FINISHED
    assert stage.provider.count("look") == 0


async def test_during_a_stop_its_own_looks_decide(stage: Stage) -> None:
    abort = Held()
    stage.provider.says("look", ABORTED).says("abort", abort)
    turn = await waiting_turn(stage, limits=QUICK)
    reading = await ended(turn, answered())
    await turn.signal("interrupt", Interrupt(why="enough"))
    await stage.provider.called("abort")
    await tell(turn, EventKind.IDLE, reading=reading)
    await until(lambda: snapshot(turn), lambda now: now.events_seen == 1)
    abort.released.set()
    outcome = await outcome_of(turn)
    assert (outcome.state, outcome.reason, outcome.confirmed) == (TurnState.INTERRUPTED, Reason.STOPPED, True)


async def test_a_run_that_goes_on_makes_it_look(stage: Stage) -> None:
    stage.provider.says("look", RUNNING, answered())
    turn = await waiting_turn(stage)
    await tell(turn, EventKind.IDLE, reading=await ended(turn, stands(Standing.HALTED, "idle before final")))
    await until(lambda: snapshot(turn), lambda now: now.looks == 1)
    await tell(turn, EventKind.IDLE)
    assert (await result_of(turn)).outcome.reason is Reason.FINISHED
    assert stage.provider.count("look") == 2


async def test_a_rejection_that_ends_the_turn_is_told_as_delivered_however_late_its_own_report(stage: Stage) -> None:
    """OpenCode ends the run as it takes the rejection: its idle event may overtake what came of the answer."""
    replying = Held()
    refused = stands(Standing.REFUSED, "refused")
    asked = asking(OpenRequest(request_id="per_1", kind="permission", session_id="ses_1", title="bash: make"))
    stage.provider.says("answer", replying)
    stage.provider.says("look", asked, refused)
    turn = await waiting_turn(stage)
    await tell(turn, EventKind.REQUEST_OPENED)
    await until(lambda: snapshot(turn), lambda now: now.open_requests)
    answer = Answer(request_id="per_1", permission=PermissionReply.REJECT)
    await turn.signal("request_answer", answer)
    await stage.provider.called("answer")
    await tell(turn, EventKind.IDLE, reading=await ended(turn, refused))
    await until(lambda: snapshot(turn), lambda now: now.events_seen == 2)
    replying.released.set()
    assert (await outcome_of(turn)).reason is Reason.REFUSED
    (given,) = (await snapshot(turn)).answers
    assert given.state is AnswerState.DELIVERED
    assert stage.provider.count("answer") == 1, "what was answered needs no closing"
