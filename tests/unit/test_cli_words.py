"""What the terminal shows: numbers, changes, lines, JSON, names. Pure."""

from __future__ import annotations

import io
import json
from datetime import timedelta

import pytest
from rich.console import Console

from tests.unit.cli_stand_ins import RUN, STOPPED, T0, outcome, result, snapshot
from turnkeeper.cli import figures, lines
from turnkeeper.cli.changes import (
    RequestClosed,
    RequestOpened,
    RetryNoticed,
    StateChanged,
    StopNoticed,
    ToolChanged,
    changes,
)
from turnkeeper.cli.json_lines import JsonView
from turnkeeper.cli.live import LiveView
from turnkeeper.cli.names import fresh_thread, thread_for_key
from turnkeeper.cli.plain import PlainView
from turnkeeper.cli.table import columns
from turnkeeper.cli.views import Subject, View
from turnkeeper.messages import TurnSnapshot
from turnkeeper.observations import Failure, OpenRequest, ToolUse, Usage
from turnkeeper.vocabulary import Fault, Reason, TurnState

SUBJECT = Subject("shop", "t1", RUN, "k1", link="http://ui.test/turn")
ASKED = OpenRequest(request_id="per_1", kind="permission", session_id="ses_1", title="bash rm -rf build")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"),
        (3.44, "3.4 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3600, "1 h 00 min"),
        (4020, "1 h 07 min"),
        (100 * 3600, "4 d 4 h"),
        (-3, "0.0 s"),  # clocks of two machines
    ],
)
def test_spans_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert figures.span(seconds) == words


@pytest.mark.parametrize(
    ("text", "meant"),
    [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("1.5 h", 5400), ("1D", 86400), (" 3s ", 3)],
)
def test_spans_are_read(text: str, meant: float) -> None:
    assert figures.parse_span(text) == timedelta(seconds=meant)


@pytest.mark.parametrize("text", ["", "soon", "-5s", "5 weeks", "1h30m", "nan", "1e9s"])
def test_other_spans_are_refused_with_the_right_form(text: str) -> None:
    with pytest.raises(ValueError, match="write 90s, 15m, 2h or 1d"):
        figures.parse_span(text)


def test_foreign_text_cannot_command_the_terminal() -> None:
    assert figures.printable("a\x1b[2Jb\x07\x9b31mc\td\r\ne\u202ef") == "a[2Jb31mc\td\nef"


def test_lines_are_cut_with_a_mark() -> None:
    assert figures.one_line("one\n two   three", 9) == "one two …"


def test_costs_show_cheap_turns() -> None:
    assert [figures.dollars(Usage(cost=cost)) for cost in (0, 0.0123, 12.345)] == ["$0", "$0.0123", "$12.35"]


def test_first_look_shows_everything_there_is() -> None:
    now = snapshot(tools=(ToolUse(name="bash", status="running", title="ls"),), tool_calls=1, open_requests=(ASKED,))
    found = changes(None, now)
    assert found == (
        ToolChanged(1, ToolUse(name="bash", status="running", title="ls")),
        StateChanged(TurnState.RUNNING, "waits for the provider"),
        RequestOpened(ASKED),
    )


def test_an_unchanged_turn_shows_nothing() -> None:
    now = snapshot()
    assert changes(now, now.model_copy(update={"looks": 7, "doing": "looks at the provider (timer)"})) == ()


def test_tools_are_told_apart_by_their_place_when_only_the_latest_are_kept() -> None:
    read, write = ToolUse(name="read", status="completed"), ToolUse(name="write", status="running")
    before = snapshot(tools=(read, write), tool_calls=2)
    after = snapshot(tools=(write.model_copy(update={"status": "completed"}), read), tool_calls=3)
    assert [change.number for change in changes(before, after) if isinstance(change, ToolChanged)] == [2, 3]


def test_requests_and_stops_are_seen_to_come_and_go() -> None:
    before = snapshot(state=TurnState.WAITING, open_requests=(ASKED,))
    after = snapshot(stop_requested_at=before.started_at, stop="the deadline has passed: 5 s after its start")
    assert StopNoticed("the deadline has passed: 5 s after its start") in changes(before, after)
    kinds = [type(change) for change in changes(before, after)]
    assert kinds == [StopNoticed, StateChanged, RequestClosed]


def play(view: View, *looks: TurnSnapshot) -> None:
    view.begun(SUBJECT)
    before = None
    for at, look in enumerate(looks):
        view.seen(float(at), before, look)
        before = look


def test_plain_lines_are_changes_with_times_then_the_answer_then_the_outcome() -> None:
    out = io.StringIO()
    view = PlainView(out)
    tool = ToolUse(name="write", status="completed", title="hello.txt")
    done = snapshot(state=TurnState.COMPLETED, tools=(tool,), tool_calls=1, outcome=outcome(), doing="is over")
    play(view, snapshot(), snapshot(), done)
    view.settled(SUBJECT, result())
    assert out.getvalue().splitlines() == [
        "thread shop, turn t1",
        "   0.0s  running: waits for the provider",
        "   2.0s  tool 1 write hello.txt: completed",
        "",
        "Done.",
        "",
        "completed: finished after 3.4 s",
        "evidence: the agent answered. (snapshot, woken by event)",
        "used: 1,234 tokens in, 50 out, 1 tool call, $0.0123",
        "see it: http://ui.test/turn",
    ]


