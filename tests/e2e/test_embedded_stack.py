"""The embedded stack on real servers: found from outside, stopped without a trace, found again at the next start."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from temporalio.client import Client

from tests.e2e.bare_session import BareSession, answer_text
from tests.e2e.conftest import SEARCH_ATTRIBUTES
from tests.e2e.waiting import DEADLINE, until, until_true
from turnkeeper.dev.errors import (
    BinaryMissingError,
    PortInUseError,
    ProcessFailedError,
    StackHeldError,
    StackNotFoundError,
)
from turnkeeper.dev.model import ScriptedModel
from turnkeeper.dev.opencode_server import SCRIPTED_MODEL, OpenCodeServer, scripted_config
from turnkeeper.dev.opencode_setup import find_user_setup
from turnkeeper.dev.stack import EmbeddedStack, StackSettings, WorkerHook
from turnkeeper.dev.stack_state import STATE_FILE, Ports, StackState, command_of, read_stack
from turnkeeper.dev.temporal_server import TemporalServer

NOTED_WORKER = "import os, time; print('sees ' + os.environ['TEMPORAL_ADDRESS'], flush=True); time.sleep(600)"
OWNER = """
import asyncio, sys
from pathlib import Path
from tests.e2e.test_embedded_stack import settings_for
from turnkeeper.dev.stack import EmbeddedStack

