"""Answering OpenCode's permissions and questions, on paper: what each answer means, what an abort clears away."""

from __future__ import annotations

import httpx
import pytest

from tests.unit.opencode_on_paper import DIRECTORY, SECRETS, SESSION, PaperOpenCode, as_json, driver_of, session
from turnkeeper.limits import MAX_ANSWERS, MAX_OPTIONS, MAX_PATTERNS
from turnkeeper.observations import AbortRequest, Gone, Refused, Replied, Reply, ReplyRequest, Unreachable
from turnkeeper.opencode import asked
from turnkeeper.opencode.asked import open_request
from turnkeeper.opencode.driver import OpenCodeDriver
from turnkeeper.opencode.wire import PermissionRequest, QuestionRequest
from turnkeeper.vocabulary import PermissionReply

PERMISSION = "POST /permission/per_1/reply"
QUESTION = "POST /question/que_1/reply"
REJECT = "POST /question/que_1/reject"
ABORT = f"POST /session/{SESSION}/abort"
NO_SUCH = as_json({"_tag": "PermissionNotFoundError", "requestID": "per_1", "message": "not found: per_1"}, 404)


def request_of(reply: Reply, request_id: str = "per_1") -> ReplyRequest:
    kind = "permission" if request_id.startswith("per") else "question"
    return ReplyRequest.model_validate(
        {
            "endpoint": "p",
            "directory": DIRECTORY,
            "session_id": SESSION,
            "request_id": request_id,
            "kind": kind,
            "reply": reply,
        }
    )


@pytest.mark.parametrize(
    ("reply", "call", "body"),
    [
        (Reply(permission=PermissionReply.ALWAYS), PERMISSION, {"reply": "always"}),
        (Reply(permission=PermissionReply.REJECT), PERMISSION, {"reply": "reject"}),
        (
            Reply(permission=PermissionReply.REJECT, message="use ls"),
            PERMISSION,
            {"reply": "reject", "message": "use ls"},
        ),
        (Reply(answers=(("red",), ("S", "L"))), QUESTION, {"answers": [["red"], ["S", "L"]]}),
        (Reply(), REJECT, {}),
    ],
)
async def test_an_answer_goes_where_it_belongs(reply: Reply, call: str, body: object) -> None:
    driver, paper = driver_of({call: as_json(body=True)})
    request = request_of(reply, "per_1" if call == PERMISSION else "que_1")
    assert await driver.reply(request) == Replied()
    assert paper.bodies(call) == [body]
    # Another directory would make an open request look gone.
    assert paper.requests[-1].url.params["directory"] == DIRECTORY


@pytest.mark.parametrize(
    ("answer", "perhaps_done"),
    [
        (httpx.ConnectError("no"), False),
        (httpx.ReadTimeout("late"), True),
        (httpx.Response(502), True),
        (httpx.Response(200, text="<html>", headers={"content-type": "text/html"}), True),
    ],
)
async def test_it_is_known_whether_an_unanswered_reply_may_have_been_taken(
    answer: httpx.Response | Exception, *, perhaps_done: bool
) -> None:
    driver, _ = driver_of({PERMISSION: answer})
    report = await driver.reply(request_of(Reply(permission=PermissionReply.ONCE)))
    assert isinstance(report, Unreachable)
    assert report.perhaps_done is perhaps_done
    assert not any(secret in report.model_dump_json() for secret in SECRETS)


async def test_a_request_that_is_not_open_is_gone_and_no_error() -> None:
    driver, _ = driver_of({PERMISSION: NO_SUCH})
    assert await driver.reply(request_of(Reply(permission=PermissionReply.ONCE))) == Gone()


@pytest.mark.parametrize("status", [400, 401])
async def test_a_no_is_a_no(status: int) -> None:
    driver, _ = driver_of({PERMISSION: as_json({"name": "BadRequest", "data": {"message": "Missing key"}}, status)})
    assert isinstance(await driver.reply(request_of(Reply(permission=PermissionReply.ONCE))), Refused)


