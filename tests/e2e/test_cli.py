"""The command line on real servers, as a person uses it: one terminal runs `dev`, others the rest.

Every process here is the real one, started as a shell would; Ctrl-C is a real SIGINT.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PROGRAM = (sys.executable, "-c", "from turnkeeper.cli import main; main()")
START = 60.0  # seconds for a stack to be ready: 4 s alone on two cores
TURN = 60.0  # seconds for a short turn, on a machine that runs other tests beside it
STOP = 30.0  # seconds for a stack to stop
POLL = 0.05  # seconds between two looks at what a process printed


def until(condition: Callable[[], bool], within: float, what: str) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        time.sleep(POLL)


@dataclass
class Terminal:
    """One command under way, its output in a file."""

    process: subprocess.Popen[bytes]
    file: Path

    def said(self) -> str:
        return self.file.read_text(errors="replace")

    def until_said(self, words: str, within: float = TURN) -> None:
        until(lambda: words in self.said() or self.process.poll() is not None, within, f"{words!r} in {self.said()!r}")
        assert words in self.said()

    def ctrl_c(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def ends(self, within: float = TURN) -> int:
        return self.process.wait(within)


@dataclass
class Machine:
    """One state directory with its stack, a workspace, and as many terminals as a test wants."""

    place: Path
    stack: Terminal | None = None
    opened: int = 0

    @property
    def state(self) -> Path:
        return self.place / "state"

    @property
    def workspace(self) -> Path:
        return self.place / "work"

    def environment(self) -> dict[str, str]:
        """Nothing of whoever runs the tests leads elsewhere, and no OpenCode login of theirs is used."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TEMPORAL_", "TURNKEEPER_"))}
        return kept | {"HOME": str(self.place), "TURNKEEPER_STATE_DIR": str(self.state)}

    def open(self, *line: str) -> Terminal:
        self.opened += 1
        file = self.place / f"terminal-{self.opened}.txt"
        with file.open("wb") as out:
            process = subprocess.Popen(  # noqa: S603 - our own program
                (*PROGRAM, *line),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self.environment(),
                cwd=self.workspace,
            )
        return Terminal(process, file)

    def call(self, *line: str) -> tuple[int, str]:
        terminal = self.open(*line)
        code = terminal.ends()
        return code, terminal.said()

    def start(self) -> None:
        self.stack = self.open("dev", "--scripted")
        self.stack.until_said("ready:", START)

    def stop(self) -> int:
        assert self.stack is not None
        self.stack.ctrl_c()
        return self.stack.ends(STOP)

    def processes(self) -> dict[int, str]:
        """Everything that runs for this state directory, by command line."""
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        pids = set(self.facts().get("pids", {}).values()) if (self.state / "stack.json").exists() else set()
        return {pid: line for pid, line in found.items() if pid in pids or str(self.state) in line}

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.state / "stack.json").read_text())
        return facts


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("machine"))
    machine.workspace.mkdir()
    machine.start()
    try:
        yield machine
    finally:
        assert machine.stack is not None
        machine.stack.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            machine.stack.ends(STOP)
        machine.stack.process.kill()


def last_entry(said: str) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads(said.splitlines()[-1])
    return entry


def test_a_prompt_that_writes_a_file_ends_with_0_the_answer_and_the_link(machine: Machine) -> None:
    code, said = machine.call("run", "--thread", "writer", "write hello.txt: Every turn ends.")
    assert code == 0, said
    assert (machine.workspace / "hello.txt").read_text() == "Every turn ends.\n"
    assert "tool 1 write" in said
    assert "\nscripted model: hello.txt" in said
    assert "completed: finished after" in said
    ui = machine.facts()["temporal_ui"]
    assert re.search(
        rf"^see it: {ui}/namespaces/default/workflows/turn%3Awriter/[0-9a-f-]+/history$", said, re.MULTILINE
    )


