"""Command lines that say nothing, and a person who leaves before anything began."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

from tests.unit.cli_stand_ins import ScriptedKeeper, connector_of
from turnkeeper.cli import app
from turnkeeper.cli.endings import Exit

Said = pytest.CaptureFixture[str]


def test_programs_read_a_wrong_line_as_an_object_too(capsys: Said) -> None:
    assert app.execute(["show", "--json"], connector_of(ScriptedKeeper())) == Exit.NOT_FOLLOWED
    entry = json.loads(capsys.readouterr().out)
    assert (entry["event"], entry["code"], entry["message"]) == ("error", "usage", "Missing argument 'THREAD'.")


def test_no_command_at_all_prints_the_help_as_it_is(capsys: Said) -> None:
    assert app.execute([]) == Exit.NOT_FOLLOWED
    said = capsys.readouterr()
    app.execute(["--help"])
    assert said.out == capsys.readouterr().out
    assert "\nCommands:\n" in said.out
    assert not said.err


def test_ctrl_c_while_the_prompt_is_read_is_said_and_ends_with_2(monkeypatch: pytest.MonkeyPatch, capsys: Said) -> None:
    class Pressed(io.StringIO):
        def read(self, _: int | None = -1) -> str:
            raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin", Pressed())
    assert app.execute(["run", "-"], connector_of(ScriptedKeeper())) == Exit.NOT_FOLLOWED
    assert "turnkeeper: left with Ctrl-C.\n" in capsys.readouterr().err


PRESSED_WHILE_IMPORTED = """
import os, signal, sys

class Press:
    def find_spec(self, name, *_):
        if name == "temporalio.client":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Press())
from turnkeeper.cli import main
main()
"""


def test_ctrl_c_in_the_first_second_is_one_line_and_ends_with_2() -> None:
    ended = subprocess.run(  # noqa: S603 - our own program
        (sys.executable, "-c", PRESSED_WHILE_IMPORTED, "run", "x"), capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "turnkeeper: left before anything was started.\n"
