"""The driver's verbs: what each report says when OpenCode answers, refuses, is slow, or is not there."""

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
    no_content,
    not_found,
    prompt,
    reply,
    session,
    web_page,
)
from turnkeeper.errors import RefusedError
from turnkeeper.observations import (
    AbortRequest,
    Accepted,
    AdmitRequest,
    NotSent,
    NotThere,
    PerhapsSent,
    PromptRequest,
    Refused,
    SessionBusy,
    SessionMissing,
    SessionOpened,
    SessionReport,
    SessionRequest,
    SubmitReport,
    Unreachable,
)

READ_MESSAGE = f"GET /session/{SESSION}/message/{MESSAGE}"
READ_SESSION = f"GET /session/{SESSION}"
LIST = f"GET /session/{SESSION}/message"
POST = f"POST /session/{SESSION}/prompt_async"
CREATE = "POST /session"
SEARCH = "GET /session"
DESCRIBE = f"PATCH /session/{SESSION}"
STATUS = "GET /session/status"
ABORT = f"POST /session/{SESSION}/abort"
MARK = {"turnkeeper": {"thread": "t1", "namespace": "n", "creation": "c1"}}


async def submit(
    routes: Mapping[str, Route], *, fresh_session: bool = False, withdraw: tuple[str, ...] = (), **settings: object
) -> tuple[SubmitReport, PaperOpenCode]:
    driver, paper = driver_of(routes, **settings)
    request = PromptRequest(
        endpoint="paper",
        directory=DIRECTORY,
        session_id=SESSION,
        message_id=MESSAGE,
        prompt="go",
        fresh_session=fresh_session,
        withdraw=withdraw,
    )
    return await driver.submit(request), paper


async def open_session(routes: Mapping[str, Route], **fields: object) -> tuple[SessionReport, PaperOpenCode]:
    driver, paper = driver_of(routes)
    given: dict[str, Any] = {
        "endpoint": "paper",
        "thread_id": "t1",
        "namespace": "n",
        "directory": DIRECTORY,
        "session_id": None,
        "creation_key": "c1",
        **fields,
    }
    return await driver.open_session(SessionRequest.model_validate(given)), paper


# --- submit: a prompt is sent once, and what is known of it is said exactly


async def test_a_prompt_that_was_taken_is_not_known_to_be_stored() -> None:
    report, paper = await submit({READ_MESSAGE: not_found(), POST: no_content()})
    assert report == PerhapsSent(taken=True)
    assert paper.calls() == [READ_MESSAGE, POST]


async def test_a_session_that_was_made_for_the_prompt_is_not_searched_for_it() -> None:
    report, paper = await submit({READ_MESSAGE: as_json(prompt()), POST: no_content()}, fresh_session=True)
    assert report == PerhapsSent(taken=True)
    assert paper.calls() == [POST]


async def test_a_prompt_that_is_there_is_not_sent() -> None:
    report, paper = await submit({READ_MESSAGE: as_json(prompt()), POST: no_content()})
    assert report == Accepted()
    assert POST not in paper.calls()


DELETE = f"DELETE /session/{SESSION}/message/{MESSAGE}"
IDLE: dict[str, Route] = {STATUS: as_json({})}


async def test_a_prompt_that_an_earlier_turn_left_unanswered_is_withdrawn_and_sent_under_its_id() -> None:
    routes = {**IDLE, LIST: as_json([prompt()]), DELETE: as_json(True), READ_MESSAGE: not_found(), POST: no_content()}  # noqa: FBT003 - an answer's body
    report, paper = await submit(routes, withdraw=(MESSAGE,))
    assert report == PerhapsSent(taken=True)
    assert paper.calls() == [STATUS, LIST, DELETE, READ_MESSAGE, POST]
    assert paper.bodies(POST)[0]["messageID"] == MESSAGE


async def test_a_prompt_that_was_answered_after_all_is_left_and_not_sent_again() -> None:
    answered = {**IDLE, LIST: as_json([prompt(), reply("msg_a")]), READ_MESSAGE: as_json(prompt())}
    report, paper = await submit(answered, withdraw=(MESSAGE,))
    assert report == Accepted()
    assert paper.calls() == [STATUS, LIST, READ_MESSAGE]


async def test_a_prompt_whose_session_is_at_work_is_not_touched() -> None:
    """Perhaps on that very prompt, though nothing of its answer is stored."""
    busy = {STATUS: as_json({SESSION: {"type": "busy"}}), LIST: as_json([prompt()])}
    report, paper = await submit({**busy, DELETE: as_json(True), POST: no_content()}, withdraw=(MESSAGE,))  # noqa: FBT003 - an answer's body
    assert report == SessionBusy(session_id=SESSION)
    assert paper.calls() == [STATUS, LIST]


async def test_what_a_busy_session_does_not_give_back_keeps_the_prompt_here() -> None:
    busy = as_json({"_tag": "SessionBusyError", "sessionID": SESSION, "message": "Session is busy"}, 409)
    routes = {**IDLE, LIST: as_json([prompt()]), DELETE: busy, POST: no_content()}
    report, paper = await submit(routes, withdraw=(MESSAGE,))
    assert report == SessionBusy(session_id=SESSION)
    assert POST not in paper.calls()


