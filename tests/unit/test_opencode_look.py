"""Looking: the status first, as few calls as will do, and back to the prompt however long the list is."""

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
    session,
    web_page,
)
from turnkeeper.observations import LookRequest, NotThere, Observation, Seen, Unreachable
from turnkeeper.vocabulary import Standing

READ_MESSAGE = f"GET /session/{SESSION}/message/{MESSAGE}"
READ_SESSION = f"GET /session/{SESSION}"
LIST = f"GET /session/{SESSION}/message"
STATUS = "GET /session/status"
HEALTH = "GET /global/health"
BUSY = as_json({SESSION: {"type": "busy"}})
NOTHING = as_json({})


async def look(routes: Mapping[str, Route], **settings: object) -> tuple[Observation, PaperOpenCode]:
    driver, paper = driver_of(routes, **settings)
    request = LookRequest(endpoint="paper", directory=DIRECTORY, session_id=SESSION, message_id=MESSAGE, text_limit=100)
    return await driver.look(request), paper


async def test_a_settled_turn_costs_two_calls_status_first() -> None:
    found, paper = await look({STATUS: NOTHING, LIST: as_json([prompt(), reply("msg_2", finish="stop")])})
    assert isinstance(found, Seen)
    assert (found.standing, found.text) == (Standing.SUCCEEDED, "done")
    assert paper.calls() == [STATUS, LIST]
    assert paper.requests[0].url.params["directory"] == DIRECTORY


OPEN_BASH = {"id": "prt_3", "type": "tool", "tool": "bash", "callID": "c1", "state": {"status": "running"}}
OPEN_TASK = {**OPEN_BASH, "tool": "task", "state": {"status": "running", "metadata": {"sessionId": "ses_child"}}}
UNFINISHED = {"time": {"created": 1}}


async def test_an_open_tool_makes_it_ask_for_requests() -> None:
    asked = {"id": "per_1", "sessionID": SESSION, "permission": "bash", "patterns": ["ls"], "tool": {"callID": "c1"}}
    found, paper = await look(
        {
            STATUS: BUSY,
            LIST: as_json([prompt(), reply("msg_2", parts=[OPEN_BASH], **UNFINISHED)]),
            "GET /permission": as_json([asked]),
            "GET /question": as_json([]),
        }
    )
    assert isinstance(found, Seen)
    assert found.standing is Standing.WAITING
    assert all(request.url.params["directory"] == DIRECTORY for request in paper.requests[2:])


async def test_a_request_of_a_grandchild_makes_the_turn_wait() -> None:
    child = session() | {"id": "ses_child", "parentID": SESSION}
    grandchild = session() | {"id": "ses_grandchild", "parentID": "ses_child"}
    busy = {"type": "busy"}
    found, paper = await look(
        {
            STATUS: as_json({SESSION: busy, "ses_child": busy, "ses_grandchild": busy, "ses_foreign": busy}),
            LIST: as_json([prompt(), reply("msg_2", parts=[OPEN_TASK], **UNFINISHED)]),
            f"{READ_SESSION}/children": as_json([child]),
            "GET /session/ses_child/children": as_json([grandchild]),
            "GET /session/ses_grandchild/children": not_found("Session"),
            "GET /permission": as_json([]),
            "GET /question": as_json(
                [{"id": "que_1", "sessionID": "ses_grandchild", "questions": [{"question": "?"}]}]
            ),
        }
    )
    assert isinstance(found, Seen)
    assert found.standing is Standing.WAITING
    assert len(paper.calls()) == 7


async def test_a_session_that_is_gone_is_confirmed_by_the_provider_alone() -> None:
    gone, _ = await look({STATUS: NOTHING, LIST: not_found("Session")})
    assert gone == NotThere(what="session")
    for answer in (web_page(), httpx.Response(404), httpx.Response(500), httpx.ConnectError("no"), httpx.Response(401)):
        found, _ = await look({STATUS: NOTHING, LIST: answer})
        assert isinstance(found, Unreachable)
        found, _ = await look({STATUS: answer, LIST: as_json([prompt()])})
        assert isinstance(found, Unreachable)


