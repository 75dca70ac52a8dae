"""Command lines from the shell's side: exit codes, one line for an error, suggestions, JSON. With a stand-in client."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from temporalio.client import Client

from tests.unit.cli_stand_ins import (
    SETTLED,
    STARTED,
    STOPPED,
    T0,
    ScriptedKeeper,
    connector_of,
    outcome,
    record,
    result,
    snapshot,
    thread,
)
from turnkeeper.cli import app, endings
from turnkeeper.cli.endings import Exit
from turnkeeper.cli.names import thread_for_key
from turnkeeper.cli.service import CONNECTION_VARIABLES, Service
from turnkeeper.client import ThreadSummary, Turnkeeper
from turnkeeper.errors import RefusedError, ServiceUnavailableError, TurnkeeperError
from turnkeeper.limits import MAX_PROMPT_BYTES
from turnkeeper.messages import InterruptResult
from turnkeeper.observations import Failure
from turnkeeper.place_messages import OwnPlace
from turnkeeper.thread_messages import ThreadSnapshot
from turnkeeper.vocabulary import Fault, OnLost, Reason, TurnState

Said = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _no_stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the environment nor a stack of whoever runs the tests."""
    for name in (*CONNECTION_VARIABLES, endings.DEBUG_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TURNKEEPER_STATE_DIR", str(tmp_path / "state"))


def keeper_that_settles(*, reason: Reason = Reason.FINISHED, state: TurnState = TurnState.COMPLETED) -> ScriptedKeeper:
    keeper = ScriptedKeeper(start=STARTED, ends_with=result(outcome(state, reason)))
    keeper.over.set()
    return keeper


def started(keeper: ScriptedKeeper) -> tuple[object, ...]:
    """What the last start was given."""
    given = next(given for what, given in reversed(keeper.asked) if what == "start")
    assert isinstance(given, tuple)
    return given


@pytest.mark.parametrize(
    ("state", "reason", "code"),
    [
        (TurnState.COMPLETED, Reason.FINISHED, Exit.OK),
        (TurnState.COMPLETED, Reason.TRUNCATED, Exit.OK),
        (TurnState.INTERRUPTED, Reason.STOPPED, Exit.ENDED_OTHERWISE),
        (TurnState.ERROR, Reason.PROVIDER_ERROR, Exit.ENDED_OTHERWISE),
    ],
)
def test_run_ends_as_the_turn_did(state: TurnState, reason: Reason, code: Exit, capsys: Said) -> None:
    keeper = keeper_that_settles(state=state, reason=reason)
    assert app.execute(["run", "Fix it"], connector_of(keeper)) == code
    said = capsys.readouterr()
    assert f"{state}: {reason} after 3.4 s" in said.out
    assert not said.err


def test_run_in_a_pipe_prints_the_answer_and_the_link(capsys: Said) -> None:
    assert app.execute(["run", "Fix it"], connector_of(keeper_that_settles())) == Exit.OK
    said = capsys.readouterr().out
    assert "\nDone.\n" in said
    assert "see it: http://ui.test/namespaces/default/workflows/turn%3A" in said
    assert "\x1b" not in said


def test_run_as_json_ends_with_the_settled_turn(capsys: Said) -> None:
    assert app.execute(["run", "--json", "Fix it"], connector_of(keeper_that_settles())) == Exit.OK
    events = [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]
    assert (events[0], events[-1]) == ("started", "settled")


def test_run_without_a_thread_begins_one_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keeper = keeper_that_settles()
    assert app.execute(["run", "Fix it"], connector_of(keeper)) == Exit.OK
    _, prompt, endpoint, directory, *_ = started(keeper)
    assert (prompt, endpoint, directory) == ("Fix it", "local", str(tmp_path.resolve()))


def test_run_in_a_known_thread_keeps_its_endpoint_and_directory() -> None:
    keeper = keeper_that_settles()
    assert app.execute(["run", "--thread", "shop", "Go on"], connector_of(keeper)) == Exit.OK
    assert started(keeper)[:4] == ("shop", "Go on", None, None)


def test_run_in_an_unknown_thread_begins_it(tmp_path: Path) -> None:
    keeper = keeper_that_settles()
    keeper.known = False
    assert app.execute(["run", "--thread", "shop", "--dir", str(tmp_path), "Go"], connector_of(keeper)) == Exit.OK
    assert started(keeper)[:4] == ("shop", "Go", "local", str(tmp_path.resolve()))


def test_run_hands_over_every_option(tmp_path: Path) -> None:
    keeper = keeper_that_settles()
    options = ["--model", "a/b", "--agent", "build", "--endpoint", "far", "--deadline", "15m", "--key", "k7"]
    line = ["run", "--dir", str(tmp_path), *options, "Fix it"]
    assert app.execute(line, connector_of(keeper)) == Exit.OK
    name, _, endpoint, _, model, agent, key, limits = started(keeper)
    assert (name, endpoint, model, agent, key) == (thread_for_key("k7"), "far", "a/b", "build", "k7")
    assert getattr(limits, "deadline", None) == timedelta(minutes=15)


def test_run_reads_a_long_prompt_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("line one\nline two\n"))
    keeper = keeper_that_settles()
    assert app.execute(["run", "-"], connector_of(keeper)) == Exit.OK
    assert started(keeper)[1] == "line one\nline two\n"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["run", ""], "The prompt is empty."),
        (["run", " \n"], "The prompt is empty."),
        (["run", "x" * 300_000], "300,000 characters; 262,144 are allowed"),
        (["run", "--dir", "", "x"], "it is empty; write a directory, or . for this one."),
        (["dev", "--scripted", "--state-dir", "/proc/x"], "The state directory /proc/x cannot be used (No such file"),
        (["run", "--dir", "/no/such/place", "x"], "/no/such/place does not exist."),
        (["run", "--dir", __file__, "x"], "is not a directory."),
        (["run", "--model", "gpt", "x"], "--model 'gpt': write provider/model."),
        (["run", "--thread", "a b", "x"], "--thread 'a b': write letters"),
        (["run", "--deadline", "soon", "x"], "write 90s, 15m, 2h or 1d"),
        (["run", "--deadline", "0s", "x"], "--deadline: Input should be greater than 0 seconds."),
        (["run"], "Missing argument 'PROMPT'. See: turnkeeper run --help\n"),
        (["run", "write", "hello.txt"], 'argument(s) (hello.txt). Put quotes around the prompt: turnkeeper run "'),
        (["show"], "Missing argument 'THREAD'. See: turnkeeper show --help\n"),
        (["rnu", "x"], "No such command 'rnu'. Did you mean 'run'? See: turnkeeper --help\n"),
        (["run", "--dri", "x"], "No such option: --dri. Did you mean --dir? See: turnkeeper run --help\n"),
        (["threads", "--jsno"], "No such option: --jsno. Did you mean --json?"),
        (["dev", "--workspace", "/no/such/place", "--scripted"], "The workspace /no/such/place is not a directory."),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_starts_nothing(line: list[str], words: str, capsys: Said) -> None:
    keeper = keeper_that_settles()
    assert app.execute(line, connector_of(keeper)) == Exit.NOT_FOLLOWED
    said = capsys.readouterr()
    assert not said.out
    assert said.err.startswith("turnkeeper: ")
    assert said.err.count("\n") == 1
    assert words in said.err
    assert keeper.count("start") == 0


