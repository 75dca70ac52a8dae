"""`turnkeeper reconcile`: a table of what was found and changed, and an exit code that says if all could be asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli_stand_ins import ScriptedKeeper, connector_of
from turnkeeper.cli import app
from turnkeeper.cli.endings import Exit
from turnkeeper.errors import RefusedError, ServiceUnavailableError
from turnkeeper.findings import ThreadFinding
from turnkeeper.vocabulary import Finding, Reason, SessionStatus, Standing, TurnState

Said = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _no_stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TURNKEEPER_STATE_DIR", str(tmp_path / "state"))


FINE = ThreadFinding(
    thread_id="fine", session_id="ses_1", finding=Finding.READY, before=SessionStatus.READY, status=SessionStatus.READY
)
LOST = ThreadFinding(
    thread_id="lost",
    session_id="ses_2",
    turn_id="t3",
    finding=Finding.SETTLED,
    standing=Standing.HALTED,
    detail="begun, and nothing runs.",
    before=SessionStatus.RUNNING,
    status=SessionStatus.STOPPED,
    turn_state=TurnState.INTERRUPTED,
    reason=Reason.PROVIDER_LOST_TURN,
)
AWAY = FINE.model_copy(update={"finding": Finding.UNKNOWN, "detail": "no answer"})
NOBODY = ServiceUnavailableError("No worker answered in time.")


def test_one_thread_says_what_was_found_and_what_changed(capsys: Said) -> None:
    keeper = ScriptedKeeper(finds={"lost": LOST})
    assert app.execute(["reconcile", "lost"], connector_of(keeper)) == Exit.OK
    header, line = capsys.readouterr().out.splitlines()
    assert header.split() == ["THREAD", "FOUND", "TURN", "CHANGED", "DETAIL"]
    assert "settled (halted)" in line
    assert "running -> stopped, turn ended: provider_lost_turn" in line
    assert line.endswith("begun, and nothing runs.")


def test_all_goes_on_past_the_one_that_cannot_be_asked_and_the_exit_code_says_so(capsys: Said) -> None:
    keeper = ScriptedKeeper(finds={"fine": FINE, "nobody": NOBODY, "away": AWAY, "lost": LOST})
    assert app.execute(["reconcile", "--all"], connector_of(keeper)) == Exit.ENDED_OTHERWISE
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["fine", "nobody", "away", "lost"]
    assert "not asked" in lines[2]
    assert "unknown" in lines[3]
    assert app.execute(["reconcile", "--all"], connector_of(ScriptedKeeper(finds={"fine": FINE}))) == Exit.OK


def test_the_same_for_programs(capsys: Said) -> None:
    keeper = ScriptedKeeper(finds={"lost": LOST, "nobody": NOBODY})
    assert app.execute(["reconcile", "--all", "--json"], connector_of(keeper)) == Exit.ENDED_OTHERWISE
    lost, nobody = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (lost["thread"], lost["finding"], lost["reason"], lost["changed"], lost["checked"]) == (
        "lost",
        "settled",
        "provider_lost_turn",
        True,
        True,
    )
    assert (nobody["event"], nobody["thread"], nobody["checked"], nobody["code"]) == (
        "reconciled",
        "nobody",
        False,
        "service_unavailable",
    )


@pytest.mark.parametrize("arguments", [[], ["shop", "--all"]])
def test_it_has_to_be_one_thread_or_all(arguments: list[str], capsys: Said) -> None:
    assert app.execute(["reconcile", *arguments], connector_of(ScriptedKeeper())) == Exit.NOT_FOLLOWED
    assert "Name one thread, or say --all." in capsys.readouterr().err


def test_an_unknown_thread_and_no_thread_at_all(capsys: Said) -> None:
    keeper = ScriptedKeeper(finds={"shop": RefusedError("There is no thread 'shop'.", code="not_found")})
    assert app.execute(["reconcile", "shop"], connector_of(keeper)) == Exit.NOT_FOLLOWED
    assert app.execute(["reconcile", "--all"], connector_of(ScriptedKeeper())) == Exit.OK
    assert "No thread is open." in capsys.readouterr().out