async def test_a_look_is_bounded_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnkeeper.opencode.driver.LOOK_SECONDS", 0.05)
    driver, paper = driver_of({STATUS: NOTHING})
    paper.delay = 1.0
    request = LookRequest(endpoint="paper", directory=DIRECTORY, session_id=SESSION, message_id=MESSAGE, text_limit=9)
    found = await driver.look(request)
    assert isinstance(found, Unreachable)
    assert found.failure.code == "provider_timeout"


async def test_a_server_that_was_away_is_asked_whether_it_is_up_before_it_opens_a_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("turnkeeper.opencode.driver.KNOCK_SECONDS", 0.05)
    routes = {HEALTH: as_json({"healthy": True, "version": "1.18.33"}), STATUS: NOTHING, LIST: as_json([prompt()])}
    driver, paper = driver_of(routes)
    request = LookRequest(
        endpoint="paper", directory=DIRECTORY, session_id=SESSION, message_id=MESSAGE, text_limit=9, knock=True
    )
    assert isinstance(await driver.look(request), Seen)
    assert paper.calls()[:2] == [HEALTH, STATUS]
    paper.delay = 1.0
    found = await driver.look(request)
    assert isinstance(found, Unreachable)
    assert found.failure.code == "provider_timeout"
    assert paper.calls()[-1] == HEALTH


def pages(*bodies: list[Any]) -> Route:
    """The newest page first; each cursor is the number of the next."""

    def answer(request: httpx.Request) -> httpx.Response:
        number = int(request.url.params.get("before", 0))
        last = number + 1 >= len(bodies)
        return as_json(bodies[number], headers={} if last else {"x-next-cursor": str(number + 1)})

    return answer


STEP = {"id": "prt_4", "type": "step-start"}


async def test_a_long_turn_is_paged_back_to_its_prompt() -> None:
    newest = [reply(f"msg_3{n}", finish="tool-calls") for n in range(3)] + [reply("msg_4", finish="stop")]
    older = [
        prompt("msg_0"),
        reply("msg_1", parentID="msg_0"),
        prompt(),
        reply("msg_2", finish="tool-calls", parts=[STEP]),
    ]
    routes = {STATUS: NOTHING, LIST: pages(newest, older, [prompt("msg_00")]), READ_MESSAGE: as_json(prompt())}
    found, paper = await look(routes)
    assert isinstance(found, Seen)
    assert (found.standing, found.usage.model_calls) == (Standing.SUCCEEDED, 1)
    assert "5 assistant messages" in found.detail
    assert paper.calls() == [STATUS, LIST, READ_MESSAGE, LIST]


async def test_an_absent_prompt_of_a_long_session_costs_three_calls() -> None:
    listing = pages([prompt("msg_1")], [prompt("msg_0")])
    found, paper = await look({STATUS: BUSY, LIST: listing, READ_MESSAGE: not_found()})
    assert found == NotThere(what="prompt", busy=True)
    assert paper.calls() == [STATUS, LIST, READ_MESSAGE]


async def test_an_endless_turn_is_seen_by_its_prompt_and_its_newest_messages() -> None:
    endless = pages(*([reply(f"msg_{n}", finish="tool-calls")] for n in range(500)))
    found, paper = await look({STATUS: BUSY, LIST: endless, READ_MESSAGE: as_json(prompt())})
    assert isinstance(found, Seen)
    assert found.standing is Standing.RUNNING
    assert len(paper.calls()) < 15


async def test_a_prompt_stored_since_the_first_page_was_read_is_seen_alone() -> None:
    older = prompt("msg_0", created=1)
    routes = {STATUS: NOTHING, LIST: pages([older], [older]), READ_MESSAGE: as_json(prompt(created=5))}
    found, _ = await look(routes)
    assert isinstance(found, Seen)
    assert found.standing is Standing.UNSTARTED


