"""Everything for one machine: the scripted model if asked, Temporal, OpenCode, and a worker if one is given.

One state directory holds it all: database, OpenCode's data, logs, and `stack.json` for other terminals. Stopping and
starting again finds the same threads, sessions and (while they are free) ports.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from turnkeeper.dev.errors import PortInUseError, ProcessFailedError, StackNotFoundError
from turnkeeper.dev.model_process import ModelProcess
from turnkeeper.dev.opencode_server import OpenCodeServer, Permissions
from turnkeeper.dev.ports import choose_port
from turnkeeper.dev.processes import Readiness, SupervisedProcess
from turnkeeper.dev.stack_state import (
    ModelSource,
    Ports,
    StackLock,
    StackState,
    forget_state,
    prepare_state_directory,
    read_ports,
    refuse_leftovers,
    write_ports,
    write_state,
)
from turnkeeper.dev.temporal_server import TemporalServer

WORKER_START_DEADLINE: Final = 30.0
"""Seconds until a worker says that it is ready."""
WORKER_STOP_GRACE: Final = 10.0
"""Seconds between SIGTERM and SIGKILL: a worker hands its activities over first."""
RESTART_DELAY: Final = 0.5
"""Seconds before a dead child is started again."""
MAX_RESTARTS: Final = 5
"""Restarts of one child within `RESTART_WINDOW`; a child that dies more often has a reason a person must see."""
RESTART_WINDOW: Final = 60.0
"""Seconds."""


@dataclass(frozen=True, kw_only=True)
class WorkerHook:
    """A child that needs the running stack: what to run, and what to tell it by environment."""

    command: Sequence[str]
    environment: Callable[[StackState], Mapping[str, str]] = field(default=lambda _: {})
    ready: Readiness | None = None
    directory: Path | None = None
    stop_grace: float = WORKER_STOP_GRACE


@dataclass(frozen=True, kw_only=True)
class StackSettings:
    """What a stack is made of. Ports: 0 for the last one if it is free, else any."""

    state: Path
    model_source: ModelSource = "scripted"
    search_attributes: Sequence[str] = ()
    permissions: Permissions = field(default_factory=dict)
    script: Path | None = None
    opencode_program: Path | None = None
    worker: WorkerHook | None = None
    ports: Ports = field(default_factory=Ports)


class EmbeddedStack:
    """`async with EmbeddedStack(settings) as stack: stack.state`. Leaving stops everything that was started."""

    def __init__(self, settings: StackSettings) -> None:
        self._settings = settings
        self._directory = settings.state.resolve()
        self._logs = self._directory / "logs"
        self._open = AsyncExitStack()
        self._started_at = 0.0
        self.model: ModelProcess | None = None
        self.worker: SupervisedProcess | None = None
        self._temporal: TemporalServer | None = None
        self._opencode: OpenCodeServer | None = None

    @property
    def temporal(self) -> TemporalServer:
        if self._temporal is None:
            raise StackNotFoundError("The stack has not been started.")
        return self._temporal

    @property
    def opencode(self) -> OpenCodeServer:
        if self._opencode is None:
            raise StackNotFoundError("The stack has not been started.")
        return self._opencode

    @property
    def state(self) -> StackState:
        """Where everything is right now."""
        opencode, temporal = self.opencode, self.temporal
        return StackState(
            pid=os.getpid(),
            started_at=self._started_at,
            model_source=self._settings.model_source,
            temporal_address=temporal.address,
            temporal_ui=temporal.ui_url,
            namespace=temporal.namespace,
            opencode_url=opencode.base_url,
            opencode_username=opencode.username,
            opencode_password=opencode.password,
            opencode_version=opencode.version,
            opencode_boot_id=opencode.boot_id,
            model_url=self.model.base_url if self.model else None,
            pids={name: process.pid for name, process in self._processes().items() if process.pid is not None},
            logs=self._logs,
        )

    async def start(self) -> Self:
        """Start everything; if one part fails, the others are stopped again.

        Raises:
            EmbeddedStackError: says which part and what to do.
        """
        try:
            await self._start()
        except BaseException:  # Ctrl-C while starting included
            await self._open.aclose()
            raise
        return self

    async def stop(self) -> None:
        """In reverse order, so that the worker hands over while its servers still answer."""
        await self._open.aclose()

    def kill(self) -> None:
        """SIGKILL to every child, so that `stop` has nothing left to wait for. What they store survives that."""
        for process in self._processes().values():
            process.signal(signal.SIGKILL)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def first_exit(self) -> tuple[str, int]:
        """Wait until a child ends by itself; its name and exit code."""
        waiting = {
            asyncio.create_task(process.wait(), name=name): name
            for name, process in self._processes().items()
            if process.running
        }
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        ended = done.pop()
        return waiting[ended], ended.result()

    async def keep_running(self, report: Callable[[str], None] = lambda _: None) -> None:
        """Start children again when they end. Runs until cancelled; stop nothing by hand meanwhile.

        Raises:
            ProcessFailedError: a child keeps ending.
        """
        restarts: dict[str, list[float]] = {}
        while True:
            name, code = await self.first_exit()
            now = time.monotonic()
            recent = [moment for moment in restarts.get(name, []) if now - moment < RESTART_WINDOW]
            process = self._processes()[name]
            if len(recent) >= MAX_RESTARTS:
                raise ProcessFailedError(
                    f"{process.name} ended {MAX_RESTARTS + 1} times within a minute (last code {code}). "
                    f"Its log {process.log.path} ends: {process.log.tail()}"
                )
            restarts[name] = [*recent, now]
            report(f"{process.name} ended with code {code}; starting it again.")
            await asyncio.sleep(RESTART_DELAY)
            await self._start_again(name)
            write_state(self._directory, self.state)
            report(f"{process.name} runs again.")

    async def _start_again(self, name: str) -> None:
        if name == "opencode":
            await self.opencode.start()  # a new boot id belongs to it
        else:
            await self._processes()[name].start()

    async def _start(self) -> None:
        prepare_state_directory(self._directory)
        self._open.callback(StackLock(self._directory).take().release)
        await asyncio.to_thread(refuse_leftovers, self._directory)
        self._started_at = time.time()
        ports = self._choose_ports()
        if self._settings.model_source == "scripted":
            self.model = ModelProcess(
                log=self._logs / "model.log",
                directory=self._directory,
                port=ports.model,
                script=self._settings.script,
            )
            self._open.push_async_callback(self.model.stop)
            await self.model.start()
        await self._start_servers(ports)
        write_ports(self._directory, ports)
        self._open.callback(forget_state, self._directory)
        write_state(self._directory, self.state)
        if self._settings.worker is not None:
            await self._start_worker(self._settings.worker)
            write_state(self._directory, self.state)

    async def _start_servers(self, ports: Ports) -> None:
        """Both at once: OpenCode takes seconds, mostly waiting for itself."""
        self._temporal = TemporalServer(
            log=self._logs / "temporal.log",
            database=self._directory / "temporal" / "temporal.db",
            search_attributes=self._settings.search_attributes,
            port=ports.temporal,
            ui_port=ports.temporal_ui,
        )
        self._opencode = self._new_opencode(ports.opencode)
        self._open.push_async_callback(_together, self._temporal.stop, self._opencode.stop)
        try:
            async with asyncio.TaskGroup() as starting:
                starting.create_task(self._temporal.start())
                starting.create_task(self._opencode.start())
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    def _new_opencode(self, port: int) -> OpenCodeServer:
        log = self._logs / "opencode.log"
        folder = self._directory / "opencode"
        program = self._settings.opencode_program
        if self.model is None:
            return OpenCodeServer.for_user(log=log, directory=folder / "server", program=program, port=port)
        return OpenCodeServer.hermetic(
            state=folder,
            log=log,
            model_url=self.model.base_url,
            permissions=self._settings.permissions,
            program=program,
            port=port,
        )

    async def _start_worker(self, hook: WorkerHook) -> None:
        self.worker = SupervisedProcess(
            "The worker",
            hook.command,
            log=self._logs / "worker.log",
            ready=hook.ready or _at_once,
            start_deadline=WORKER_START_DEADLINE,
            environment=os.environ | dict(hook.environment(self.state)),
            directory=hook.directory,
        )
        self._open.push_async_callback(self.worker.stop, hook.stop_grace)
        await self.worker.start()

    def _choose_ports(self) -> Ports:
        last, asked = read_ports(self._directory), self._settings.ports
        return Ports(**{name: _port(name, asked, last) for name in Ports.model_fields})

    def _processes(self) -> dict[str, SupervisedProcess]:
        """Children by a word that is in their command lines."""
        processes: dict[str, SupervisedProcess] = {}
        if self._temporal is not None and self._opencode is not None:
            processes = {"temporal": self._temporal.process, "opencode": self._opencode.process}
        if self.model is not None:
            processes["model"] = self.model.process
        if self.worker is not None:
            processes["worker"] = self.worker
        return processes


def _port(name: str, asked: Ports, last: Ports) -> int:
    words = name.replace("_ui", " UI")
    wanted: int = getattr(asked, name)
    if wanted == 0:
        try:
            return choose_port(getattr(last, name), program=words, setting=f"{words} port")
        except PortInUseError:
            pass  # somebody took it since: any other does
    return choose_port(wanted, program=words, setting=f"{words} port")


async def _together(*stops: Callable[[], Awaitable[None]]) -> None:
    """Each takes a second or so."""
    await asyncio.gather(*(stop() for stop in stops))


async def _at_once() -> bool:
    return True
