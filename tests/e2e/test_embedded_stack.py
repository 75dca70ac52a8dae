"""The embedded stack on real servers: found from outside, stopped without a trace, found again at the next start."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from pathlib import Path

import httpx
import pytest
from temporalio.client import Client

from tests.e2e.bare_session import BareSession, answer_text
from tests.e2e.conftest import SEARCH_ATTRIBUTES
from tests.e2e.waiting import until_true
from turnkeeper.dev.errors import (
    BinaryMissingError,
    PortInUseError,
    ProcessFailedError,
    StackHeldError,
    StackNotFoundError,
)
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.dev.stack import EmbeddedStack, StackSettings, WorkerHook
from turnkeeper.dev.stack_state import STATE_FILE, Ports, StackState, command_of, read_stack
from turnkeeper.dev.temporal_server import TemporalServer

NOTED_WORKER = "import os, time; print('sees ' + os.environ['TEMPORAL_ADDRESS'], flush=True); time.sleep(600)"


def worker_environment(state: StackState) -> dict[str, str]:
    return {"TEMPORAL_ADDRESS": state.temporal_address}


def fake_opencode(folder: Path, script: str) -> Path:
    program = folder / "opencode"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


async def test_a_stack_is_found_again_with_its_data(tmp_path: Path, workspace: Path, pinned_opencode: Path) -> None:
    state_directory = tmp_path / "state"
    settings = StackSettings(
        state=state_directory,
        search_attributes=SEARCH_ATTRIBUTES,
        opencode_program=pinned_opencode,
        worker=WorkerHook(command=[sys.executable, "-c", NOTED_WORKER], environment=worker_environment),
    )
    async with EmbeddedStack(settings) as stack:
        first = read_stack(state_directory)
        assert first == stack.state
        assert stat.S_IMODE((state_directory / STATE_FILE).stat().st_mode) == 0o600
        assert set(first.pids) == {"model", "temporal", "opencode", "worker"}
        with pytest.raises(StackHeldError, match=f"pid {os.getpid()}"):
            await EmbeddedStack(settings).start()
        await until_true(lambda: f"sees {first.temporal_address}" in (first.logs / "worker.log").read_text())
        await Client.connect(first.temporal_address)
        session = await _one_turn(first, workspace)
    with pytest.raises(StackNotFoundError, match="No stack runs on"):
        read_stack(state_directory)
    assert [command_of(pid) for pid in first.pids.values()] == ["", "", "", ""]

    async with EmbeddedStack(settings) as stack:
        second = stack.state
        assert second.temporal_address == first.temporal_address
        assert second.opencode_boot_id != first.opencode_boot_id
        async with stack.opencode.client() as client:
            again = BareSession(client, workspace, session)
            assert len(await again.messages()) == 2
        await _restarts_what_died(stack)


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
    assert told == ["The Temporal dev server ended with code -9; starting it again."]
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
