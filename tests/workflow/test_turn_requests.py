"""Permissions and questions of a turn: answered, by whom, once; with a provider that no longer knows the request."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

import pytest
from temporalio.client import WorkflowUpdateFailedError

from tests.e2e.waiting import until
from tests.workflow.scripted_provider import ABORTED, AWAY, HANGS, RUNNING, SILENT, Held, answered, asking, asks, stands
from tests.workflow.stage import QUICK, Stage, TurnHandle, new_thread, outcome_of, snapshot, tell
from turnkeeper.errors import RefusedError, ServiceUnavailableError
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import Answer, AnswerResult, Interrupt, PermissionRule, TurnInput
from turnkeeper.observations import Gone, OpenRequest, Question, Refused, Reply, Seen
from turnkeeper.vocabulary import (
    AnsweredBy,
    AnswerState,
    EventKind,
    PermissionReply,
    PolicyAction,
    Reason,
    Standing,
    TurnState,
)
from workflows import turn_answers
from workflows.details import describe_turn

ONCE: Final = Reply(permission=PermissionReply.ONCE)
ALLOWED: Final = Answer(request_id="per_1", permission=PermissionReply.ONCE)
REJECTED: Final = Answer(request_id="per_1", reject=True)
BASH: Final = OpenRequest(
    request_id="per_1",
    kind="permission",
    session_id="ses_child",
    title="bash: make",
    permission="bash",
    patterns=("make",),
)
QUESTION: Final = OpenRequest(
    request_id="que_1",
    kind="question",
    session_id="ses_1",
    title="Which colour?",
    questions=(Question(text="Which colour?"),),
)


async def asking_turn(stage: Stage, *requests: OpenRequest, limits: TurnLimits = QUICK) -> TurnHandle:
    """A turn that waits for a person, and goes on to its end once the provider got an answer."""
    open_request = asking(*(requests or (BASH,)))
    stage.provider.says("look", lambda _: answered() if stage.provider.count("answer") else open_request)
    turn = await stage.turn(limits=limits)
    await until(lambda: snapshot(turn), lambda now: now.open_requests)
    return turn


async def give(turn: TurnHandle, answer: Answer = ALLOWED) -> AnswerResult:
    result: AnswerResult = await turn.execute_update("answer", answer, result_type=AnswerResult)
    return result


async def test_a_person_answers(stage: Stage) -> None:
    turn = await asking_turn(stage)
    waiting = await snapshot(turn)
    assert (waiting.state, waiting.doing) == (TurnState.WAITING, "waits for a person: 1 open")
    result = await give(turn)
    assert (result.turn_id, result.state, result.answer) == ("t1", AnswerState.DELIVERED, ONCE)
    assert (await outcome_of(turn)).reason is Reason.FINISHED
    (request,) = stage.provider.requests("answer")
    assert (request.session_id, request.request_id, request.kind) == ("ses_child", "per_1", "permission")
    assert request.reply == ONCE
    over = await snapshot(turn)
    assert (over.open_requests, over.answers) == ((), (result,))


async def test_a_question_is_answered_in_words(stage: Stage) -> None:
    turn = await asking_turn(stage, QUESTION)
    await give(turn, Answer(request_id="que_1", answers=(("teal",),)))
    assert stage.provider.requests("answer")[0].reply == Reply(answers=(("teal",),))
    await outcome_of(turn)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(request_id="per_9", permission=PermissionReply.ONCE), "unknown_request"),
        (Answer(request_id="per_1", answers=(("red",),)), "wrong_answer"),
    ],
)
async def test_a_wrong_answer_is_refused_at_the_door(stage: Stage, answer: Answer, code: str) -> None:
    turn = await asking_turn(stage)
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await give(turn, answer)
    assert getattr(caught.value.cause, "type", None) == code
    assert stage.provider.count("answer") == 0
    await give(turn)
    await outcome_of(turn)


async def test_the_first_of_two_wins_and_each_is_told_so(stage: Stage) -> None:
    held = Held(answer=None)
    turn = await asking_turn(stage)
    stage.provider.says("answer", held)
    first = asyncio.create_task(give(turn))
    await stage.provider.called("answer")
    second = await give(turn, REJECTED)
    assert (second.state, second.answer, second.by) == (AnswerState.ALREADY_ANSWERED, ONCE, AnsweredBy.PERSON)
    again = asyncio.create_task(give(turn))
    object.__setattr__(held, "answer", Gone())
    held.released.set()
    assert (await first).state is (await again).state is AnswerState.STALE
    assert stage.provider.count("answer") == 1
    await outcome_of(turn)


async def test_an_answer_to_a_request_that_is_gone_is_stale(stage: Stage) -> None:
    stage.provider.says("answer", Gone())
    turn = await asking_turn(stage)
    result = await give(turn)
    assert (result.state, result.answer) == (AnswerState.STALE, None)
    await outcome_of(turn)


async def test_a_refused_answer_is_told_and_another_one_may_follow(stage: Stage) -> None:
    stage.provider.says("answer", Refused(failure=AWAY))
    stage.provider.says("look", asking(BASH))
    turn = await stage.turn(limits=QUICK)
    await until(lambda: snapshot(turn), lambda now: now.open_requests)
    result = await give(turn)
    assert (result.state, result.failure) == (AnswerState.REFUSED, AWAY)
    stage.provider.forget("answer", "look")
    assert (await give(turn)).state is AnswerState.DELIVERED
    await outcome_of(turn)


async def test_a_provider_that_is_away_gets_the_answer_later(stage: Stage) -> None:
    stage.provider.says("answer", SILENT, SILENT, Gone())
    stage.provider.says("look", lambda _: answered() if stage.provider.count("answer") > 2 else asking(BASH))
    quick = QUICK.model_copy(update={"retry_interval": timedelta(seconds=0.2)})
    turn = await stage.turn(limits=quick)
    await until(lambda: snapshot(turn), lambda now: now.open_requests)
    assert (await give(turn)).state is AnswerState.STALE
    assert stage.provider.count("answer") == 3
    await outcome_of(turn)


async def test_a_signal_does_the_same_and_a_wrong_one_says_why_it_did_nothing(stage: Stage) -> None:
    turn = await asking_turn(stage)
    await turn.signal("request_answer", Answer(request_id="per_9", permission=PermissionReply.ONCE))
    await turn.signal("request_answer", Answer(request_id="per_1", answers=(("red",),)))
    refused = (await snapshot(turn)).answers
    assert [(answer.request_id, answer.state) for answer in refused] == [
        ("per_9", AnswerState.REFUSED),
        ("per_1", AnswerState.REFUSED),
    ]
    assert [answer.failure.code for answer in refused if answer.failure] == ["unknown_request", "wrong_answer"]
    assert "never saw a request 'per_9'" in describe_turn(await snapshot(turn))
    await turn.signal("request_answer", ALLOWED)
    assert (await outcome_of(turn)).reason is Reason.FINISHED
    assert stage.provider.count("answer") == 1


async def test_a_stop_while_it_asks(stage: Stage) -> None:
    held = Held()
    stage.provider.says("answer", held)
    stage.provider.says("look", lambda _: ABORTED if stage.provider.count("abort") else asking(BASH))
    turn = await stage.turn(limits=QUICK)
    await until(lambda: snapshot(turn), lambda now: now.open_requests)
    answering = asyncio.create_task(give(turn))
    await stage.provider.called("answer")
    await turn.signal("interrupt", Interrupt())
    outcome = await outcome_of(turn)
    assert (outcome.reason, outcome.confirmed) == (Reason.STOPPED, True)
    assert (await answering).state is AnswerState.STALE
    assert (await snapshot(turn)).open_requests == ()


async def test_a_rule_answers_on_every_turn_of_the_thread(stage: Stage) -> None:
    stage.provider.says("look", lambda _: answered() if stage.provider.count("answer") else asking(BASH))
    thread_id = new_thread()
    allow = PermissionRule(permission="bash", target="ma*", action=PolicyAction.ALLOW)
    await stage.keeper.wait(await stage.start(thread_id, permissions=[allow]))
    assert stage.provider.requests("answer")[0].reply == ONCE
    looked = stage.provider.count("answer")
    stage.provider.says("look", lambda _: answered() if stage.provider.count("answer") > looked else asking(BASH))
    await stage.keeper.wait(await stage.start(thread_id))
    assert stage.provider.count("answer") == 2
    (given,) = (await stage.keeper.turn(thread_id)).answers
    assert (given.state, given.by) == (AnswerState.DELIVERED, AnsweredBy.POLICY)
    assert (await stage.keeper.thread(thread_id)).permissions == (allow,)
    inputs = await stage.turn_of(thread_id).fetch_history()
    (payload,) = inputs.events[0].workflow_execution_started_event_attributes.input.payloads
    assert TurnInput.model_validate_json(payload.data).permissions == (allow,)


async def test_nobody_answers_for_hours(skipping_stage: Stage) -> None:
    limits = TurnLimits(request_timeout=timedelta(hours=2))
    skipping_stage.provider.says(
        "look", lambda _: answered() if skipping_stage.provider.count("answer") else asking(BASH)
    )
    turn = await skipping_stage.turn(limits=limits)
    outcome = await outcome_of(turn)
    assert 7200 <= (outcome.completed_at - outcome.started_at).total_seconds() < 7300
    assert skipping_stage.provider.requests("answer")[0].reply == Reply(permission=PermissionReply.REJECT)


async def test_a_request_outlasts_the_stall_timeout_but_not_the_deadline(skipping_stage: Stage) -> None:
    skipping_stage.provider.says("look", lambda _: ABORTED if skipping_stage.provider.count("abort") else asks())
    outcome = await outcome_of(await skipping_stage.turn(limits=TurnLimits(deadline=timedelta(hours=3))))
    assert outcome.reason is Reason.DEADLINE_EXCEEDED


# Through the client.


async def test_the_client_answers_and_an_answer_after_the_end_is_stale(stage: Stage) -> None:
    stage.provider.says("look", lambda _: answered() if stage.provider.count("answer") else asking(BASH))
    thread_id = new_thread()
    started = await stage.start(thread_id)
    await until(lambda: stage.keeper.turn(thread_id), lambda now: now.open_requests)
    result = await stage.keeper.answer(thread_id, "per_1", permission=PermissionReply.ALWAYS)
    assert result.state is AnswerState.DELIVERED
    await stage.keeper.wait(started)
    late = await stage.keeper.answer(thread_id, "per_1", reject=True)
    assert late.state is AnswerState.STALE


async def test_the_client_refuses_nonsense(stage: Stage) -> None:
    with pytest.raises(RefusedError, match="exactly one"):
        await stage.keeper.answer(new_thread(), "per_1")
    with pytest.raises(RefusedError, match="There is no turn"):
        await stage.keeper.answer(new_thread(), "per_1", reject=True)


async def test_an_answer_is_kept_while_no_worker_is_up(empty_stage: Stage) -> None:
    stage = empty_stage
    stage.provider.says("look", lambda _: answered() if stage.provider.count("answer") else asking(BASH))
    thread_id = new_thread()
    async with stage.worker_up():
        started = await stage.start(thread_id)
        await until(lambda: stage.keeper.turn(thread_id), lambda now: now.open_requests)
    with pytest.raises(ServiceUnavailableError, match="kept"):
        await stage.keeper.answer(thread_id, "per_1", permission=PermissionReply.ONCE, within=1)
    assert stage.provider.count("answer") == 0
    async with stage.worker_up():
        assert (await stage.keeper.wait(started)).outcome.reason is Reason.FINISHED
    assert stage.provider.count("answer") == 1


async def test_what_it_waits_for_is_seen_again_after_the_provider_was_away(stage: Stage) -> None:
    stage.provider.says("look", asking(BASH), SILENT, asking(BASH, QUESTION))
    limits = QUICK.model_copy(
        update={"look_interval": timedelta(seconds=0.3), "retry_interval": timedelta(seconds=0.2)}
    )
    turn = await stage.turn(limits=limits)
    await until(lambda: snapshot(turn), lambda now: len(now.open_requests) == 2)
    stage.provider.says("look", RUNNING, answered())
    await outcome_of(turn)


@pytest.mark.parametrize("end", [ABORTED, stands(Standing.FAILED), stands(Standing.HALTED)])
async def test_what_an_ended_turn_had_asked_is_closed_in_the_provider_too(stage: Stage, end: Seen) -> None:
    stage.provider.says("look", asking(BASH, QUESTION), end)
    turn = await stage.turn(limits=QUICK)
    await until(lambda: snapshot(turn), lambda now: now.open_requests)
    await tell(turn, EventKind.IDLE)
    outcome = await outcome_of(turn)
    assert outcome.state in {TurnState.INTERRUPTED, TurnState.ERROR}
    replies = {request.request_id: request.reply for request in stage.provider.requests("answer")}
    assert replies == {"per_1": Reply(permission=PermissionReply.REJECT), "que_1": Reply()}
    assert (await snapshot(turn)).open_requests == ()


async def test_a_provider_that_cannot_close_it_keeps_no_turn_from_its_end(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_answers, "DISMISS_LIMIT", timedelta(seconds=0.5))
    stage.provider.says("look", asking(BASH), ABORTED).says("answer", HANGS)
    turn = await stage.turn(limits=QUICK)
    await until(lambda: snapshot(turn), lambda now: now.open_requests)
    await tell(turn, EventKind.IDLE)
    assert (await outcome_of(turn)).reason is Reason.ABORTED_ELSEWHERE


async def test_what_somebody_else_answered_is_not_closed_again(stage: Stage) -> None:
    stage.provider.says("look", asking(BASH), RUNNING, ABORTED)
    turn = await stage.turn(limits=QUICK)
    await until(lambda: snapshot(turn), lambda now: now.open_requests)
    await tell(turn, EventKind.REQUEST_CLOSED)
    await stage.provider.called("look", times=2)
    await tell(turn, EventKind.IDLE)
    await outcome_of(turn)
    assert stage.provider.count("answer") == 0
