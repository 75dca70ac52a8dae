"""`interrupt`, `stop`, `close`, `queue` and `run --on-busy`: what is asked, what is said, and the exit code."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.cli_stand_ins import STARTED, T0, ScriptedKeeper, connector_of, record
from turnkeeper.cli import app
from turnkeeper.cli.endings import Exit
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import InterruptResult
from turnkeeper.thread_messages import QueuedTurn, StartTurn
from turnkeeper.vocabulary import OnBusy

Said = pytest.CaptureFixture[str]
LONG = "write the changelog " * 20


def waiting(turn_id: str, prompt: str) -> QueuedTurn:
    start = StartTurn(prompt=prompt, idempotency_key=turn_id)
    return QueuedTurn(turn_id=turn_id, start=start, limits=TurnLimits(), accepted_at=T0)


def keeper(*, held: bool = False) -> ScriptedKeeper:
    return ScriptedKeeper(start=STARTED, waits=(waiting("t2", LONG), waiting("t3", "three")), held=held)


def said(capsys: Said, keeper: ScriptedKeeper, *line: str, code: Exit = Exit.OK) -> str:
    assert app.execute(list(line), connector_of(keeper)) == code
    return capsys.readouterr().out


def test_the_queue_is_a_list_in_its_order(capsys: Said) -> None:
    text = said(capsys, keeper(), "queue", "shop")
    assert text.index("t2") < text.index("t3")
    assert "--resume" not in text
    assert said(capsys, ScriptedKeeper(), "queue", "shop") == "Nothing waits.\n"


def test_a_held_queue_says_so_and_how_to_go_on(capsys: Said) -> None:
    assert "turnkeeper queue shop --resume" in said(capsys, keeper(held=True), "queue", "shop")
    assert "goes on" in said(capsys, keeper(held=True), "queue", "shop", "--resume")


def test_a_removed_prompt_is_printed_whole(capsys: Said) -> None:
    asked = keeper()
    text = said(capsys, asked, "queue", "shop", "--remove", "t2")
    assert LONG in text
    assert ("remove", ("shop", "t2")) in asked.asked


def test_a_prompt_sent_now_says_what_it_stopped(capsys: Said) -> None:
    text = said(capsys, keeper(), "queue", "shop", "--send-now", "t3")
    assert "turn t1: interrupted: stopped, confirmed" in text
    assert "turn t3: running" in text


def test_one_edit_at_a_time(capsys: Said) -> None:
    assert app.execute(["queue", "shop", "--remove", "t2", "--resume"], connector_of(keeper())) == Exit.NOT_FOLLOWED
    assert "one of" in capsys.readouterr().err


def test_a_stop_at_rest_that_is_not_confirmed_says_so_and_fails(capsys: Said) -> None:
    failed = InterruptResult(turn_id=None, was_running=False, failure="It does not answer.")
    text = said(capsys, ScriptedKeeper(interrupts_with=failed), "stop", "shop", code=Exit.ENDED_OTHERWISE)
    assert text == (
        "thread shop: no turn was running, and its session is not known to be stopped. It does not answer.\n"
    )


def test_an_interrupt_lists_what_is_held(capsys: Said) -> None:
    held = InterruptResult(turn_id="t1", was_running=True, queued=(record(turn_id="t2"),), held=True)
    text = said(capsys, ScriptedKeeper(interrupts_with=held), "interrupt", "shop")
    assert "1 prompt waits, untouched: t2." in text
    assert "--resume" in text


def test_a_stop_that_failed_says_that_the_turn_goes_on_and_ends_with_1(capsys: Said) -> None:
    failed = InterruptResult(turn_id="t1", was_running=True, failure="process busy")
    stopped = ScriptedKeeper(interrupts_with=failed)
    text = said(capsys, stopped, "stop", "shop", "--why", "lunch", code=Exit.ENDED_OTHERWISE)
    assert "not stopped" in text
    assert "process busy" in text
    assert ("stop", ("shop", "lunch")) in stopped.asked


def test_a_closed_thread_hands_its_prompts_back(capsys: Said) -> None:
    text = said(capsys, keeper(), "close", "shop")
    assert "thread shop is closed" in text
    assert LONG in text


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (["queue", "shop"], "queue"),
        (["queue", "shop", "--remove", "t2"], "removed"),
        (["queue", "shop", "--send-now", "t2"], "sent"),
        (["queue", "shop", "--resume"], "resumed"),
        (["stop", "shop"], "stopped"),
        (["close", "shop"], "closed"),
    ],
)
def test_each_as_json_is_one_object(line: list[str], event: str, capsys: Said) -> None:
    entry: dict[str, Any] = json.loads(said(capsys, keeper(), *line, "--json"))
    assert (entry["event"], entry["thread"]) == (event, "shop")


@pytest.mark.parametrize("policy", OnBusy)
def test_run_says_what_to_do_while_the_thread_is_busy(policy: OnBusy) -> None:
    asked = keeper()
    asked.over.set()
    app.execute(["run", "--thread", "shop", "--on-busy", policy.value, "go"], connector_of(asked))
    assert asked.busy_with == [policy]


def test_run_names_the_turn_that_a_prompt_shall_go_into() -> None:
    asked = keeper()
    asked.over.set()
    app.execute(["run", "--thread", "shop", "--on-busy", "steer", "--into", "t1", "go"], connector_of(asked))
    assert asked.into == ["t1"]


def test_only_a_prompt_that_steers_names_a_turn(capsys: Said) -> None:
    asked = keeper()
    assert app.execute(["run", "--thread", "shop", "--into", "t1", "go"], connector_of(asked)) != Exit.OK
    assert "--on-busy steer" in capsys.readouterr().err
    assert asked.into == []