def test_a_failed_turn_says_what_failed_and_what_to_do() -> None:
    failure = Failure(code="auth", fault=Fault.OPERATOR, message="The key was refused.", next_step="Log in again.")
    settled = outcome(TurnState.ERROR, Reason.PROVIDER_ERROR, failure=failure, text="", text_truncated=True)
    said = lines.ending(result(settled).model_copy(update={"context_lost": True}), None)
    assert said[0] == "error: provider_error after 3.4 s"
    assert "failure: The key was refused. Log in again." in said
    assert any("without its context" in line for line in said)


def test_who_stopped_a_turn_and_why_is_said() -> None:
    stopped = STOPPED.model_copy(update={"why": "wrong\nbranch"})
    assert "why: wrong branch" in lines.ending(result(stopped), None)
    assert not any(line.startswith("why") for line in lines.ending(result(), None))
    assert lines.change_line(StopNoticed("a stop was asked for: wrong branch")) == "a stop was asked for: wrong branch"


@pytest.mark.parametrize(("confirmed", "words"), [(True, ", confirmed"), (False, ", unconfirmed"), (None, "")])
def test_a_stop_says_whether_it_is_confirmed(confirmed: bool | None, words: str) -> None:  # noqa: FBT001 - a table
    stopped = STOPPED.model_copy(update={"confirmed": confirmed})
    assert lines.verdict(stopped) == f"interrupted: stopped{words}"


def test_json_is_one_object_a_line_and_ends_with_the_settled_turn() -> None:
    out = io.StringIO()
    view = JsonView(out)
    tool = ToolUse(name="bash", status="running", title="ls\x1b[2J")
    asking = snapshot(state=TurnState.WAITING, tools=(tool,), tool_calls=1, open_requests=(ASKED,))
    play(view, asking, snapshot(usage=Usage(output_tokens=1)))
    view.queued(1.0, 2)
    view.notice(1.5, "stopping")
    view.settled(SUBJECT, result(STOPPED))
    view.detached("bye")
    view.close()
    entries = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [entry["event"] for entry in entries] == [
        "started", "tool", "state", "request", "state", "request", "usage", "queued", "notice", "settled", "detached",
    ]  # fmt: skip
    assert entries[1] == {
        "event": "tool", "at": 0.0, "number": 1, "name": "bash", "status": "running", "title": "ls\x1b[2J",
    }  # fmt: skip
    settled = entries[9]
    assert settled.keys() == {
        "event", "thread", "turn", "run", "session", "state", "reason", "confirmed", "why", "evidence", "text",
        "text_truncated", "usage", "tool_calls", "failure", "context_lost", "started_at", "completed_at", "seconds",
        "link",
    }  # fmt: skip
    assert (settled["state"], settled["reason"], settled["confirmed"]) == ("interrupted", "stopped", True)
    assert settled["evidence"]["kind"] == "snapshot"


def test_the_live_view_keeps_the_present_in_its_last_lines_and_the_past_above() -> None:
    out = io.StringIO()
    view = LiveView(Console(file=out, force_terminal=True, width=100, color_system=None))
    running = ToolUse(name="bash", status="running", title="make test")
    done = ToolUse(name="read", status="completed", title="Makefile")
    waiting = snapshot(state=TurnState.WAITING, tools=(done, running), tool_calls=2, open_requests=(ASKED,))
    try:
        play(view, waiting)
        view.notice(1.0, "no news")
        console = Console(file=io.StringIO(), width=100)
        console.print(view.present())
        present = console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO above
        view.settled(SUBJECT, result())
    finally:
        view.close()
    assert "waiting" in present
    assert "bash make test …" in present
    assert "waiting for you: permission bash rm -rf build" in present
    assert "Ctrl-C stops the turn" in present
    past = out.getvalue()
    for said in ("tool 1 read Makefile: completed", "no news", "Done.", "completed: finished after 3.4 s"):
        assert said in past


def test_the_live_view_before_the_first_look_shows_the_queue() -> None:
    view = LiveView(Console(file=io.StringIO()), stops=False)
    view.queued(2.0, 1)
    console = Console(file=io.StringIO(), width=100)
    console.print(view.present())
    present = console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO above
    assert "queued: 1 turn of this thread runs first" in present
    assert "Ctrl-C leaves; the turn goes on" in present


def test_markup_in_an_answer_is_text() -> None:
    out = io.StringIO()
    view = LiveView(Console(file=out, width=100))
    view.notice(0.0, "[bold]x[/] [link=http://evil.test]y")
    assert "[bold]x[/] [link=http://evil.test]y" in out.getvalue()


def test_a_kept_prompt_and_a_repeated_key_are_said() -> None:
    assert "kept" in lines.beginning(Subject("shop", kept=True))[1]
    assert "earlier turn" in lines.beginning(Subject("shop", "t1", repeated=True))[0]


def test_fresh_threads_differ_and_a_key_always_means_the_same_thread() -> None:
    assert fresh_thread() != fresh_thread()
    assert thread_for_key("deploy-42") == thread_for_key("deploy-42") != thread_for_key("deploy-43")


def test_columns_line_up_and_empty_ones_are_left_out() -> None:
    assert list(columns(("A", "B", "C"), [("1", "", "x\x1by"), ("22", "", "z")])) == ["A   C\n", "1   xy\n", "22  z\n"]


def test_the_providers_own_retry_is_said_once_for_each_time() -> None:
    first = snapshot(retry_at=T0)
    assert changes(snapshot(retry_at=None), first) == (RetryNoticed(T0),)
    assert changes(first, first) == ()
    assert lines.change_line(RetryNoticed(T0)).endswith("tries again by itself at 03:04:05 UTC")
