"""The scripted model behind a real OpenCode: every kind of step, seen in OpenCode's own message list."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from httpx_sse import aconnect_sse
from pydantic import JsonValue

from tests.e2e.bare_session import BareSession, Message, answer_text, error_name, tools
from tests.e2e.waiting import DEADLINE, until_true
from turnkeeper.dev.conversation import Purpose
from turnkeeper.dev.model import ScriptedModel
from turnkeeper.dev.opencode_server import OpenCodeServer

DONE: dict[str, JsonValue] = {"kind": "text", "say": "all done"}


def plan(*steps: dict[str, JsonValue]) -> str:
    return f"go <<<{json.dumps(steps)}>>>"


@pytest.fixture(scope="session")
async def client(opencode: OpenCodeServer) -> AsyncIterator[httpx.AsyncClient]:
    async with opencode.client() as client:
        yield client


@pytest.fixture
async def session(client: httpx.AsyncClient, workspace: Path) -> BareSession:
    return await BareSession.create(client, workspace)


async def test_a_prompt_without_a_plan_gets_a_plain_answer(session: BareSession) -> None:
    answer = await session.run("hello")
    assert answer_text(answer).startswith("scripted model: you said")
    assert answer["info"]["finish"] == "stop"


async def test_plain_words_write_a_file(session: BareSession, workspace: Path) -> None:
    answer = await session.run("write words.txt: some text\nand more")
    assert (workspace / "words.txt").read_text() == "some text\nand more\n"
    assert "words.txt" in answer_text(answer)
    assert [message["info"]["role"] for message in await session.messages()] == ["user", "assistant", "assistant"]


async def test_plain_words_run_a_command_and_repeat_its_output(session: BareSession) -> None:
    answer = await session.run("bash: printf '%s' forty-two")
    assert "forty-two" in answer_text(answer)


async def test_a_plan_takes_one_step_for_each_call(session: BareSession, workspace: Path) -> None:
    write: dict[str, JsonValue] = {
        "kind": "tool",
        "name": "write",
        "arguments": {"filePath": "planned.txt", "content": "x"},
    }
    command: dict[str, JsonValue] = {"name": "bash", "arguments": {"command": "cat planned.txt"}}
    answer = await session.run(plan(write, {"kind": "tool", "calls": [command, command]}, DONE))
    assert answer_text(answer) == "all done"
    assert (workspace / "planned.txt").read_text() == "x"
    first, second = (await session.messages())[1:3]
    assert [part["tool"] for part in tools(first)] == ["write"]
    assert [part["state"]["status"] for part in tools(second)] == ["completed", "completed"]


async def test_a_second_turn_starts_its_own_plan(session: BareSession) -> None:
    await session.run(plan({"kind": "text", "say": "first"}))
    assert answer_text(await session.run(plan({"kind": "text", "say": "second"}))) == "second"
    assert answer_text(await session.run("and now?")).startswith("scripted model: you said")


async def test_a_title_call_takes_no_step(
    client: httpx.AsyncClient, workspace: Path, scripted_model: ScriptedModel
) -> None:
    session = await BareSession.create(client, workspace, title="")
    answer = await session.run(plan({"kind": "text", "say": "only step"}))
    assert answer_text(answer) == "only step"
    await until_true(lambda: scripted_model.calls_of(session.id, purpose=Purpose.TITLE))
    assert len(scripted_model.calls_of(session.id)) == 1


async def test_a_command_that_asks_waits_for_the_permission(session: BareSession) -> None:
    await session.prompt(plan({"kind": "tool", "name": "bash", "arguments": {"command": "echo ask me"}}, DONE))
    request = await session.until_pending("permission")
    assert await session.status() == "busy"
    await session.reply("permission", request["id"], {"reply": "once"})
    messages = await session.until(lambda messages: answer_text(messages[-1]) == "all done")
    assert tools(messages[1])[0]["state"]["output"].strip() == "ask me"


async def test_a_question_waits_for_its_answer(session: BareSession) -> None:
    await session.prompt("ask Which colour? red, green")
    request = await session.until_pending("question")
    asked = request["questions"][0]
    assert asked["question"] == "Which colour?"
    assert [option["label"] for option in asked["options"]] == ["red", "green"]
    await session.reply("question", request["id"], {"answers": [["green"]]})
    messages = await session.until(lambda messages: len(messages) == 3 and "finish" in messages[-1]["info"])
    assert "green" in answer_text(messages[-1])


async def test_a_sub_agent_follows_the_plan_in_its_own_prompt(session: BareSession) -> None:
    inner = plan(
        {"kind": "tool", "name": "bash", "arguments": {"command": "echo from the child"}},
        {"kind": "text", "say": "child result"},
    )
    answer = await session.run(f"sub-agent: {inner}")
    assert "child result" in answer_text(answer)
    (child,) = await session.children()
    assert child["parentID"] == session.id


async def test_a_stall_stays_busy_until_it_is_aborted(session: BareSession, scripted_model: ScriptedModel) -> None:
    abandoned = scripted_model.abandoned
    await session.prompt(plan({"kind": "stall", "after": 3}))
    await session.until(lambda messages: len(messages) == 2)
    await until_true(lambda: any(record.state == "live" for record in scripted_model.calls_of(session.id)))
    assert await session.status() == "busy"
    await session.abort()
    messages = await session.until(lambda messages: error_name(messages[-1]) is not None)
    assert error_name(messages[-1]) == "MessageAbortedError"
    await until_true(lambda: scripted_model.abandoned > abandoned)  # the client hung up, and the model noticed
    assert answer_text(await session.run("still there?")).startswith("scripted model: you said")


PASSING_FAILURES: dict[str, tuple[dict[str, JsonValue], int]] = {
    "429": ({"kind": "http", "status": 429, "retry_after": 0.1, "times": 2}, 3),
    "500": ({"kind": "http", "status": 500}, 2),
    "reset": ({"kind": "reset", "after": 2}, 2),
    "malformed": ({"kind": "malformed", "after": 1}, 2),
    "error_chunk": ({"kind": "error_chunk", "type": "server_error", "message": "overloaded"}, 2),
}
"""Step, and the model calls OpenCode makes until it is over."""


async def test_passing_failures_are_retried_by_opencode_and_then_over(
    client: httpx.AsyncClient, workspace: Path, scripted_model: ScriptedModel
) -> None:
    async def fail_once(step: dict[str, JsonValue]) -> tuple[Message, int]:
        session = await BareSession.create(client, workspace)
        return await session.run(plan(step, DONE)), len(scripted_model.calls_of(session.id))

    # All at once, because OpenCode waits 2 s before each retry.
    results = await asyncio.gather(*(fail_once(step) for step, _ in PASSING_FAILURES.values()))
    for (name, (_, calls)), (answer, seen) in zip(PASSING_FAILURES.items(), results, strict=True):
        assert answer_text(answer).endswith("all done"), name
        assert error_name(answer) is None, name
        assert seen == calls, name


@pytest.mark.parametrize(
    ("step", "name", "text"),
    [
        ({"kind": "http", "status": 401, "message": "no such key"}, "APIError", "no such key"),
        ({"kind": "http", "status": 400, "message": "bad thing"}, "APIError", "bad thing"),
        ({"kind": "error_chunk", "type": "invalid_request_error", "message": "no"}, "UnknownError", "no"),
        ({"kind": "finish", "reason": "content_filter"}, "ContentFilterError", ""),
        ({"kind": "text", "tokens": -1}, "APIError", "step 1 text tokens: Input should be greater than"),
        ({"kind": "sing"}, "APIError", "step 1: Input tag 'sing'"),
    ],
    ids=["401", "400", "error_chunk", "content_filter", "wrong plan", "unknown kind"],
)
async def test_a_lasting_failure_ends_the_turn(
    session: BareSession, step: dict[str, JsonValue], name: str, text: str
) -> None:
    answer = await session.run(plan(step))
    assert error_name(answer) == name
    assert text in answer["info"]["error"]["data"]["message"]


async def test_a_length_finish_is_no_error(session: BareSession) -> None:
    answer = await session.run(plan({"kind": "finish", "reason": "length", "tokens": 2}))
    assert (answer["info"]["finish"], answer_text(answer), error_name(answer)) == ("length", "tok0 tok1 ", None)


async def test_an_end_without_reason_makes_opencode_call_again(session: BareSession) -> None:
    answer = await session.run(plan({"kind": "eof", "after": 2}, DONE))
    assert answer_text(answer) == "all done"
    assert [message["info"].get("finish") for message in await session.messages()] == [None, "unknown", "stop"]


async def test_reasoning_comes_before_the_answer(session: BareSession) -> None:
    answer = await session.run(plan({"kind": "reasoning", "tokens": 3, "say": "so it is"}))
    reasoning = next(part for part in answer["parts"] if part["type"] == "reasoning")
    assert (reasoning["text"].strip(), answer_text(answer)) == ("tok0 tok1 tok2", "so it is")


async def test_a_full_context_is_compacted_and_answered(session: BareSession, scripted_model: ScriptedModel) -> None:
    overflow: dict[str, JsonValue] = {"kind": "http", "status": 400, "code": "context_length_exceeded"}
    await session.prompt(plan(overflow | {"message": "This model's maximum context length is 8192 tokens"}, DONE))
    messages = await session.until(lambda messages: len(messages) > 4 and "finish" in messages[-1]["info"])
    assert any(part["type"] == "compaction" for message in messages for part in message["parts"])
    assert len(scripted_model.calls_of(session.id, purpose=Purpose.COMPACTION)) == 1
    await session.until_idle()


async def test_tokens_arrive_one_event_each(session: BareSession, client: httpx.AsyncClient) -> None:
    deltas: list[str] = []
    async with aconnect_sse(client, "GET", "/global/event") as source, asyncio.timeout(DEADLINE):
        await session.prompt(plan({"kind": "text", "tokens": 4, "interval": 0.05}))
        async for event in source.aiter_sse():
            payload = event.json()["payload"]
            properties = payload.get("properties", {})
            if properties.get("sessionID") != session.id:
                continue
            if payload["type"] == "message.part.delta":
                deltas.append(properties["delta"])
            if payload["type"] == "session.idle":
                break
    assert deltas == ["tok0 ", "tok1 ", "tok2 ", "tok3 "]