@pytest.mark.parametrize("line", [["run", "x"], ["threads"], ["show", "t"], ["follow", "t"], ["interrupt", "t"]])
def test_without_any_service_every_command_says_how_to_start_one(line: list[str], capsys: Said) -> None:
    assert app.execute(line) == Exit.NOT_FOLLOWED
    assert "turnkeeper dev" in capsys.readouterr().err


def test_an_error_is_json_too_for_programs(capsys: Said) -> None:
    keeper = ScriptedKeeper(start=RefusedError("No such model.", code="unknown_model", next_step="See the list."))
    assert app.execute(["run", "--json", "x"], connector_of(keeper)) == Exit.NOT_FOLLOWED
    said = capsys.readouterr()
    expected = {"event": "error", "code": "unknown_model", "message": "No such model.", "next_step": "See the list."}
    assert json.loads(said.out) == expected
    assert said.err == "turnkeeper: No such model. See the list.\n"


def test_a_fault_of_ours_is_one_line_and_a_traceback_only_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    async def broken(_: Path) -> Service:
        raise ZeroDivisionError("oops")

    assert app.execute(["threads"], broken) == Exit.NOT_FOLLOWED
    said = capsys.readouterr().err
    assert "ZeroDivisionError: oops" in said
    assert "Traceback" not in said
    monkeypatch.setenv(endings.DEBUG_VARIABLE, "1")
    app.execute(["threads"], broken)
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_went_away_is_no_crash(monkeypatch: pytest.MonkeyPatch, capsys: Said) -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("sys.stdout", Closed())
    assert app.execute(["threads"], connector_of(ScriptedKeeper())) == Exit.NOT_FOLLOWED
    assert "Traceback" not in capsys.readouterr().err