async def test_a_list_poisoned_by_a_json_schema_is_read_past_the_poison() -> None:
    poison = as_json({"name": "BadRequest", "data": {"message": "Expected OutputFormatJsonSchema"}}, 400)
    answer = reply("msg_2", finish="tool-calls", structured={"answer": 4})

    def listing(request: httpx.Request) -> httpx.Response:
        newest = request.url.params["limit"] == "1" and "before" not in request.url.params
        return as_json([answer], headers={"x-next-cursor": "1"}) if newest else poison

    found, _ = await look({STATUS: NOTHING, LIST: listing, READ_MESSAGE: poison})
    assert isinstance(found, Seen)
    assert found.standing is Standing.SUCCEEDED
    nothing_reads, _ = await look({STATUS: NOTHING, LIST: poison})
    assert isinstance(nothing_reads, Unreachable)


# Too much to be read.


def sized(**limited: int) -> Route:
    """Pages of more than `most` messages are too big to be read; of older ones none at all, if `older` is 0."""

    def answer(request: httpx.Request) -> httpx.Response:
        limit = int(request.url.params["limit"])
        most = limited["older"] if "before" in request.url.params else limited["newest"]
        many = "x" * 100_000 if limit > most else ""
        return as_json([reply("msg_9", finish="stop", parts=[{"type": "text", "text": many or "done"}])], headers=OLDER)

    return answer


OLDER = {"x-next-cursor": "1"}
SMALL_ANSWERS = {"max_response_bytes": 64 * 1024}


async def test_a_page_that_is_too_big_is_asked_for_with_fewer_messages() -> None:
    routes = {STATUS: NOTHING, LIST: sized(newest=5, older=0), READ_MESSAGE: as_json(prompt())}
    found, paper = await look(routes, **SMALL_ANSWERS)
    assert isinstance(found, Seen)
    assert (found.standing, found.text) == (Standing.SUCCEEDED, "done")
    lists = [request.url.params for request in paper.requests if request.url.path.endswith("/message")]
    assert [(asked["limit"], asked.get("before")) for asked in lists] == [
        ("20", None),
        ("5", None),
        ("100", "1"),
        ("20", "1"),
    ]


async def test_a_message_that_is_too_big_alone_says_nothing_of_the_turn() -> None:
    found, _ = await look({STATUS: NOTHING, LIST: sized(newest=0, older=0)}, **SMALL_ANSWERS)
    assert isinstance(found, Unreachable)
    assert found.failure.code == "provider_answer_too_big"
    assert "max_response_bytes" in found.failure.next_step


async def test_a_look_ends_where_it_has_read_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnkeeper.opencode.window.MAX_LOOK_BYTES", 1)
    routes = {STATUS: NOTHING, LIST: sized(newest=20, older=100), READ_MESSAGE: as_json(prompt())}
    found, paper = await look(routes)
    assert isinstance(found, Seen)
    assert found.standing is Standing.SUCCEEDED
    assert paper.calls().count(LIST) == 1


@pytest.mark.parametrize("body", ["[" + "1," * 1_000_001 + "1]", "[" + '{"a":1},' * 100_000 + '{"a":1}]'])
async def test_an_answer_that_is_big_in_memory_alone_is_not_made_sense_of(body: str) -> None:
    answer = httpx.Response(200, content=body, headers={"content-type": "application/json"})
    found, _ = await look({STATUS: NOTHING, LIST: answer})
    assert isinstance(found, Unreachable)
    assert found.failure.code == "provider_answer_too_big"


async def test_braces_in_a_text_are_no_objects() -> None:
    code = reply("msg_2", finish="stop", parts=[{"type": "text", "text": '{"a"}' * 100_001}])
    found, _ = await look({STATUS: NOTHING, LIST: as_json([prompt(), code])})
    assert isinstance(found, Seen)


async def test_long_words_of_a_provider_end_where_nobody_reads_on() -> None:
    for answer in (
        httpx.Response(500, json={"message": "x" * 1_000_000}),
        httpx.Response(200, headers={"content-type": "text/" + "x" * 10_000}),
    ):
        found, _ = await look({STATUS: NOTHING, LIST: answer})
        assert isinstance(found, Unreachable)
        assert len(found.failure.message) < 300