def test_a_program_reads_one_object_a_line(machine: Machine) -> None:
    code, said = machine.call("run", "--json", "--key", "once", "bash: echo from the shell")
    assert code == 0, said
    entries = [json.loads(line) for line in said.splitlines()]
    assert entries[0]["event"] == "started"
    settled = entries[-1]
    assert (settled["event"], settled["state"], settled["reason"]) == ("settled", "completed", "finished")
    assert "from the shell" in settled["text"]

    code, said = machine.call("run", "--json", "--key", "once", "bash: echo from the shell")
    again = last_entry(said)
    assert code == 0
    assert (again["thread"], again["run"]) == (settled["thread"], settled["run"]), "the key gives the earlier turn"


def test_another_terminal_sees_the_thread_and_that_all_is_well(machine: Machine) -> None:
    machine.call("run", "--thread", "seen", "bash: ls")
    code, said = machine.call("threads")
    assert code == 0
    assert re.search(r"^seen +local +ready +t1 completed: finished +bash: ls", said, re.MULTILINE), said
    code, said = machine.call("show", "seen")
    assert code == 0
    assert "thread seen: ready" in said
    assert str(machine.workspace) in said
    until(lambda: machine.call("doctor")[0] == 0, START, "doctor is content")
    code, said = machine.call("follow", "seen")
    assert code == 0
    assert "completed: finished" in said


def test_ctrl_c_stops_a_slow_turn_and_waits_for_the_confirmation(machine: Machine) -> None:
    terminal = machine.open("run", "--thread", "stopped", "count to 500")
    terminal.until_said("running: waits for")
    terminal.ctrl_c()
    assert terminal.ends() == 1
    assert "asking for the stop, waiting for the confirmation" in terminal.said()
    assert "interrupted: stopped, confirmed after" in terminal.said()
    assert machine.call("interrupt", "stopped") == (0, "No turn was running.\n")


def test_ctrl_c_twice_leaves_and_follow_comes_back(machine: Machine) -> None:
    terminal = machine.open("run", "--thread", "left", "count to 40")
    terminal.until_said("running: ")
    terminal.ctrl_c()
    terminal.until_said("stopping the turn")
    terminal.ctrl_c()
    assert terminal.ends() == 2
    assert "The turn goes on. Follow it again with: turnkeeper follow left" in terminal.said()
    code, said = machine.call("follow", "left")
    assert code == 0, said
    assert "completed: finished" in said


def test_interrupt_from_another_terminal_ends_the_run_here(machine: Machine) -> None:
    terminal = machine.open("run", "--thread", "elsewhere", "count to 500")
    terminal.until_said("running: waits for")
    code, said = machine.call("interrupt", "elsewhere", "--why", "test")
    assert (code, said) == (0, "thread elsewhere, turn t1: interrupted: stopped, confirmed\n")
    assert terminal.ends() == 1


def test_a_question_is_answered_from_another_terminal(machine: Machine) -> None:
    terminal = machine.open("run", "--thread", "asking", "ask Which colour? red, green")
    terminal.until_said("or in words of your own, or --reject")
    (typed,) = re.findall(r"turnkeeper (answer asking que_\S+ --answer red)", terminal.said())
    assert machine.call("show", "asking")[1].count(f"turnkeeper {typed}") == 1
    code, said = machine.call(*typed.split())
    assert (code, said) == (0, "answered: question Which colour?: red\n")
    assert terminal.ends() == 0
    assert '"Which colour?"="red"' in terminal.said()
    code, said = machine.call(*typed.split(), "--json")
    assert (code, last_entry(said)["state"]) == (1, "stale")


READ_OUTSIDE = {"kind": "tool", "name": "read", "arguments": {"filePath": "/etc/hostname"}}
OUTSIDE = f"go <<<{json.dumps([READ_OUTSIDE, {'kind': 'text'}])}>>>"