def test_a_terminated_turn_is_said_and_ends_with_1(capsys: Said) -> None:
    keeper = ScriptedKeeper(start=STARTED, ends_with=TurnkeeperError("The workflow did not end by itself."))
    keeper.over.set()
    assert app.execute(["run", "x"], connector_of(keeper)) == Exit.ENDED_OTHERWISE
    assert "did not end by itself" in capsys.readouterr().err


def test_threads_are_listed_with_their_last_turn(capsys: Said) -> None:
    assert app.execute(["threads"], connector_of(ScriptedKeeper())) == Exit.OK
    header, row = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["THREAD", "ENDPOINT"]
    assert "shop    local     ready   t1 completed: finished  Fix the test" in row


def test_threads_are_listed_while_no_worker_is_up(capsys: Said) -> None:
    keeper = ScriptedKeeper(threads_seen=[ServiceUnavailableError("nobody")])
    assert app.execute(["threads"], connector_of(keeper)) == Exit.OK
    said = capsys.readouterr()
    header, row = said.out.splitlines()
    assert header.split() == ["THREAD", "ENDPOINT", "STATUS", "LAST", "TURN", "PROMPT", "BEGUN"]
    assert row.split()[:5] == ["shop", "local", "unknown", "?", "?"]
    assert "no worker answers" in said.err


def test_a_list_that_was_cut_says_so(capsys: Said) -> None:
    class Two(ScriptedKeeper):
        async def threads(self, limit: int | None = 50, *, only_open: bool = False) -> AsyncIterator[ThreadSummary]:
            assert not only_open
            for name in ("new", "old")[:limit]:
                yield ThreadSummary(name, "local", T0, open=True)

    assert app.execute(["threads", "--limit", "1"], connector_of(Two())) == Exit.OK
    said = capsys.readouterr()
    assert ("new" in said.out, "old" in said.out) == (True, False)
    assert "these are the latest 1; --limit shows more." in said.err
    app.execute(["threads", "--limit", "2"], connector_of(Two()))
    assert not capsys.readouterr().err


CLOSED = thread(closed=True, queued=(record(turn_id="t2", state=TurnState.QUEUED, run_id=None, started_at=None),))
REFUSED = thread(recent=(), last_error="There is no such model.")
IN_LINE = thread(
    queued=(record(turn_id="t2", state=TurnState.QUEUED, run_id=None, started_at=None),),
    place=OwnPlace(number=1, asked_at=T0, failure=Failure(code="x", fault=Fault.OPERATOR, message="No worker.")),
)


def test_show_says_what_a_thread_in_line_waits_for(capsys: Said) -> None:
    assert app.execute(["show", "shop"], connector_of(ScriptedKeeper(threads_seen=[IN_LINE]))) == Exit.OK
    assert "waits for a place at endpoint local, which cannot be asked: No worker." in capsys.readouterr().out


