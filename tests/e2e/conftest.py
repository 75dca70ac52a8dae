"""Real servers, started once for the whole run: OpenCode costs about four seconds and 400 MB a start.

The OpenCode of `node_modules` is used whatever is on PATH, so that everybody tests the pinned version; another one is
named by `TURNKEEPER_TEST_OPENCODE`, as `make compat` does.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import JsonValue

from turnkeeper.dev.model import ScriptedModel
from turnkeeper.dev.opencode_binary import find_opencode
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.dev.temporal_server import TemporalServer
from turnkeeper.search_attributes import ALL

SEARCH_ATTRIBUTES = tuple(key.name for key in ALL)
ASKING_PERMISSIONS: dict[str, JsonValue] = {
    "bash": {"*": "allow", "echo ask*": "ask"},
    "edit": "allow",
    "question": "allow",
    "webfetch": "deny",
    "external_directory": "deny",
}
"""The rules the recorded fixtures were made with: a command that begins with `echo ask` asks a person."""


@pytest.fixture(scope="session")
def pinned_opencode() -> Path:
    named = os.environ.get("TURNKEEPER_TEST_OPENCODE")
    return find_opencode(Path(named) if named else None, search_path="")


@pytest.fixture(scope="session")
async def scripted_model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as model:
        yield model


@pytest.fixture(scope="session")
async def opencode(
    scripted_model: ScriptedModel, pinned_opencode: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[OpenCodeServer]:
    """One shared server. A test that kills it needs its own: see `OpenCodeServer.hermetic`."""
    state = tmp_path_factory.mktemp("opencode")
    async with OpenCodeServer.hermetic(
        state=state,
        log=state / "opencode.log",
        model_url=scripted_model.base_url,
        permissions=ASKING_PERMISSIONS,
        program=pinned_opencode,
    ) as server:
        yield server


@pytest.fixture(scope="session")
async def temporal_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TemporalServer]:
    """In memory, tuned, search attributes registered, no web UI."""
    log = tmp_path_factory.mktemp("temporal") / "temporal.log"
    async with TemporalServer(log=log, search_attributes=SEARCH_ATTRIBUTES, ui=False) as server:
        yield server


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One warm directory for all tests: a new one costs OpenCode a second and 50 MB. Use file names of your own."""
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture
def cold_workspace(tmp_path: Path) -> Path:
    """A directory OpenCode has never seen, for the races of a cold start."""
    directory = tmp_path / "cold-workspace"
    directory.mkdir()
    return directory
