"""Reading a session that became idle: the end of its newest prompt's run, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tests.unit.opencode_on_paper import (
    DIRECTORY,
    MESSAGE,
    SESSION,
    PaperOpenCode,
    Route,
    as_json,
    driver_of,
    not_found,
    prompt,
    reply,
    web_page,
)
from turnkeeper.observations import Reading
from turnkeeper.vocabulary import Standing

LIST = f"GET /session/{SESSION}/message"
STATUS = "GET /session/status"
BUSY = as_json({SESSION: {"type": "busy"}})
IDLE = as_json({})
STEP = {"id": "prt_4", "type": "step-start"}
ANSWERED = (prompt(), reply("msg_2", finish="stop"))


async def read(routes: Mapping[str, Route]) -> tuple[Reading | None, PaperOpenCode]:
    driver, paper = driver_of(routes)
    return await driver.read_ended(DIRECTORY, SESSION, text_limit=100), paper


async def read_messages(*messages: Any, status: httpx.Response = IDLE) -> Reading | None:  # noqa: ANN401 - as on the wire
    return (await read({STATUS: status, LIST: as_json(messages)}))[0]


async def test_an_ended_run_costs_two_calls_status_first() -> None:
    found, paper = await read({STATUS: IDLE, LIST: as_json(ANSWERED)})
    assert found is not None
    assert (found.session_id, found.message_id, found.text_limit) == (SESSION, MESSAGE, 100)
    assert (found.seen.standing, found.seen.text, found.seen.message_id) == (Standing.SUCCEEDED, "done", "msg_2")
    assert paper.calls() == [STATUS, LIST]
    assert paper.requests[0].url.params["directory"] == DIRECTORY


@pytest.mark.parametrize(
    ("last", "standing"),
    [
        (reply("msg_2", finish="length"), Standing.TRUNCATED),
        (reply("msg_2", error={"name": "APIError", "data": {"message": "no"}}), Standing.FAILED),
    ],
)
async def test_it_tells_every_end_that_is_one_for_good(last: object, standing: Standing) -> None:
    found = await read_messages(prompt(), last)
    assert found is not None
    assert found.seen.standing is standing


@pytest.mark.parametrize(
    "last",
    [
        reply("msg_2", time={"created": 1}),
        reply("msg_2", finish="tool-calls"),
        reply("msg_2", error={"name": "MessageAbortedError", "data": {"message": ""}}),
    ],
    ids=["before its last word", "between two steps", "aborted"],
)
async def test_an_end_that_needs_a_second_look_or_may_be_ours_is_none(last: object) -> None:
    assert await read_messages(prompt(), last) is None


async def test_a_session_at_work_has_no_end_whatever_its_messages_say() -> None:
    assert await read_messages(*ANSWERED, status=BUSY) is None


async def test_an_open_tool_leaves_it_to_a_look() -> None:
    """That asks for its requests and its children too."""
    tool = {"id": "prt_3", "type": "tool", "tool": "bash", "callID": "c1", "state": {"status": "running"}}
    closed = {**tool, "state": {"status": "completed"}}
    assert await read_messages(prompt(), reply("msg_2", parts=[closed], finish="stop")) is not None
    assert await read_messages(prompt(), reply("msg_2", parts=[tool], finish="stop")) is None


@pytest.mark.parametrize(
    "answer", [not_found("Session"), web_page(), httpx.Response(500), httpx.ConnectError("no"), httpx.Response(401)]
)
@pytest.mark.parametrize("call", [STATUS, LIST])
async def test_what_cannot_be_read_is_none(call: str, answer: httpx.Response | Exception) -> None:
    found, _ = await read({STATUS: IDLE, LIST: as_json(ANSWERED), call: answer})
    assert found is None


async def test_it_is_bounded_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnkeeper.opencode.driver.READ_SECONDS", 0.05)
    driver, paper = driver_of({STATUS: IDLE, LIST: as_json(ANSWERED)})
    paper.delay = 0.03
    assert await driver.read_ended(DIRECTORY, SESSION, text_limit=100) is None
    assert paper.calls() == [STATUS, LIST]


async def test_a_turn_that_is_longer_than_a_page_is_left_to_a_look() -> None:
    steps = [reply(f"msg_3{n}", finish="tool-calls", parts=[STEP]) for n in range(19)]
    page = as_json([*steps, reply("msg_4", finish="stop")], headers={"x-next-cursor": "1"})
    found, paper = await read({STATUS: IDLE, LIST: page})
    assert found is None
    assert paper.calls() == [STATUS, LIST]
    assert await read_messages() is None


async def test_it_is_of_the_newest_prompt_that_somebody_posted() -> None:
    newest, synthetic = prompt("msg_3"), prompt("msg_5")
    synthetic["parts"][0]["synthetic"] = True
    earlier = [prompt("msg_0"), reply("msg_1", parentID="msg_0", finish="stop"), *ANSWERED]
    assert await read_messages(*earlier, newest) is None, "it was not answered yet"
    answer = reply("msg_4", parentID="msg_3", finish="stop", parts=[{"id": "p", "type": "text", "text": "newest"}])
    for messages in ([*earlier, newest, answer], [*earlier, newest, answer, synthetic]):
        found = await read_messages(*messages)
        assert found is not None
        assert (found.message_id, found.seen.text) == ("msg_3", "newest")


async def test_a_reading_that_is_too_big_to_be_told_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    found = await read_messages(*ANSWERED)
    assert found is not None
    size = len(found.model_dump_json().encode())
    for limit, told in ((size, True), (size - 1, False)):
        monkeypatch.setattr("turnkeeper.opencode.driver.MAX_READING_BYTES", limit)
        assert (await read_messages(*ANSWERED) is not None) is told