class OpenAndClosed(ScriptedKeeper):
    """`typo` is what a refused first start leaves behind."""

    async def threads(self, limit: int | None = 50, *, only_open: bool = False) -> AsyncIterator[ThreadSummary]:
        assert (limit, only_open) == (None, False)
        for name, is_open in (("new", True), ("typo", False), ("shut", False)):
            yield ThreadSummary(name, "local", T0, open=is_open)

    async def thread(self, thread_id: str) -> ThreadSnapshot:
        return {"new": thread(), "typo": REFUSED, "shut": CLOSED}[thread_id]


def test_closed_threads_are_listed_as_closed_and_refused_starts_are_not(capsys: Said) -> None:
    assert app.execute(["threads", "--limit", "2"], connector_of(OpenAndClosed())) == Exit.OK
    said = capsys.readouterr()
    _, new, shut = (line.split() for line in said.out.splitlines())
    assert new[:3] == ["new", "local", "ready"]
    assert shut[:6] == ["shut", "local", "closed", "t1", "completed:", "finished"]
    assert not said.err, "nothing more is there"
    app.execute(["threads", "--json"], connector_of(OpenAndClosed()))
    entries = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(entry["thread"], entry["open"]) for entry in entries] == [("new", True), ("shut", False)]


def test_show_of_a_closed_thread_says_so_and_how_to_get_the_prompts_that_waited(capsys: Said) -> None:
    assert app.execute(["show", "shop"], connector_of(ScriptedKeeper(threads_seen=[CLOSED]))) == Exit.OK
    said = capsys.readouterr().out
    assert said.startswith("thread shop: closed\n")
    assert "the prompts that waited were not sent: turnkeeper close shop" in said
    assert "t1 completed: finished" in said


def test_threads_as_json(capsys: Said) -> None:
    assert app.execute(["threads", "--json", "--limit", "5"], connector_of(ScriptedKeeper())) == Exit.OK
    entry = json.loads(capsys.readouterr().out)
    assert (entry["thread"], entry["status"], entry["turn"]["reason"]) == ("shop", "ready", "finished")


def test_show_tells_where_it_works_what_runs_and_what_was(capsys: Said) -> None:
    running = record(turn_id="t2", run_id="run-2", prompt_start="Now the docs")
    keeper = ScriptedKeeper(
        threads_seen=[thread(status="running", active=running, recent=(SETTLED,), last_error="old trouble")]
    )
    assert app.execute(["show", "shop"], connector_of(keeper)) == Exit.OK
    said = capsys.readouterr().out
    for words in (
        "thread shop: running",
        "endpoint local, directory /srv/shop",
        "last error: old trouble",
        "running: t1 running, waits for the provider",
        "t1 completed: finished  Fix the test",
        "t2 running              Now the docs",
        "see it: http://ui.test/namespaces/default/workflows/turn%3Ashop/run-2/history",
    ):
        assert words in said


def test_show_as_json_is_one_object(capsys: Said) -> None:
    assert app.execute(["show", "--json", "shop"], connector_of(ScriptedKeeper())) == Exit.OK
    entry = json.loads(capsys.readouterr().out)
    assert (entry["event"], entry["thread_id"], entry["turn"]) == ("thread", "shop", None)


def test_follow_of_a_settled_thread_says_how_the_latest_turn_ended(capsys: Said) -> None:
    keeper = ScriptedKeeper(turns=[snapshot(state=TurnState.COMPLETED, outcome=outcome())])
    keeper.over.set()
    assert app.execute(["follow", "shop"], connector_of(keeper)) == Exit.OK
    assert "completed: finished" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["follow", "show"])