async def test_what_may_still_be_there_after_it_was_withdrawn_is_not_sent_a_second_time() -> None:
    routes: dict[str, Route] = {
        **IDLE,
        LIST: as_json([prompt()]),
        DELETE: httpx.ReadTimeout("late"),
        POST: no_content(),
    }
    report, paper = await submit(routes, withdraw=(MESSAGE,))
    assert isinstance(report, NotSent)
    assert POST not in paper.calls()


@pytest.mark.parametrize(
    "answer", [httpx.ReadTimeout("late"), httpx.Response(500), httpx.RemoteProtocolError("cut"), web_page()]
)
async def test_a_prompt_whose_answer_was_lost_is_perhaps_sent(answer: httpx.Response | Exception) -> None:
    report, paper = await submit({READ_MESSAGE: not_found(), POST: answer})
    assert isinstance(report, PerhapsSent)
    assert not report.taken
    assert paper.calls().count(POST) == 1


async def test_what_never_left_us_is_not_sent() -> None:
    report, _ = await submit({READ_MESSAGE: not_found(), POST: httpx.ConnectError("refused")})
    assert isinstance(report, NotSent)
    assert report.failure.retryable


@pytest.mark.parametrize(
    "answer", [httpx.ConnectError("no"), httpx.ReadTimeout("late"), httpx.Response(500), web_page()]
)
async def test_without_a_first_look_nothing_is_sent(answer: httpx.Response | Exception) -> None:
    report, paper = await submit({READ_MESSAGE: answer, POST: no_content()})
    assert isinstance(report, NotSent)
    assert POST not in paper.calls()


async def test_a_prompt_for_a_session_that_is_gone() -> None:
    # OpenCode answers "message not found" there, too: only the post tells that it is the session.
    report, _ = await submit({READ_MESSAGE: not_found(), POST: not_found("Session")})
    assert report == NotThere(what="session")


async def test_a_refused_prompt_says_why() -> None:
    bad = as_json({"name": "BadRequest", "data": {"message": "Missing key"}}, 400)
    report, _ = await submit({READ_MESSAGE: not_found(), POST: bad})
    assert isinstance(report, Refused)
    assert "Missing key" in report.failure.message


async def test_a_delivery_is_bounded_as_a_whole() -> None:
    before, paper = driver_of({READ_MESSAGE: not_found(), POST: no_content()})
    paper.delay = 1.0
    request = PromptRequest(endpoint="paper", directory=DIRECTORY, session_id=SESSION, message_id=MESSAGE, prompt="go")
    assert isinstance(await before.submit(request, 0.1), NotSent)
    assert POST not in paper.calls()
    paper.delay = 0.07
    assert isinstance(await before.submit(request, 0.1), PerhapsSent)


# --- sessions


def created(directory: str = DIRECTORY) -> httpx.Response:
    return as_json(session(directory, metadata=MARK))


async def test_a_session_is_created_with_a_title_and_our_mark() -> None:
    report, paper = await open_session({CREATE: created()})
    assert report == SessionOpened(session_id=SESSION, created=True)
    assert paper.calls() == [CREATE]
    assert paper.bodies(CREATE) == [{"title": "Thread t1", "metadata": MARK}]


async def test_a_session_that_an_unanswered_try_created_is_found_instead_of_created_again() -> None:
    others = [session(metadata={"turnkeeper": {**MARK["turnkeeper"], "creation": "c0"}}), session(metadata=MARK)]
    report, paper = await open_session({SEARCH: as_json(others)}, perhaps_created=True)
    assert report == SessionOpened(session_id=SESSION)
    assert paper.calls() == [SEARCH]


async def test_a_try_that_created_nothing_is_repeated() -> None:
    report, paper = await open_session({SEARCH: as_json([session()]), CREATE: created()}, perhaps_created=True)
    assert report == SessionOpened(session_id=SESSION, created=True)
    assert paper.calls() == [SEARCH, CREATE]


async def test_nothing_is_created_while_the_search_is_not_answered() -> None:
    report, paper = await open_session({SEARCH: httpx.ReadTimeout("late"), CREATE: created()}, perhaps_created=True)
    assert isinstance(report, Unreachable)
    assert paper.calls() == [SEARCH]


async def test_a_session_created_in_another_directory_is_refused() -> None:
    report, _ = await open_session({CREATE: created("/elsewhere")})
    assert isinstance(report, Refused)
    assert report.failure.code == "foreign_directory"


async def test_resuming_reads_and_leaves_a_marked_session_alone() -> None:
    routes = {READ_SESSION: as_json(session(metadata=MARK)), STATUS: as_json({})}
    report, paper = await open_session(routes, session_id=SESSION)
    assert report == SessionOpened(session_id=SESSION)
    assert paper.calls() == [READ_SESSION, STATUS]


