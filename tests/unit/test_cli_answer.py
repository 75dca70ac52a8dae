"""`turnkeeper answer`, and what the other commands say of a turn that asks. With a stand-in client."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Final

import pytest

from tests.unit.cli_stand_ins import DELIVERED, STARTED, ScriptedKeeper, connector_of, record, result, snapshot, thread
from turnkeeper.cli import app, lines
from turnkeeper.cli.endings import Exit
from turnkeeper.cli.json_lines import JsonView
from turnkeeper.cli.plain import PlainView
from turnkeeper.errors import RefusedError, TurnkeeperError
from turnkeeper.messages import AnswerResult, PermissionRule
from turnkeeper.observations import Failure, OpenRequest, Option, Question, Reply
from turnkeeper.vocabulary import AnsweredBy, AnswerState, Fault, PermissionReply, PolicyAction, TurnState

Said = pytest.CaptureFixture[str]

PERMISSION: Final = OpenRequest(
    request_id="per_1",
    kind="permission",
    session_id="ses_1",
    title="bash: make",
    permission="bash",
    patterns=("make",),
)
QUESTION: Final = OpenRequest(
    request_id="que_1",
    kind="question",
    session_id="ses_1",
    title="Which colour? / Which sizes?",
    questions=(
        Question(text="Which colour?", options=(Option(label="dark red", description="warm"), Option(label="green"))),
        Question(text="Which sizes?", options=(Option(label="S"), Option(label="L")), multiple=True),
    ),
)


@pytest.fixture(autouse=True)
def _no_stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TURNKEEPER_STATE_DIR", str(tmp_path / "state"))


def asking(*requests: OpenRequest, answers_with: AnswerResult | TurnkeeperError = DELIVERED) -> ScriptedKeeper:
    waiting = snapshot(state=TurnState.WAITING, open_requests=requests)
    return ScriptedKeeper(turns=(waiting,), answers_with=answers_with)


def given(keeper: ScriptedKeeper) -> object:
    return next(given for what, given in keeper.asked if what == "answer")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--once"], ("shop", "per_1", PermissionReply.ONCE, None, False, "")),
        (["--always"], ("shop", "per_1", PermissionReply.ALWAYS, None, False, "")),
        (["--reject"], ("shop", "per_1", None, None, True, "")),
        (["--reject", "--message", "use ls"], ("shop", "per_1", None, None, True, "use ls")),
    ],
)
def test_the_only_open_request_needs_no_name(options: list[str], expected: object, capsys: Said) -> None:
    keeper = asking(PERMISSION)
    assert app.execute(["answer", "shop", *options], connector_of(keeper)) == Exit.OK
    assert given(keeper) == expected
    assert capsys.readouterr().out == "answered: permission bash: make: once\n"


def test_each_question_gets_its_answer_and_one_may_get_several() -> None:
    keeper = asking(QUESTION, PERMISSION)
    line = ["answer", "shop", "que_1", "--answer", "red|green", "--answer", "S | L"]
    assert app.execute(line, connector_of(keeper)) == Exit.OK
    assert given(keeper) == ("shop", "que_1", None, [["red|green"], ["S", "L"]], False, "")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ([], "exactly one of --once"),
        (["--once", "--always"], "exactly one of --once"),
        (["--once", "--answer", "red"], "exactly one of --once"),
        (["--once", "--message", "hm"], "--message goes with --reject"),
    ],
)
def test_what_says_nothing_or_two_things_is_refused(line: list[str], words: str, capsys: Said) -> None:
    keeper = asking(PERMISSION)
    assert app.execute(["answer", "shop", *line], connector_of(keeper)) == Exit.NOT_FOLLOWED
    assert words in capsys.readouterr().err
    assert not keeper.asked


def test_nothing_or_too_much_to_answer(capsys: Said) -> None:
    assert app.execute(["answer", "shop", "--once"], connector_of(asking())) == Exit.NOT_FOLLOWED
    assert "asks nothing right now" in capsys.readouterr().err
    assert app.execute(["answer", "shop", "--once"], connector_of(asking(PERMISSION, QUESTION))) == Exit.NOT_FOLLOWED
    assert "Name one of: per_1, que_1." in capsys.readouterr().err


FAILURE: Final = Failure(code="provider_400", fault=Fault.PROVIDER, message="The provider said no.")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"state": AnswerState.STALE, "answer": None, "by": None}, "too late: permission bash: make: it was answered"),
        (
            {"state": AnswerState.ALREADY_ANSWERED, "answer": Reply(), "by": AnsweredBy.POLICY},
            "answered by a permission rule before: rejected",
        ),
        ({"state": AnswerState.REFUSED, "failure": FAILURE}, "not taken: permission bash: make: The provider said no."),
    ],
)
def test_an_answer_that_had_no_effect_says_so_and_ends_with_1(
    changed: dict[str, object], words: str, capsys: Said
) -> None:
    keeper = asking(PERMISSION, answers_with=DELIVERED.model_copy(update=changed))
    assert app.execute(["answer", "shop", "per_1", "--once"], connector_of(keeper)) == Exit.ENDED_OTHERWISE
    assert words in capsys.readouterr().out


def test_a_program_gets_one_object(capsys: Said) -> None:
    assert app.execute(["answer", "shop", "--once", "--json"], connector_of(asking(PERMISSION))) == Exit.OK
    entry = json.loads(capsys.readouterr().out)
    assert (entry["event"], entry["thread"], entry["state"], entry["by"]) == ("answered", "shop", "delivered", "person")
    refused = asking(PERMISSION, answers_with=RefusedError("no", code="wrong_answer"))
    assert app.execute(["answer", "shop", "--once", "--json"], connector_of(refused)) == Exit.NOT_FOLLOWED
    assert json.loads(capsys.readouterr().out)["code"] == "wrong_answer"


# --- what is asked, and how to answer


def test_the_command_to_type_is_complete() -> None:
    assert lines.answering("shop", PERMISSION)[0] == "turnkeeper answer shop per_1 --once"
    said = lines.answering("shop", QUESTION)
    assert "- dark red: warm" in said
    assert "turnkeeper answer shop que_1 --answer 'dark red' --answer S" in said


def test_lines_and_objects_tell_what_is_asked() -> None:
    waiting = snapshot(state=TurnState.WAITING, open_requests=(QUESTION,))
    out = io.StringIO()
    PlainView(out).seen(1.0, snapshot(), waiting)
    assert "    turnkeeper answer shop que_1 --answer 'dark red' --answer S\n" in out.getvalue()
    out = io.StringIO()
    JsonView(out).seen(1.0, snapshot(), waiting)
    (entry,) = (e for e in map(json.loads, out.getvalue().splitlines()) if e["event"] == "request")
    assert (entry["id"], entry["session"], entry["questions"][1]["multiple"]) == ("que_1", "ses_1", True)


def test_show_tells_how_to_answer(capsys: Said) -> None:
    keeper = asking(PERMISSION)
    keeper.threads_seen = (thread(active=record()),)
    assert app.execute(["show", "shop"], connector_of(keeper)) == Exit.OK
    assert "    turnkeeper answer shop per_1 --once\n" in capsys.readouterr().out


# --- unattended


def test_show_tells_the_rules(capsys: Said) -> None:
    rules = (PermissionRule(permission="bash", target="git *", action=PolicyAction.ALLOW),)
    keeper = ScriptedKeeper(threads_seen=(thread(permissions=rules),))
    assert app.execute(["show", "shop"], connector_of(keeper)) == Exit.OK
    assert "permission rules, the first match decides: allow bash:git *\n" in capsys.readouterr().out


def test_run_takes_rules_and_denials_come_first() -> None:
    keeper = ScriptedKeeper(start=STARTED, ends_with=result())
    keeper.over.set()
    line = ["run", "--allow", "bash:git *", "--allow", "edit", "--deny", "webfetch", "--request-timeout", "10m", "Fix"]
    assert app.execute(line, connector_of(keeper)) == Exit.OK
    assert keeper.rules == [
        (
            PermissionRule(permission="webfetch", action=PolicyAction.DENY),
            PermissionRule(permission="bash", target="git *", action=PolicyAction.ALLOW),
            PermissionRule(permission="edit", action=PolicyAction.ALLOW),
        )
    ]
    assert app.execute(["run", "Fix"], connector_of(keeper)) == Exit.OK
    assert keeper.rules[-1] is None


def test_a_rule_about_nothing_is_refused(capsys: Said) -> None:
    assert app.execute(["run", "--allow", ":git", "Fix"], connector_of(ScriptedKeeper())) == Exit.NOT_FOLLOWED
    assert "write PERMISSION or PERMISSION:TARGET" in capsys.readouterr().err