def test_a_thread_whose_first_prompt_was_refused_is_said_to_have_no_turn(command: str, capsys: Said) -> None:
    keeper = ScriptedKeeper(threads_seen=[thread(recent=(), status="idle", last_error="No such model.")])
    assert app.execute([command, "shop"], connector_of(keeper)) == Exit.NOT_FOLLOWED
    assert "Thread 'shop' has no turn: no prompt was accepted. No such model." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (None, Exit.OK, "turn t1: interrupted: stopped, confirmed"),
        (InterruptResult(turn_id=None, was_running=False), Exit.OK, "No turn was running."),
        (
            InterruptResult(turn_id="t1", was_running=True, outcome=STOPPED.model_copy(update={"confirmed": False})),
            Exit.ENDED_OTHERWISE,
            "stopped, unconfirmed",
        ),
    ],
)
def test_interrupt_says_whether_it_stands(answer: InterruptResult | None, code: Exit, words: str, capsys: Said) -> None:
    keeper = ScriptedKeeper(interrupts_with=answer)
    assert app.execute(["interrupt", "shop", "--why", "wrong branch"], connector_of(keeper)) == code
    assert words in capsys.readouterr().out
    assert ("interrupt", ("shop", None, "wrong branch")) in keeper.asked


def test_interrupt_as_json(capsys: Said) -> None:
    assert app.execute(["interrupt", "--json", "shop"], connector_of(ScriptedKeeper())) == Exit.OK
    entry = json.loads(capsys.readouterr().out)
    assert (entry["confirmed"], entry["outcome"]["reason"]) == (True, "stopped")


def test_doctor_without_a_service_says_what_to_do_and_ends_with_1(capsys: Said) -> None:
    assert app.execute(["doctor"]) == Exit.ENDED_OTHERWISE
    assert "BAD  temporal: No stack runs on" in capsys.readouterr().out


def test_help_teaches_exit_codes_and_environment(capsys: Said) -> None:
    assert app.execute(["run", "--help"]) == Exit.OK
    said = capsys.readouterr().out
    for words in ("Examples:", "Exit codes:", "TEMPORAL_ADDRESS", "Ctrl-C once stops"):
        assert words in said


def test_version(capsys: Said) -> None:
    assert app.execute(["--version"]) == Exit.OK
    assert capsys.readouterr().out.startswith("turnkeeper 0.")


def test_run_says_what_shall_follow_a_lost_run(capsys: Said) -> None:
    keeper = keeper_that_settles()
    assert app.execute(["run", "--on-lost", "continue", "Fix it"], connector_of(keeper)) == Exit.OK
    assert app.execute(["run", "Fix it"], connector_of(keeper)) == Exit.OK
    assert keeper.starts_with == [OnLost.CONTINUE, OnLost.SETTLE]
    assert app.execute(["run", "--on-lost", "again", "Fix it"], connector_of(keeper)) == Exit.NOT_FOLLOWED
    assert "'settle', 'continue'" in capsys.readouterr().err


def test_show_says_what_was_lost_and_what_to_do(capsys: Said) -> None:
    lost = record(
        state=TurnState.INTERRUPTED,
        reason=Reason.PROVIDER_LOST_TURN,
        completed_at=SETTLED.completed_at,
        error="The provider no longer runs it.",
        next_step="Check the directory, then prompt again.",
        context_lost=True,
    )
    follow_up = record(turn_id="t2", continues="t1")
    seen = thread(active=follow_up, recent=(lost,), last_error=lost.error, status="running")
    assert app.execute(["show", "shop"], connector_of(ScriptedKeeper(threads_seen=[seen]))) == Exit.OK
    said = capsys.readouterr().out
    assert "what to do: Check the directory, then prompt again." in said
    assert "t1 interrupted: provider_lost_turn, context lost" in said
    assert "t2 running, continues t1" in said


def test_a_prompt_that_is_too_big_is_refused_with_its_size(monkeypatch: pytest.MonkeyPatch, capsys: Said) -> None:
    """By the client itself, before Temporal is asked: there is none here."""
    monkeypatch.setattr("sys.stdin", io.StringIO("\x1b" * 200_000))
    keeper = cast("ScriptedKeeper", Turnkeeper(cast("Client", None)))
    assert app.execute(["run", "-"], connector_of(keeper)) == Exit.NOT_FOLLOWED
    said = capsys.readouterr().err
    assert f"The prompt has 1200002 bytes (200000 characters); {MAX_PROMPT_BYTES} are allowed." in said
    assert "Write it to a file" in said
