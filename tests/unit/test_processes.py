"""Children under supervision: drained, ended for certain, never left behind. Real processes, tiny ones."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.e2e.waiting import until_true
from turnkeeper.dev.errors import PortInUseError, ProcessFailedError
from turnkeeper.dev.ports import LOOPBACK, choose_port
from turnkeeper.dev.processes import BoundedLog, Readiness, SupervisedProcess
from turnkeeper.dev.stack_state import command_of

PIPE_SIZE = 64 * 1024
"""Bytes a Linux pipe takes before a writer has to wait."""
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
OWNER = """
import asyncio, sys
from pathlib import Path
from turnkeeper.dev.processes import SupervisedProcess

async def ready():
    return True

async def main():
    child = SupervisedProcess("child", ["/bin/sleep", "600"], log=Path(sys.argv[1]), ready=ready, start_deadline=5)
    await child.start()
    print(child.pid, flush=True)
    await child.wait()

asyncio.run(main())
"""


def said(log: Path, text: str) -> Readiness:
    async def ready() -> bool:
        return text in log.read_text()  # noqa: ASYNC240 - a few bytes of a test

    return ready


def child(log: Path, *command: str, ready: Readiness, start_deadline: float = 20) -> SupervisedProcess:
    return SupervisedProcess("The child", command, log=log, ready=ready, start_deadline=start_deadline)


async def test_output_far_beyond_a_pipe_never_stops_the_child(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    code = f"import sys, time; sys.stdout.write('x' * {PIPE_SIZE * 20}); print('done', flush=True); time.sleep(600)"
    process = child(log, sys.executable, "-c", code, ready=said(log, "done"))
    await process.start()
    await process.stop()
    assert process.exit_code == -signal.SIGTERM


async def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    process = child(log, sys.executable, "-c", STUBBORN, ready=said(log, "up"))
    await process.start()
    await process.stop(grace=0.1)
    assert process.exit_code == -signal.SIGKILL
    await process.stop()  # fine twice


async def test_a_child_that_ends_early_is_reported_with_its_last_words(tmp_path: Path) -> None:
    process = child(tmp_path / "c.log", "/bin/sh", "-c", "echo oh no; exit 7", ready=said(tmp_path / "c.log", "never"))
    with pytest.raises(ProcessFailedError, match=r"ended with code 7 before it was ready.*oh no"):
        await process.start()


async def test_a_child_that_is_never_ready_is_killed(tmp_path: Path) -> None:
    process = child(tmp_path / "c.log", "/bin/sleep", "600", ready=said(tmp_path / "c.log", "x"), start_deadline=0.2)
    with pytest.raises(ProcessFailedError, match=r"not ready within 0.2 s"):
        await process.start()
    assert process.exit_code == -signal.SIGKILL


async def test_a_cancelled_start_leaves_nothing_behind(tmp_path: Path) -> None:
    process = child(tmp_path / "c.log", "/bin/sleep", "600", ready=said(tmp_path / "c.log", "x"))
    starting = asyncio.create_task(process.start())
    await until_true(lambda: process.running)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    assert not process.running


async def test_a_program_that_is_not_there_is_reported(tmp_path: Path) -> None:
    process = child(tmp_path / "c.log", str(tmp_path / "nothing"), ready=said(tmp_path / "c.log", "never said"))
    with pytest.raises(ProcessFailedError, match=r"ended with code 1 .*nothing: No such file"):
        await process.start()


async def test_a_grandchild_that_keeps_the_pipe_open_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    process = child(log, "/bin/sh", "-c", "setsid sleep 600 & echo grandchild $!; sleep 600", ready=said(log, "grand"))
    await process.start()
    try:
        async with asyncio.timeout(5):
            await process.stop()
    finally:
        os.kill(int(log.read_text().split()[1]), signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
async def test_a_child_dies_with_an_owner_that_is_killed(tmp_path: Path) -> None:
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(tmp_path / "c.log"), stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    pid = int(await owner.stdout.readline())
    await until_true(lambda: "sleep 600" in command_of(pid))  # the wrapper has become the program
    owner.kill()
    await owner.wait()
    await until_true(lambda: command_of(pid) == "")


def test_a_log_never_outgrows_its_bound(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "a.log", limit=100)
    for number in range(50):
        log.write(f"line {number:04}\n".encode())
    log.write(b"y" * 1000)
    sizes = {file.name: file.stat().st_size for file in tmp_path.iterdir()}
    assert set(sizes) == {"a.log", "a.log.1"}
    assert max(sizes.values()) <= 100
    assert "line 0049" in log.tail() or "yyy" in log.tail()


async def test_a_port_in_use_is_refused_by_name() -> None:
    async def nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(nothing, LOOPBACK, 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(PortInUseError, match=f"Port {port} for the thing .*setting: thing port"):
            choose_port(port, program="the thing", setting="thing port")
    with pytest.raises(PortInUseError):
        choose_port(70_000, program="the thing", setting="thing port")
    assert choose_port(0, program="the thing", setting="thing port") > 0
