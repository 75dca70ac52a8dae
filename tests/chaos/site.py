"""Real processes, with a wire that can fail between any two of them that talk.

    test --> Temporal <-- wire -- worker (two) -- gate -- wire --> OpenCode -- wire --> scripted model

Only the scripted model lives in the test's own process: it is the witness of what was asked of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from tests.chaos.clock import JumpingClock
from tests.chaos.disk import SmallDisk, small_disk
from tests.chaos.overheard import Overheard, overhearing
from tests.chaos.proxy import FaultProxy
from tests.e2e.conftest import ASKING_PERMISSIONS, SEARCH_ATTRIBUTES
from tests.e2e.turns.deployment import Deployment, deployed
from tests.e2e.turns.gate import Gate
from tests.e2e.turns.worker_process import worker_process
from tests.e2e.waiting import until
from turnkeeper.client import Turnkeeper
from turnkeeper.dev.model import ScriptedModel
from turnkeeper.dev.opencode_binary import find_opencode
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.dev.processes import SupervisedProcess
from turnkeeper.dev.temporal_server import TemporalServer

WORKERS: Final = 2
ENDPOINT: Final = "chaos"
QUIET_WITHIN: Final = 120.0
"""Seconds: a run that an unconfirmed stop left alone works on for the rest of its script."""


@dataclass
class Worker:
    """One worker process and its wires."""

    process: SupervisedProcess
    to_temporal: FaultProxy
    gate: Gate
    to_opencode: FaultProxy
    clock: JumpingClock | None

    def heal(self) -> None:
        self.to_temporal.heal()
        self.to_opencode.heal()
        self.gate.let_pass()
        if self.clock is not None:
            self.clock.jump(0)


@dataclass
class Site:
    """Everything that a fault may strike. `deaths`: when OpenCode lost what it did, in seconds of the epoch.

    A worker's clock and the disk can only fail where the machine has a C compiler and permits a mount.
    """

    model: ScriptedModel
    to_model: FaultProxy
    opencode: OpenCodeServer
    state: Path
    temporal: TemporalServer
    workers: list[Worker]
    people: Deployment
    overheard: Overheard
    disk: SmallDisk | None
    deaths: list[float] = field(default_factory=list)

    @property
    def keeper(self) -> Turnkeeper:
        """What the people of the stories use; nothing stands between them and Temporal."""
        return self.people.keeper

    @property
    def directory(self) -> Path:
        return self.people.directory

    async def heal(self) -> None:
        """Every wire passes, every process runs, and the relay is attached again."""
        self.to_model.heal()
        if self.disk is not None:
            self.disk.free()
        for worker in self.workers:
            worker.heal()
        if not self.temporal.process.running:
            await self.temporal.start()
        if not self.opencode.process.running:
            await self.opencode.start()
        for worker in self.workers:
            if not worker.process.running:
                await worker.process.start()
        await until(
            lambda: self.keeper.endpoint(ENDPOINT),
            lambda seen: seen.relay is not None and seen.relay.attached,
            deadline=60,
        )

    async def until_quiet(self) -> None:
        """Until OpenCode works on nothing: what goes on after a turn's end is then in its database."""

        async def working() -> object:
            answer = await self.people.truth.get("/session/status", params={"directory": str(self.directory)})
            return answer.raise_for_status().json()

        await until(working, lambda found: not found, deadline=QUIET_WITHIN)


@asynccontextmanager
async def running_site(directory: Path) -> AsyncIterator[Site]:
    """A site that keeps everything under `directory`, an absolute path without links."""
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(ScriptedModel())
        to_model = await stack.enter_async_context(FaultProxy.before(model.port))
        state = directory / "opencode"
        disk = stack.enter_context(small_disk(state / "data"))
        opencode = OpenCodeServer.hermetic(
            state=state,
            log=directory / "opencode.log",
            model_url=f"{to_model.url}/v1",
            permissions=ASKING_PERMISSIONS,
            program=find_opencode(search_path=""),
        )
        temporal = TemporalServer(
            log=directory / "temporal.log",
            database=directory / "temporal.db",
            search_attributes=SEARCH_ATTRIBUTES,
            ui=False,
        )
        await asyncio.gather(stack.enter_async_context(opencode), stack.enter_async_context(temporal))
        client = await Client.connect(temporal.address, data_converter=pydantic_data_converter)
        workspace = directory / "workspace"
        workspace.mkdir()
        people = await stack.enter_async_context(
            deployed(client, opencode, directory=workspace, root=directory, name=ENDPOINT, run_worker=False)
        )
        overheard = await stack.enter_async_context(overhearing(people.truth))
        workers = [await _worker(stack, people, opencode, temporal, directory, number) for number in range(WORKERS)]
        site = Site(model, to_model, opencode, state, temporal, workers, people, overheard, disk)
        await site.heal()
        yield site


async def _worker(
    stack: AsyncExitStack,
    people: Deployment,
    opencode: OpenCodeServer,
    temporal: TemporalServer,
    directory: Path,
    number: int,
) -> Worker:
    to_temporal = await stack.enter_async_context(FaultProxy.before(temporal.port))
    to_opencode = await stack.enter_async_context(FaultProxy.before(opencode.port))
    gate = await stack.enter_async_context(Gate.before(to_opencode.port))
    process = worker_process(
        people,
        opencode,
        directory,
        directory / f"worker-{number}.log",
        url=gate.url,
        temporal=to_temporal.address,
    )
    clock = JumpingClock.built_in(directory / f"clock-{number}")
    if clock is not None:
        process.environment = {**(process.environment or {}), **clock.environment}
    stack.push_async_callback(process.stop)
    return Worker(process, to_temporal, gate, to_opencode, clock)