def test_a_permission_is_rejected_from_another_terminal(machine: Machine) -> None:
    terminal = machine.open("run", "--json", "--thread", "outside", OUTSIDE)
    terminal.until_said('"kind": "permission"')
    code, said = machine.call("answer", "outside", "--reject", "--message", "stay here")
    assert code == 0, said
    assert "answered: permission external_directory: " in said
    assert terminal.ends() == 0
    events = [json.loads(line) for line in terminal.said().splitlines()]
    asked, closed = (event for event in events if event["event"] == "request")
    assert (asked["permission"], asked["open"], closed["open"]) == ("external_directory", True, False)


def test_rules_and_the_clock_answer_an_unattended_run(machine: Machine) -> None:
    code, said = machine.call("run", "--thread", "alone", "--allow", "external_directory:/etc*", OUTSIDE)
    assert code == 0, said
    assert "waiting for you" not in said
    code, said = machine.call("run", "--request-timeout", "1s", "ask Which colour? red, green")
    assert code == 1, said
    assert "Nobody answered in time, so it was rejected: Which colour?" in said


def test_two_terminals_share_a_queue(machine: Machine) -> None:
    first = machine.open("run", "--thread", "shared", "count to 500")
    first.until_said("running: waits for")
    second = machine.open("run", "--thread", "shared", "second")
    second.until_said("queued: ")
    third = machine.open("run", "--thread", "shared", "third")
    third.until_said("queued: ")
    code, said = machine.call("queue", "shared")
    assert code == 0
    assert said.index("second") < said.index("third")
    code, said = machine.call("queue", "shared", "--remove", "t2")
    assert (code, said.splitlines()[:2]) == (0, ["t2 was not sent. Its prompt:", "second"])
    assert second.ends() == 1
    assert "removed" in second.said()
    unwanted = machine.open("run", "--thread", "shared", "write unwanted.txt: x")
    unwanted.until_said("queued: ")
    unwanted.ctrl_c()
    assert unwanted.ends() == 1
    assert "t4 was taken out of the queue before it began: nothing was sent." in unwanted.said()
    code, said = machine.call("interrupt", "shared")
    assert code == 0
    assert "1 prompt waits, untouched: t3." in said
    assert first.ends() == 1
    assert third.process.poll() is None, "it waits for a word"
    fourth = machine.open("run", "--thread", "shared", "--on-busy", "interrupt", "fourth")
    assert (fourth.ends(), third.ends()) == (0, 0)


def test_a_second_terminal_interrupts_the_first(machine: Machine) -> None:
    first = machine.open("run", "--thread", "urgent", "count to 500")
    first.until_said("running: waits for")
    code, said = machine.call("run", "--thread", "urgent", "--on-busy", "interrupt", "this first")
    assert code == 0, said
    assert "completed: finished" in said
    assert first.ends() == 1
    assert "interrupted: stopped, confirmed" in first.said()
    assert machine.call("stop", "urgent") == (0, "No turn was running.\n")
    code, said = machine.call("show", "urgent")
    assert "thread urgent: stopped" in said
    assert machine.call("close", "urgent") == (0, "thread urgent is closed\n")


def test_a_run_that_opencode_loses_goes_on_if_it_was_told_to(machine: Machine) -> None:
    """OpenCode is killed -9 and started again by the stack; the command shows the follow-up to its end."""
    terminal = machine.open("run", "--on-lost", "continue", "--thread", "unlucky", "bash: sleep 300")
    terminal.until_said("tool 1 bash")
    os.kill(machine.facts()["pids"]["opencode"], signal.SIGKILL)
    terminal.until_said("the provider lost turn t1; t2 goes on with it")
    assert terminal.ends() == 0
    _, shown = machine.call("show", "unlucky")
    assert "provider_lost_turn" in shown
    assert "finished" in shown


