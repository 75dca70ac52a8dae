"""The scripted model's own HTTP, asked directly: routes, wrong requests, counters, and what the wire carries."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import JsonValue

from tests.e2e.waiting import until_true
from turnkeeper.dev.errors import PortInUseError
from turnkeeper.dev.model import MAX_RECORDED, ScriptedModel, StreamState
from turnkeeper.dev.model_process import ModelProcess
from turnkeeper.dev.script import Script

STREAMS = 60
"""Concurrent streams the model must carry; as many turns as the largest benchmark runs at once."""


@pytest.fixture(scope="module")
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as model:
        yield model


@pytest.fixture(scope="module")
async def client(model: ScriptedModel) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=STREAMS * 2)
    async with httpx.AsyncClient(base_url=model.base_url, timeout=20, trust_env=False, limits=limits) as client:
        yield client


def body(prompt: str, *, stream: bool = True) -> dict[str, JsonValue]:
    return {"model": "scripted", "stream": stream, "messages": [{"role": "user", "content": prompt}]}


def plan(*steps: dict[str, JsonValue]) -> str:
    return f"<<<{json.dumps(steps)}>>>"


async def ask(client: httpx.AsyncClient, prompt: str, *, stream: bool = True, session: str = "") -> httpx.Response:
    headers = {"x-session-id": session} if session else {}
    return await client.post("/chat/completions", json=body(prompt, stream=stream), headers=headers)


def events(answer: httpx.Response) -> list[str]:
    return [line.removeprefix("data: ") for line in answer.text.splitlines() if line]


async def test_a_stream_ends_with_usage_and_done(client: httpx.AsyncClient) -> None:
    answer = await ask(client, plan({"kind": "text", "say": "a b", "input_tokens": 7}))
    assert answer.headers["content-type"] == "text/event-stream"
    *chunks, usage, done = events(answer)
    assert [json.loads(chunk)["choices"][0]["delta"].get("content") for chunk in chunks] == ["a ", "b", None]
    assert json.loads(usage)["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    assert done == "[DONE]"


async def test_without_stream_the_same_comes_as_one_completion(client: httpx.AsyncClient) -> None:
    call: dict[str, JsonValue] = {"kind": "tool", "name": "bash", "arguments": {"command": "ls"}, "say": "look"}
    answer: dict[str, Any] = (await ask(client, plan(call), stream=False)).json()
    (choice,) = answer["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", "look")
    assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]) == {"command": "ls"}
    assert answer["usage"]["prompt_tokens"] == 10


@pytest.mark.parametrize("stream", [True, False])
async def test_a_reset_is_a_reset(client: httpx.AsyncClient, *, stream: bool) -> None:
    with pytest.raises(httpx.TransportError):
        await ask(client, plan({"kind": "reset", "after": 1, "times": "always"}), stream=stream)


async def test_failing_steps_count_by_session_and_turn(client: httpx.AsyncClient) -> None:
    prompt = plan({"kind": "http", "status": 503, "times": 2, "retry_after": 1.5}, {"kind": "text"})
    first = await ask(client, prompt, session="ses_a")
    assert (first.status_code, first.headers["retry-after"]) == (503, "1.5")
    assert first.json()["error"]["message"] == "scripted failure"
    assert (await ask(client, prompt, session="ses_b")).status_code == 503
    assert (await ask(client, prompt, session="ses_a")).status_code == 503
    assert (await ask(client, prompt, session="ses_a")).status_code == 200
    assert (await ask(client, prompt, session="ses_b")).status_code == 503


async def test_a_client_that_hangs_up_is_counted(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    before = model.abandoned
    stall = body(plan({"kind": "stall", "after": 1}))

    def states() -> list[StreamState]:
        return [record.state for record in model.calls_of("ses_gone")]

    headers = {"x-session-id": "ses_gone"}
    async with client.stream("POST", "/chat/completions", json=stall, headers=headers) as answer:
        await anext(answer.aiter_lines())
        assert model.live == 1
        assert states() == [StreamState.LIVE]
    await until_true(lambda: model.live == 0)
    assert model.abandoned == before + 1
    assert states() == [StreamState.ABANDONED]


async def test_sixty_slow_streams_keep_their_pace(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    prompt = plan({"kind": "text", "tokens": 20, "interval": 0.05})
    answers = await asyncio.gather(*(ask(client, prompt) for _ in range(STREAMS)))
    # Ideal 0.95 s; the client of this test shares the thread and costs more than the model.
    assert loop.time() - started < 4
    assert {len(events(answer)) for answer in answers} == {23}
    assert model.live == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "Not a chat completion request"),
        (b'{"messages": []}', "messages: Tuple should have at least 1 item"),
        (json.dumps(body('<<<[{"kind": "sing"}]>>>')).encode(), "Kinds: text"),
    ],
)
async def test_a_wrong_request_is_answered_400(client: httpx.AsyncClient, content: bytes, said: str) -> None:
    answer = await client.post("/chat/completions", content=content)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


async def test_other_routes(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    assert [entry["id"] for entry in (await client.get("/models")).json()["data"]] == ["scripted"]
    root = model.base_url.removesuffix("/v1")
    assert (await client.get(f"{root}/healthz")).json()["healthy"] is True
    missing = await client.get(f"{root}/nothing")
    assert missing.status_code == 404
    assert "It has POST /v1/chat/completions" in missing.json()["error"]["message"]


async def test_noise_on_the_port_does_no_harm(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", model.port)
    writer.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
    assert await reader.read() == b""
    writer.close()
    assert (await client.get("/models")).status_code == 200


async def test_records_are_bounded(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    await ask(client, "hello", session="ses_r")
    assert model.requests.maxlen == MAX_RECORDED
    assert [record.call.prompt for record in model.calls_of("ses_r")] == ["hello"]


async def test_a_script_file_decides_where_the_prompt_has_no_plan(tmp_path: Path) -> None:
    file = tmp_path / "script.json"
    file.write_text(json.dumps([{"match": "release", "steps": [{"kind": "text", "say": "shipped"}]}]))
    async with ScriptedModel(script=Script.from_file(file)) as model, httpx.AsyncClient(trust_env=False) as client:
        address = f"{model.base_url}/chat/completions"
        answer = await client.post(address, json=body("make a release", stream=False))
        assert answer.json()["choices"][0]["message"]["content"] == "shipped"


async def test_a_port_in_use_names_the_setting(model: ScriptedModel) -> None:
    with pytest.raises(PortInUseError, match=f"Port {model.port} .*setting: model port"):
        await ScriptedModel(port=model.port).start()


async def test_as_a_process_it_starts_answers_and_stops(tmp_path: Path) -> None:
    process = ModelProcess(log=tmp_path / "model.log", directory=tmp_path)
    await process.start()
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{process.base_url}/models")).status_code == 200
    await process.stop()
    assert process.process.exit_code == 0


async def test_as_a_process_it_refuses_a_wrong_script_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "script.json"
    file.write_text("[1]")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "turnkeeper.dev.model", "--script", str(file), stderr=asyncio.subprocess.PIPE
    )
    _, complaint = await process.communicate()
    assert process.returncode == 2
    assert b"is wrong" in complaint
    assert complaint.count(b"\n") == 1