# --- what an abort leaves


def leftovers(**more: httpx.Response) -> tuple[OpenCodeDriver, PaperOpenCode]:
    routes = {
        ABORT: as_json(body=True),
        "GET /session/status": as_json({}),
        "GET /permission": as_json(
            [
                {"id": "per_1", "sessionID": SESSION, "permission": "bash"},
                {"id": "per_2", "sessionID": "ses_child", "permission": "bash"},
                {"id": "per_3", "sessionID": "ses_other", "permission": "bash"},
                {"id": "per_4", "sessionID": "ses_gone", "permission": "bash"},
            ]
        ),
        "GET /question": as_json([{"id": "que_1", "sessionID": SESSION, "questions": []}]),
        "GET /session/ses_child": as_json(session() | {"id": "ses_child", "parentID": SESSION}),
        "GET /session/ses_other": as_json(session() | {"id": "ses_other"}),
        "GET /session/ses_gone": as_json({"name": "NotFoundError", "data": {"message": "gone"}}, 404),
        PERMISSION: as_json(body=True),
        "POST /permission/per_2/reply": as_json(body=True),
        REJECT: as_json(body=True),
        **more,
    }
    return driver_of(routes)


async def test_an_abort_rejects_what_the_session_and_its_children_asked_and_nobody_elses() -> None:
    driver, paper = leftovers()
    report = await driver.abort(AbortRequest(endpoint="p", directory=DIRECTORY, session_id=SESSION))
    assert (report.sent, report.failure) == (True, None)
    posted = [call for call in paper.calls() if call.startswith("POST") and call != ABORT]
    assert posted == [PERMISSION, "POST /permission/per_2/reply", REJECT]
    assert paper.bodies(PERMISSION) == [{"reply": "reject"}]


async def test_one_that_closed_by_itself_is_no_trouble() -> None:
    driver, paper = leftovers(**{PERMISSION: NO_SUCH})
    report = await driver.abort(AbortRequest(endpoint="p", directory=DIRECTORY, session_id=SESSION))
    assert (report.sent, report.failure) == (True, None)
    assert REJECT in paper.calls()


# --- in our words


def test_a_permission_keeps_its_patterns_as_they_are() -> None:
    request = PermissionRequest(
        id="per_1", session_id=SESSION, permission="webfetch", patterns=("https://a.example/x",)
    )
    found = open_request(request)
    assert (found.permission, found.patterns, found.patterns_cut) == ("webfetch", ("https://a.example/x",), False)
    assert found.title == "webfetch: (address)"


@pytest.mark.parametrize("patterns", [("x" * 501,), tuple(f"file{n}" for n in range(21))])
def test_what_was_cut_says_so(patterns: tuple[str, ...]) -> None:
    found = open_request(PermissionRequest(id="per_1", session_id=SESSION, permission="edit", patterns=patterns))
    assert found.patterns_cut
    assert len(found.patterns) <= MAX_PATTERNS


def test_a_question_is_bounded_in_every_part() -> None:
    option = {"label": "l" * 1000, "description": "d" * 1000}
    item = {"question": "q" * 9000, "header": "h" * 9000, "options": [option] * 50, "multiple": True}
    request = QuestionRequest.model_validate({"id": "que_1", "sessionID": SESSION, "questions": [item] * 50})
    found = open_request(request)
    assert len(found.questions) == MAX_ANSWERS
    question = found.questions[0]
    assert question.multiple
    assert (len(question.text), len(question.options)) == (asked.MAX_QUESTION, MAX_OPTIONS)
    assert len(question.options[0].label) == asked.MAX_LABEL


def test_a_request_of_tomorrow_is_a_request() -> None:
    odd = {"id": "per_1", "sessionID": SESSION, "permission": "teleport", "patterns": "everywhere", "new": {"a": 1}}
    found = open_request(PermissionRequest.model_validate(odd))
    assert (found.permission, found.title, found.patterns) == ("teleport", "teleport", ())