@pytest.mark.parametrize("status", [{"type": "busy"}, {"type": "retry", "attempt": 1, "message": "x", "next": 1}])
async def test_a_session_at_work_is_busy_and_one_that_cannot_be_asked_is_unreachable(status: dict[str, Any]) -> None:
    found = as_json(session(metadata=MARK))
    report, _ = await open_session({READ_SESSION: found, STATUS: as_json({SESSION: status})}, session_id=SESSION)
    assert report == SessionBusy(session_id=SESSION)
    report, _ = await open_session({READ_SESSION: found, STATUS: as_json({"ses_other": status})}, session_id=SESSION)
    assert report == SessionOpened(session_id=SESSION)
    report, _ = await open_session({READ_SESSION: found, STATUS: httpx.Response(500)}, session_id=SESSION)
    assert isinstance(report, Unreachable)


async def test_resuming_adopts_a_session_and_keeps_what_others_wrote() -> None:
    routes = {READ_SESSION: as_json(session(metadata={"theirs": 1})), DESCRIBE: as_json(session()), STATUS: as_json({})}
    _, paper = await open_session(routes, session_id=SESSION)
    assert paper.bodies(DESCRIBE) == [{"metadata": {"theirs": 1, **MARK}}]


async def test_only_a_confirmed_absence_is_a_missing_session() -> None:
    report, _ = await open_session({READ_SESSION: not_found("Session")}, session_id=SESSION)
    assert report == SessionMissing()
    for answer in (web_page(), httpx.Response(404), httpx.Response(500), httpx.ConnectError("no")):
        report, _ = await open_session({READ_SESSION: answer}, session_id=SESSION)
        assert isinstance(report, Unreachable)


async def test_resuming_a_session_of_another_directory_is_refused() -> None:
    report, _ = await open_session({READ_SESSION: as_json(session("/elsewhere"))}, session_id=SESSION)
    assert isinstance(report, Refused)
    routes = {READ_SESSION: as_json(session(f"{DIRECTORY}/", metadata=MARK)), STATUS: as_json({})}
    same, _ = await open_session(routes, session_id=SESSION)
    assert isinstance(same, SessionOpened)


@pytest.mark.parametrize(("field", "name"), [("model", "stub/absent"), ("agent", "absent")])
async def test_an_unknown_name_is_refused_before_anything_is_created(field: str, name: str) -> None:
    report, paper = await open_session({CREATE: created()}, **{field: name})
    assert isinstance(report, Refused)
    assert report.failure.code == f"unknown_{field}"
    assert ("stub/stub" if field == "model" else "build") in report.failure.next_step
    assert CREATE not in paper.calls()


async def test_names_are_asked_for_once_a_minute() -> None:
    driver, paper = driver_of({})
    for _ in range(3):
        await driver.check_start(AdmitRequest(endpoint="paper", directory=DIRECTORY, model="stub/stub", agent="build"))
    assert sorted(paper.calls()) == ["GET /agent", "GET /config/providers"]


# --- checking a start


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"model": "stub/absent"}, "unknown_model"),
        ({"agent": "absent"}, "unknown_agent"),
    ],
)
async def test_a_start_that_must_fail_is_refused(fields: dict[str, str], code: str) -> None:
    driver, _ = driver_of({})
    with pytest.raises(RefusedError) as caught:
        await driver.check_start(AdmitRequest.model_validate({"endpoint": "p", "directory": DIRECTORY, **fields}))
    assert caught.value.detail_code == code


@pytest.mark.parametrize("answer", [web_page(), httpx.Response(500), httpx.ConnectError("no"), httpx.Response(401)])
async def test_a_provider_that_cannot_be_asked_refuses_nothing(answer: httpx.Response | Exception) -> None:
    driver, _ = driver_of({"GET /config/providers": answer})
    await driver.check_start(AdmitRequest(endpoint="p", directory=DIRECTORY, model="a/b"))


# --- abort


async def test_an_abort_takes_a_child_along_that_outlived_its_parent() -> None:
    child = session() | {"id": "ses_child", "parentID": SESSION}
    driver, paper = driver_of(
        {
            ABORT: as_json(body=True),
            STATUS: as_json({"ses_child": {"type": "busy"}}),
            f"{READ_SESSION}/children": as_json([child]),
            "GET /session/ses_child/children": as_json([]),
            "POST /session/ses_child/abort": as_json(body=True),
            "GET /permission": as_json([]),
            "GET /question": as_json([]),
        }
    )
    report = await driver.abort(AbortRequest(endpoint="p", directory=DIRECTORY, session_id=SESSION))
    assert (report.sent, report.failure) == (True, None)
    assert "POST /session/ses_child/abort" in paper.calls()


async def test_an_abort_says_whether_it_was_sent() -> None:
    request = AbortRequest(endpoint="p", directory=DIRECTORY, session_id=SESSION)
    driver, _ = driver_of({ABORT: httpx.ConnectError("no")})
    lost = await driver.abort(request)
    assert not lost.sent
    assert lost.failure is not None
    driver, _ = driver_of({ABORT: as_json(body=True), STATUS: httpx.Response(500)})
    assert (await driver.abort(request)).sent
