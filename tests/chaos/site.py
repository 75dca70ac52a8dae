"""Real processes, with a wire that can fail between any two of them that talk.

    test --> Temporal <-- wire -- worker (two) -- gate -- wire --> OpenCode -- wire --> scripted model

Only the scripted model lives in the test's own process: it is the witness of what was asked of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

from temporalio.api.workflowservice.v1 import GetSystemInfoRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from tests.chaos.bare import abort_all, is_sound
from tests.chaos.clock import JumpingClock
from tests.chaos.disk import SIZE, SmallDisk, small_disk
from tests.chaos.overheard import Overheard, overhearing
from tests.chaos.proxy import FaultProxy
from tests.chaos.results import Place
from tests.e2e.conftest import ASKING_PERMISSIONS, SEARCH_ATTRIBUTES
from tests.e2e.turns.deployment import Deployment, deployed
from tests.e2e.turns.gate import Gate
from tests.e2e.turns.worker_process import worker_process
from tests.e2e.waiting import POLL, until
from turnkeeper.client import Turnkeeper
from turnkeeper.dev.errors import ProcessFailedError
from turnkeeper.dev.model import ScriptedModel
from turnkeeper.dev.opencode_binary import find_opencode
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.dev.processes import SupervisedProcess
from turnkeeper.dev.temporal_server import TemporalServer

WORKERS: Final = 2
ENDPOINT: Final = "chaos"
QUIET_WITHIN: Final = 3.0
"""Seconds after everything is settled: the last word follows its idle by 0.35 s. Whatever is at work then is left over
from a stop that was not confirmed, or should not be."""

CLEARED_WITHIN: Final = 10.0
"""Seconds for OpenCode to end what is left over."""

UP_WITHIN: Final = 60.0
"""Seconds for a process to be up again, whatever it needs being away at first."""

AGAIN: Final = 0.3
"""Seconds before a supervisor starts a process again that ended at once."""


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
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Everybody of the run was told the end of everything: a fault that lasts teaches nothing more."""

    @property
    def keeper(self) -> Turnkeeper:
        """What the people of the stories use; nothing stands between them and Temporal."""
        return self.people.keeper

    @property
    def directory(self) -> Path:
        return self.people.directory

    def begin(self) -> None:
        """Forget the run before."""
        self.deaths.clear()
        self.overheard.sessions.clear()
        self.settled.clear()

    async def lasts(self, seconds: float) -> None:
        """A fault does for so long, or until everything is settled."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.settled.wait()

    async def heal(self) -> None:
        """Every wire passes, every process runs, and the relay is attached again."""
        self.to_model.heal()
        if self.disk is not None:
            self.disk.free()
        for worker in self.workers:
            worker.heal()
        for process in (self.temporal.process, self.opencode.process, *(worker.process for worker in self.workers)):
            process.signal(signal.SIGCONT)
        await up(self.temporal.process)
        await self.opencode_up()
        for worker in self.workers:
            await up(worker.process)
        await until(
            lambda: self.keeper.endpoint(ENDPOINT),
            lambda seen: seen.relay is not None and seen.relay.attached,
            deadline=UP_WITHIN,
        )

    async def opencode_up(self) -> None:
        await up(self.opencode.process, self.opencode.start)

    async def until_quiet(self) -> frozenset[str]:
        """The sessions that OpenCode still works on after a while: what goes on after a turn's end is then stored."""
        end = time.monotonic() + QUIET_WITHIN
        while (busy := await self._busy()) and time.monotonic() < end:  # noqa: ASYNC110 - OpenCode sets no event of ours
            await asyncio.sleep(POLL)
        return busy

    async def _busy(self) -> frozenset[str]:
        answer = await self.people.truth.get("/session/status", params={"directory": str(self.directory)})
        return frozenset(answer.raise_for_status().json())

    async def clear(self, busy: frozenset[str]) -> bool:
        """End what is left over, and see that OpenCode is well. False: it had to be started anew.

        An OpenCode whose first call in a directory is cut off may answer every prompt there with an error for ever
        ("All fibers interrupted without error", 1.18.33).
        """
        await abort_all(self.people.truth, busy)
        with contextlib.suppress(AssertionError):
            await until(self._busy, lambda found: not found, deadline=CLEARED_WITHIN)
        struck = bool(self.deaths or self.overheard.sessions or await self._busy())
        if not struck or await self._is_sound():
            return True
        await self.opencode.kill()
        await self.heal()
        if not await self._is_sound():
            raise RuntimeError("OpenCode answers no prompt although it was started anew")
        return False

    async def _is_sound(self) -> bool:
        return await is_sound(self.people.truth, self.directory, self.overheard.sessions, within=UP_WITHIN)

    async def place(self) -> Place:
        """What it is made of."""
        system = await self.keeper.temporal.workflow_service.get_system_info(GetSystemInfoRequest())
        return Place(version("temporalio"), system.server_version, self.opencode.version)


async def up(process: SupervisedProcess, start: Callable[[], Awaitable[object]] | None = None) -> None:
    """As a supervisor does: started again and again, since what it needs may be away, too."""
    end = time.monotonic() + UP_WITHIN
    while not process.running:
        try:
            await (start or process.start)()
        except ProcessFailedError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(AGAIN)


@asynccontextmanager
async def running_site(directory: Path, *, disk_size: str = SIZE) -> AsyncIterator[Site]:
    """A site that keeps everything under `directory`, absolute and without links. `disk_size`: of OpenCode's disk."""
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(ScriptedModel())
        to_model = await stack.enter_async_context(FaultProxy.before(model.port))
        state = directory / "opencode"
        disk = stack.enter_context(small_disk(state / "data", disk_size))
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
        site.deaths.append(time.time())  # cold: seen to be well before the first run
        await site.clear(frozenset())
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
