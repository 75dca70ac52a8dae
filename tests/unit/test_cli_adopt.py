"""`turnkeeper adopt`: what was taken over, what it does, how to go on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli_stand_ins import ScriptedKeeper, connector_of
from turnkeeper.cli import app
from turnkeeper.cli.endings import Exit
from turnkeeper.findings import AdoptResult
from turnkeeper.vocabulary import SessionStatus

Said = pytest.CaptureFixture[str]
IDLE = AdoptResult(thread_id="shop", session_id="ses_1", directory="/srv/shop", status=SessionStatus.READY)
LIVE = IDLE.model_copy(update={"status": SessionStatus.RUNNING, "turn_id": "t1", "run_id": "0190-run"})


@pytest.fixture(autouse=True)
def _no_stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TURNKEEPER_STATE_DIR", str(tmp_path / "state"))


def test_a_live_run_says_how_to_follow_it(capsys: Said) -> None:
    keeper = ScriptedKeeper(adopts=LIVE)
    given = ["adopt", "ses_1", "--thread", "shop", "--endpoint", "eu", "--directory", "/srv/shop"]
    assert app.execute(given, connector_of(keeper)) == Exit.OK
    assert keeper.asked == [("adopt", ("ses_1", "eu", "shop", "/srv/shop"))]
    said = capsys.readouterr().out
    assert "session ses_1 in /srv/shop is thread shop" in said
    assert "turnkeeper follow shop" in said


def test_an_idle_session_says_how_to_go_on(capsys: Said) -> None:
    keeper = ScriptedKeeper(adopts=IDLE.model_copy(update={"repeated": True}))
    assert app.execute(["adopt", "ses_1"], connector_of(keeper)) == Exit.OK
    assert keeper.asked == [("adopt", ("ses_1", "local", None, None))]
    said = capsys.readouterr().out
    assert "(it was already)" in said
    assert 'nothing runs in it; go on with: turnkeeper run --thread shop "your prompt"' in said


def test_for_programs(capsys: Said) -> None:
    assert app.execute(["adopt", "ses_1", "--json"], connector_of(ScriptedKeeper(adopts=LIVE))) == Exit.OK
    entry = json.loads(capsys.readouterr().out)
    assert (entry["event"], entry["thread_id"], entry["turn_id"], entry["repeated"]) == ("adopted", "shop", "t1", False)


def test_a_refusal_is_one_line_and_exit_code_2(capsys: Said) -> None:
    assert app.execute(["adopt", "ses_1"], connector_of(ScriptedKeeper())) == Exit.NOT_FOLLOWED
    assert capsys.readouterr().err == "turnkeeper: There is no such session.\n"
