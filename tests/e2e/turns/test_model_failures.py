"""Every way in which the model behind the provider can fail, and what a turn says of it."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.turns.deployment import Deployment, assert_ended
from tests.e2e.turns.prompts import DONE, Step, plan
from turnkeeper.vocabulary import Fault, Reason, SessionStatus, TurnState, Wake

RESTING_WAKES = (Wake.EVENT, Wake.TIMER)
"""OpenCode says idle before a failed turn's last word is stored and again after it. When both fall into one look, the
second reading comes by the clock of a suspicion, 2 s later."""

RETRIED_ALWAYS: Step = {"kind": "http", "status": 500, "message": "down", "times": "always", "retry_after": 0.05}
"""Without `retry_after` OpenCode's five retries take 71 s; with it they are the same five, at once."""

LASTING: dict[str, tuple[Step, str, Fault]] = {
    "401": ({"kind": "http", "status": 401, "message": "no such key"}, "APIError", Fault.OPERATOR),
    "400": ({"kind": "http", "status": 400, "message": "bad thing"}, "APIError", Fault.OPERATOR),
    "500 for ever": (RETRIED_ALWAYS, "APIError", Fault.PROVIDER),
    "error chunk": (
        {"kind": "error_chunk", "type": "invalid_request_error", "message": "no"},
        "UnknownError",
        Fault.PROVIDER,
    ),
    "content filter": ({"kind": "finish", "reason": "content_filter"}, "ContentFilterError", Fault.CALLER),
}

PASSING: dict[str, Step] = {
    "429 with retry-after": {"kind": "http", "status": 429, "retry_after": 0.5},
    "429": {"kind": "http", "status": 429},
    "500": {"kind": "http", "status": 500},
    "reset": {"kind": "reset", "after": 2},
    "malformed stream": {"kind": "malformed", "after": 1},
    "error chunk": {"kind": "error_chunk", "type": "server_error", "message": "overloaded"},
    "end without a reason": {"kind": "eof", "after": 2},
}


@pytest.mark.parametrize("name", LASTING)
async def test_a_lasting_failure_is_an_error_of_the_turn(deployment: Deployment, name: str) -> None:
    step, code, fault = LASTING[name]
    started = await deployment.start(plan(step))
    outcome = (await deployment.settled(started)).outcome
    assert_ended(outcome, TurnState.ERROR, Reason.PROVIDER_ERROR, woken_by=RESTING_WAKES)
    assert outcome.failure is not None
    assert (outcome.failure.code, outcome.failure.fault) == (code, fault), outcome.failure
    assert outcome.failure.message
    assert outcome.failure.next_step
    thread = await deployment.keeper.thread(started.thread_id)
    assert (thread.status, thread.last_error) == (SessionStatus.ERROR, outcome.failure.message)
    again = await deployment.settled(await deployment.start("go on", thread=started.thread_id))
    assert_ended(again.outcome, TurnState.COMPLETED, Reason.FINISHED)


async def test_a_passing_failure_only_takes_time(deployment: Deployment) -> None:
    # All at once, because OpenCode waits 2 s before each retry.
    results = await asyncio.gather(*(deployment.run(plan(step, DONE)) for step in PASSING.values()))
    for name, result in zip(PASSING, results, strict=True):
        assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED)
        assert result.outcome.text.endswith("all done"), name


async def test_the_output_limit_truncates_the_answer(deployment: Deployment) -> None:
    result = await deployment.run(plan({"kind": "finish", "reason": "length", "tokens": 2}))
    assert_ended(result.outcome, TurnState.COMPLETED, Reason.TRUNCATED)
    assert result.outcome.text == "tok0 tok1 "


async def test_a_full_context_is_compacted_and_answered(deployment: Deployment) -> None:
    message = "This model's maximum context length is 8192 tokens"
    overflow: Step = {"kind": "http", "status": 400, "code": "context_length_exceeded", "message": message}
    result = await deployment.run(plan(overflow, DONE))
    assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED)
    assert result.session_id is not None
    messages = await deployment.session(result.session_id).messages()
    assert any(part["type"] == "compaction" for message in messages for part in message["parts"])
    # The answer hangs under a message of OpenCode's own, and is found all the same.
    answer = next(message["info"] for message in messages if message["info"]["id"] == result.outcome.message_id)
    assert answer["parentID"] != result.client_message_id