async def main():
    async with EmbeddedStack(settings_for(Path(sys.argv[1]), Path(sys.argv[2]))):
        print("up", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def settings_for(state: Path, program: Path) -> StackSettings:
    worker = WorkerHook(
        command=[sys.executable, "-c", NOTED_WORKER],
        environment=lambda state: {"TEMPORAL_ADDRESS": state.temporal_address},
    )
    return StackSettings(state=state, search_attributes=SEARCH_ATTRIBUTES, opencode_program=program, worker=worker)


def fake_opencode(folder: Path, script: str) -> Path:
    program = folder / "opencode"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


async def test_a_stack_that_is_killed_leaves_nothing_running_and_is_found_again(
    tmp_path: Path, workspace: Path, pinned_opencode: Path
) -> None:
    state_directory = tmp_path / "state"
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(state_directory), str(pinned_opencode), stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    async with asyncio.timeout(DEADLINE * 2):
        assert await owner.stdout.readline() == b"up\n"
    first = read_stack(state_directory)
    assert first.pid == owner.pid
    assert stat.S_IMODE((state_directory / STATE_FILE).stat().st_mode) == 0o600
    assert set(first.pids) == {"model", "temporal", "opencode", "worker"}
    await until_true(lambda: f"sees {first.temporal_address}" in (first.logs / "worker.log").read_text())
    with pytest.raises(StackHeldError, match=f"pid {owner.pid}"):
        await EmbeddedStack(settings_for(state_directory, pinned_opencode)).start()
    await (await Client.connect(first.temporal_address)).start_workflow("Nobody", id="kept", task_queue="nobody")
    session = await _one_turn(first, workspace)

    owner.kill()
    await owner.wait()
    await until_true(lambda: not any(command_of(pid) for pid in first.pids.values()))
    with pytest.raises(StackNotFoundError, match="ended without cleaning up"):
        read_stack(state_directory)

    async with EmbeddedStack(settings_for(state_directory, pinned_opencode)) as stack:
        second = stack.state
        assert read_stack(state_directory) == second
        assert (second.temporal_address, second.temporal_ui) == (first.temporal_address, first.temporal_ui)
        assert second.opencode_boot_id != first.opencode_boot_id
        client = await Client.connect(second.temporal_address)
        assert (await client.get_workflow_handle("kept").describe()).id == "kept"
        async with stack.opencode.client() as http:
            again = BareSession(http, workspace, session)
            assert len(await again.messages()) == 2
            await again.prompt("bash: echo $$ > tool.pid; sleep 600")
            tool = int(await until(_content_of(workspace / "tool.pid")))
        await _restarts_what_died(stack)
        last = stack.state
    assert not any(command_of(pid) for pid in (*last.pids.values(), tool))
    with pytest.raises(StackNotFoundError, match="No stack runs on"):
        read_stack(state_directory)


def _content_of(file: Path) -> Callable[[], Awaitable[str]]:
    async def read() -> str:
        return file.read_text() if file.exists() else ""  # noqa: ASYNC240 - a few bytes of a test

    return read


async def _one_turn(state: StackState, workspace: Path) -> str:
    """As another terminal would: with what the state file says."""
    auth = httpx.BasicAuth(state.opencode_username, state.opencode_password)
    async with httpx.AsyncClient(base_url=state.opencode_url, auth=auth, timeout=10, trust_env=False) as client:
        session = await BareSession.create(client, workspace)
        assert answer_text(await session.run("hello")).startswith("scripted model")
        return session.id


async def _restarts_what_died(stack: EmbeddedStack) -> None:
    told: list[str] = []
    keeping = asyncio.create_task(stack.keep_running(told.append))
    before = stack.state.pids["temporal"]
    os.kill(before, signal.SIGKILL)
    await until_true(lambda: stack.state.pids["temporal"] != before and stack.temporal.process.running)
    await until_true(lambda: read_stack(stack.state.logs.parent).pids["temporal"] == stack.state.pids["temporal"])
    await until_true(lambda: len(told) > 1)
    assert told == [
        "The Temporal dev server ended with code -9; starting it again.",
        "The Temporal dev server runs again.",
    ]
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_a_part_that_fails_takes_the_others_down_and_says_why(tmp_path: Path) -> None:
    program = fake_opencode(tmp_path, "echo 'no such option' >&2; exit 3")
    stack = EmbeddedStack(StackSettings(state=tmp_path / "state", opencode_program=program))
    with pytest.raises(ProcessFailedError, match=r"OpenCode ended with code 3 before it was ready.*no such option"):
        await stack.start()
    assert not stack.temporal.process.running
    assert stack.model is not None
    assert not stack.model.process.running
    with pytest.raises(StackNotFoundError):
        read_stack(tmp_path / "state")


async def test_a_missing_opencode_says_how_to_install_it(tmp_path: Path) -> None:
    stack = EmbeddedStack(StackSettings(state=tmp_path / "state", opencode_program=tmp_path / "nothing"))
    with pytest.raises(BinaryMissingError, match="is not a file"):
        await stack.start()


async def test_a_port_in_use_is_named_with_its_setting(temporal_server: TemporalServer, tmp_path: Path) -> None:
    stack = EmbeddedStack(StackSettings(state=tmp_path / "state", ports=Ports(temporal=temporal_server.port)))
    with pytest.raises(PortInUseError, match=rf"Port {temporal_server.port} .*setting: temporal port"):
        await stack.start()


async def test_temporal_keeps_what_it_acknowledged_over_kill_9(tmp_path: Path) -> None:
    server = TemporalServer(log=tmp_path / "temporal.log", database=tmp_path / "temporal.db", ui=False)
    async with server:
        client = await Client.connect(server.address)
        await client.start_workflow("Nobody", id="kept", task_queue="nobody")
        await server.kill()
        assert server.process.exit_code == -signal.SIGKILL
        await server.start()
        description = await client.get_workflow_handle("kept").describe()
        assert description.id == "kept"


async def test_the_boot_id_can_be_read_back_and_a_wrong_password_is_refused(opencode: OpenCodeServer) -> None:
    async with opencode.client() as client:
        assert (await client.get("/config")).json()["username"] == opencode.boot_id
        assert (await client.get("/global/health", auth=("opencode", "wrong"))).status_code == 401
    assert opencode.version.startswith("1.18.")


async def test_a_persons_own_setup_is_used_as_it_is(
    tmp_path: Path, pinned_opencode: Path, scripted_model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their home, their configuration (here: one that names the scripted model); only address and password are ours."""
    config = tmp_path / "config" / "opencode" / "opencode.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps(scripted_config(scripted_model.base_url, {}, {}) | {"username": "somebody"}))
    for variable in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable.removeprefix("XDG_").removesuffix("_HOME").lower()))
    assert find_user_setup().found == (f"configuration {config}",)
    monkeypatch.setenv("TURNKEEPER_ENCRYPTION_KEYS", "hush")
    server = OpenCodeServer.for_user(log=tmp_path / "o.log", directory=tmp_path / "server", program=pinned_opencode)
    async with server, server.client() as client:
        seen = (await client.get("/config")).json()
        assert (seen["username"], seen["model"]) == ("somebody", SCRIPTED_MODEL)
        assert server.boot_id is None
        told = Path(f"/proc/{server.process.pid}/environ").read_bytes()  # noqa: ASYNC240 - a few bytes of a test
        assert b"hush" not in told, "an agent's shell would see it"
