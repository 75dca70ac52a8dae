"""Permissions and questions on a real OpenCode: each answer has the effect that was meant, and nothing stays asked."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from temporalio.client import Client

from tests.e2e.turns.deployment import Deployment, assert_ended, deployed
from tests.e2e.turns.gate import Gate
from tests.e2e.turns.prompts import DONE, SHORT, Step, bash, plan, short, slow_text
from tests.e2e.waiting import until
from turnkeeper.client import StartedTurn
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.errors import ServiceUnavailableError
from turnkeeper.messages import PermissionRule, TurnResult
from turnkeeper.observations import OpenRequest
from turnkeeper.vocabulary import AnsweredBy, AnswerState, PermissionReply, PolicyAction, Reason, TurnState, Wake

ASK: Final = plan(bash("echo ask me"), DONE)
SOON: Final = (Wake.EVENT, Wake.ANSWER, Wake.TIMER)
"""The agent's last word is found after its own event, or by the look that an answer makes; the second of two readings,
where a turn needs it, comes by the clock."""


async def waiting(deployment: Deployment, started: StartedTurn, count: int = 1) -> OpenRequest:
    turn = await deployment.until_turn(started, lambda turn: len(turn.open_requests) == count)
    assert turn.state is TurnState.WAITING
    return turn.open_requests[0]


async def still_listed(deployment: Deployment, session_id: str, directory: Path | None = None) -> list[object]:
    session = deployment.session(session_id, directory)
    return [*await session.pending("permission"), *await session.pending("question")]


async def finishes(deployment: Deployment, started: StartedTurn, text: str = "all done") -> TurnResult:
    result = await deployment.settled(started)
    assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED, woken_by=SOON)
    assert result.outcome.text == text
    return result


async def tool_outputs(deployment: Deployment, result: TurnResult) -> list[str]:
    assert result.session_id is not None
    messages = await deployment.session(result.session_id).messages()
    tools = [part for message in messages for part in message["parts"] if part["type"] == "tool"]
    return [part["state"].get("output") or part["state"].get("error") for part in tools]


async def test_once(deployment: Deployment) -> None:
    started = await deployment.start(ASK)
    request = await waiting(deployment, started)
    assert (request.permission, request.patterns, request.title) == ("bash", ("echo ask me",), "bash: echo ask me")
    answer = await deployment.keeper.answer(started.thread_id, request.request_id, permission=PermissionReply.ONCE)
    assert (answer.state, answer.by) == (AnswerState.DELIVERED, AnsweredBy.PERSON)
    result = await finishes(deployment, started)
    assert await tool_outputs(deployment, result) == ["ask me\n"]


async def test_always_is_not_asked_again(deployment: Deployment, cold_workspace: Path) -> None:
    # In a directory of its own: OpenCode keeps an "always" for all sessions of the directory.
    twice = plan(bash("echo ask one"), bash("echo ask two"), DONE)
    started = await deployment.start(twice, directory=cold_workspace)
    request = await waiting(deployment, started)
    await deployment.keeper.answer(started.thread_id, request.request_id, permission=PermissionReply.ALWAYS)
    result = await deployment.keeper.wait(started)
    assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED, woken_by=SOON)
    assert len((await deployment.keeper.turn(started.thread_id)).answers) == 1
    assert result.outcome.tool_calls == 2


async def test_a_rejection_ends_the_turn(deployment: Deployment) -> None:
    started = await deployment.start(ASK)
    request = await waiting(deployment, started)
    await deployment.keeper.answer(started.thread_id, request.request_id, reject=True)
    result = await deployment.settled(started)
    assert_ended(result.outcome, TurnState.INTERRUPTED, Reason.REFUSED, woken_by=SOON)
    late = await deployment.keeper.answer(started.thread_id, request.request_id, permission=PermissionReply.ONCE)
    assert late.state is AnswerState.STALE


async def test_a_rejection_with_a_message_lets_the_agent_go_on(deployment: Deployment) -> None:
    started = await deployment.start(ASK)
    request = await waiting(deployment, started)
    await deployment.keeper.answer(started.thread_id, request.request_id, reject=True, message="use printf")
    result = await finishes(deployment, started)
    (said,) = await tool_outputs(deployment, result)
    assert said.endswith("feedback: use printf")


async def test_one_of_two_is_rejected_and_opencode_closes_the_other(deployment: Deployment) -> None:
    calls = [{"name": "bash", "arguments": {"command": f"echo ask {word}"}} for word in ("one", "two")]
    both: Step = {"kind": "tool", "calls": calls}  # type: ignore[dict-item]  # a list of JSON objects is JSON
    started = await deployment.start(plan(both, DONE))
    request = await waiting(deployment, started, count=2)
    await deployment.keeper.answer(started.thread_id, request.request_id, reject=True)
    result = await deployment.settled(started)
    assert_ended(result.outcome, TurnState.INTERRUPTED, Reason.REFUSED, woken_by=SOON)


async def test_a_question_is_answered(deployment: Deployment) -> None:
    started = await deployment.start("ask Which colour? red, green")
    request = await waiting(deployment, started)
    (question,) = request.questions
    assert (question.text, question.multiple) == ("Which colour?", False)
    assert [option.label for option in question.options] == ["red", "green"]
    await deployment.keeper.answer(started.thread_id, request.request_id, answers=[["green"]])
    result = await deployment.settled(started)
    assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED, woken_by=SOON)
    assert '"Which colour?"="green"' in (await tool_outputs(deployment, result))[0]


async def test_a_question_is_rejected(deployment: Deployment) -> None:
    started = await deployment.start("ask Which colour? red, green")
    request = await waiting(deployment, started)
    await deployment.keeper.answer(started.thread_id, request.request_id, reject=True)
    result = await deployment.settled(started)
    assert_ended(result.outcome, TurnState.INTERRUPTED, Reason.REFUSED, woken_by=SOON)


async def test_a_child_asks(deployment: Deployment) -> None:
    started = await deployment.start(f"sub-agent: {ASK}")
    request = await waiting(deployment, started)
    turn = await deployment.keeper.turn(started.thread_id)
    assert request.session_id != turn.session_id
    await deployment.keeper.answer(started.thread_id, request.request_id, permission=PermissionReply.ONCE)
    result = await deployment.settled(started)
    assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED, woken_by=SOON)
    assert "all done" in result.outcome.text


async def test_nobody_answers(deployment: Deployment) -> None:
    started = await deployment.start(ASK, limits=short(request_timeout=2))
    result = await deployment.settled(started)
    assert_ended(result.outcome, TurnState.INTERRUPTED, Reason.REFUSED, woken_by=SOON)
    assert result.outcome.failure is not None
    assert result.outcome.failure.code == "request_timeout"
    (given,) = (await deployment.keeper.turn(started.thread_id)).answers
    assert (given.state, given.by) == (AnswerState.DELIVERED, AnsweredBy.TIMEOUT)


async def test_rules_answer_and_stay_with_the_thread(deployment: Deployment) -> None:
    rules = [
        PermissionRule(permission="bash", target="echo ask no*", action=PolicyAction.DENY),
        PermissionRule(permission="bash", action=PolicyAction.ALLOW),
    ]
    prompt = plan(bash("echo ask yes"), bash("echo ask no"), DONE)
    started = await deployment.start(prompt, permissions=rules)
    for _ in range(2):
        result = await finishes(deployment, started)
        outputs = await tool_outputs(deployment, result)
        assert outputs[-2] == "ask yes\n"
        assert "permission rules deny it" in outputs[-1]
        turn = await deployment.keeper.turn(started.thread_id)
        assert [given.by for given in turn.answers] == [AnsweredBy.POLICY, AnsweredBy.POLICY]
        started = await deployment.start(prompt, thread=started.thread_id)
    await finishes(deployment, started)


async def test_no_ghost_stays_after_a_stop(deployment: Deployment) -> None:
    asking = await deployment.start(ASK)
    question = await deployment.start("ask Which colour? red, green")
    # OpenCode aborts the child first; a quick model would answer in the parent before its own abort comes.
    task: Step = {
        "kind": "tool",
        "name": "task",
        "arguments": {"description": "sub", "prompt": ASK, "subagent_type": "general"},
    }
    child = await deployment.start(plan(task, slow_text(30)))
    for started in (asking, question, child):
        request = await waiting(deployment, started)
        assert await still_listed(deployment, request.session_id)
        answer = await deployment.keeper.interrupt(started.thread_id)
        assert answer.confirmed
        assert (await deployment.settled(started)).outcome.reason is Reason.STOPPED
        assert await still_listed(deployment, request.session_id) == []
        assert (await deployment.keeper.turn(started.thread_id)).open_requests == ()


async def test_no_ghost_stays_after_somebody_elses_abort(deployment: Deployment) -> None:
    for prompt in (ASK, "ask Which colour? red, green"):
        started = await deployment.start(prompt)
        request = await waiting(deployment, started)
        assert await still_listed(deployment, request.session_id)
        await deployment.session(request.session_id).abort()
        result = await deployment.settled(started)
        assert result.outcome.reason is Reason.ABORTED_ELSEWHERE
        assert await still_listed(deployment, request.session_id) == []
        assert (await deployment.keeper.turn(started.thread_id)).open_requests == ()


async def test_a_childs_request_is_rejected_and_the_parent_goes_on(deployment: Deployment) -> None:
    for ask in (ASK, "ask Which colour? red, green"):
        started = await deployment.start(f"sub-agent: {ask}")
        request = await waiting(deployment, started)
        turn = await deployment.keeper.turn(started.thread_id)
        assert request.session_id != turn.session_id
        answer = await deployment.keeper.answer(started.thread_id, request.request_id, reject=True)
        assert answer.state is AnswerState.DELIVERED
        result = await deployment.settled(started)
        assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED, woken_by=SOON)
        assert await still_listed(deployment, request.session_id) == []


async def test_it_goes_on_waiting_when_the_worker_is_replaced(
    own_temporal: Client, opencode: OpenCodeServer, workspace: Path, root: Path
) -> None:
    name = f"queue-{uuid.uuid4().hex[:8]}"
    async with deployed(own_temporal, opencode, directory=workspace, root=root, name=name) as first:
        started = await first.start(ASK, limits=SHORT.model_copy(update={"deadline": timedelta(seconds=120)}))
        request = await waiting(first, started)
    async with deployed(own_temporal, opencode, directory=workspace, root=root, name=name) as second:
        turn = await until(lambda: second.keeper.turn(started.thread_id))
        assert turn.open_requests == (request,)
        await second.keeper.answer(started.thread_id, request.request_id, permission=PermissionReply.ONCE)
        await finishes(second, started)


async def test_an_answer_given_while_the_provider_is_away_is_delivered_once_when_it_is_back(
    temporal_client: Client, opencode: OpenCodeServer, workspace: Path, root: Path
) -> None:
    async with (
        Gate.before(opencode.port) as gate,
        deployed(temporal_client, opencode, directory=workspace, root=root, url=gate.url) as deployment,
    ):
        started = await deployment.start(ASK)
        request = await waiting(deployment, started)
        gate.cut("/")
        with pytest.raises(ServiceUnavailableError) as kept:
            await deployment.keeper.answer(
                started.thread_id, request.request_id, permission=PermissionReply.ONCE, within=2
            )
        assert kept.value.detail_code == "answer_kept"
        assert await still_listed(deployment, request.session_id), "OpenCode has not heard of it"
        gate.let_pass()
        result = await finishes(deployment, started)
        assert await tool_outputs(deployment, result) == ["ask me\n"]
        (answer,) = (await deployment.keeper.turn(started.thread_id)).answers
        assert (answer.state, answer.by) == (AnswerState.DELIVERED, AnsweredBy.PERSON)