def test_a_terminal_gets_the_live_view(machine: Machine) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(  # noqa: S603 - our own program
        (*PROGRAM, "run", "write live.txt: seen"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=machine.environment() | {"TERM": "xterm-256color"},
        cwd=machine.workspace,
    ) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # Linux says so when the other end is closed
            while piece := os.read(ours, 65536):
                shown += piece
        os.close(ours)
        assert process.wait(TURN) == 0
    text = shown.decode(errors="replace")
    assert "\x1b[?25h" in text, "the cursor is given back"
    assert "Ctrl-C stops the turn" in text
    assert "completed: finished after" in text


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (("run", "--dir", "/usr", "x"), "outside the endpoint's roots"),
        (("run", "--endpoint", "nosuch", "x"), "no endpoint 'nosuch'"),
        (("run", "--model", "no/such", "x"), "no model 'no/such'"),
        (("show", "nosuch"), "There is no thread 'nosuch'."),
        (("follow", "nosuch"), "There is no thread 'nosuch'."),
        (("interrupt", "nosuch"), "There is no thread 'nosuch'."),
        (("dev", "--scripted"), "A stack already runs on"),
    ],
)
def test_bad_input_is_one_line_and_ends_with_2(machine: Machine, line: Sequence[str], words: str) -> None:
    code, said = machine.call(*line)
    assert code == 2, said
    complaint = said.splitlines()[-1]
    assert complaint.startswith("turnkeeper: ")
    assert words in complaint
    assert "Traceback" not in said


def test_a_wrong_namespace_and_a_closed_port_are_one_line(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    address = machine.facts()["temporal_address"]
    plain = machine.environment()
    for extra, words in (
        ({"TEMPORAL_ADDRESS": address, "TEMPORAL_NAMESPACE": "nosuch"}, "no namespace 'nosuch'"),
        (
            {"TEMPORAL_ADDRESS": "127.0.0.1:9"},
            "nothing listens at its address. Check TEMPORAL_ADDRESS",
        ),
    ):
        environment = plain | extra
        monkeypatch.setattr(machine, "environment", lambda environment=environment: environment)
        code, said = machine.call("run", "x")
        assert (code, said.count("\n")) == (2, 1)
        assert words in said


def test_the_password_is_in_no_output_and_no_log(machine: Machine) -> None:
    password = machine.facts()["opencode_password"]
    assert len(password) > 10
    machine.call("doctor", "--json")
    for file in [*machine.place.glob("terminal-*.txt"), *(machine.state / "logs").iterdir()]:
        assert password not in file.read_text(errors="replace"), file.name


def test_ctrl_c_ends_every_process_and_the_next_start_finds_everything(machine: Machine) -> None:
    machine.call("run", "--thread", "kept", "bash: ls")
    before = machine.facts()
    assert len(machine.processes()) >= 4  # model, Temporal, OpenCode, worker
    pids = set(machine.processes())
    cut_off = machine.open("run", "--thread", "cut-off", "bash: sleep 300")
    cut_off.until_said("tool 1 bash")
    assert machine.stop() == 0
    assert machine.stack is not None
    said = machine.stack.said()
    assert "1 turn runs:\n  cut-off, since " in said
    assert "settles as provider_lost_turn" in said
    assert said.splitlines()[-2:] == [
        "stopping; Ctrl-C again ends everything at once",
        "stopped; the next start on this directory finds everything again",
    ]
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), STOP, "every process is gone")
    assert not machine.processes()
    code, said = machine.call("threads")
    assert code == 2
    assert "turnkeeper dev" in said

    machine.start()
    assert machine.facts()["temporal_ui"] == before["temporal_ui"], "links stay good"
    code, said = machine.call("run", "--thread", "kept", "bash: ls")
    assert code == 0, said
    assert "thread kept, turn t2" in said
    assert cut_off.ends() == 1
    assert "interrupted: provider_lost_turn" in cut_off.said()

    pids = set(machine.processes())
    machine.stack.ctrl_c()
    machine.stack.until_said("stopping; Ctrl-C again")
    machine.stack.ctrl_c()
    assert machine.stack.ends(STOP) == 0
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), STOP, "every process is gone")
