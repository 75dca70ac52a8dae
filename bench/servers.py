"""The servers of a benchmark, each in a process of its own, as a fleet would have them."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from temporalio.client import Client

from bench.timing import cpu_seconds
from turnkeeper.codec import data_converter
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.dev.ports import choose_port
from turnkeeper.dev.processes import SupervisedProcess
from turnkeeper.dev.temporal_server import TemporalServer
from turnkeeper.search_attributes import ALL

CHECKOUT: Final = Path(__file__).resolve().parent.parent
ENDPOINT: Final = "bench"
START_DEADLINE: Final = 60.0
"""Seconds until a process is ready, on a machine that does other things too."""


@dataclass(frozen=True, slots=True)
class Servers:
    """What a benchmark talks to."""

    opencode: OpenCodeServer
    temporal: Client
    workspace: Path
    processes: dict[str, int]
    """Name to process id."""

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU of each process so far."""
        return {name: cpu_seconds(pid) for name, pid in self.processes.items()}


@asynccontextmanager
async def servers(*, in_memory: bool = False, snapshots: bool = True, workers: int = 1) -> AsyncIterator[Servers]:
    """Scripted model, OpenCode, tuned Temporal (file database unless `in_memory`) and workers.

    `snapshots` are OpenCode's own default: it runs git twice a step, about half of its CPU.
    """
    state = Path(tempfile.mkdtemp(prefix="turnkeeper-bench-"))
    workspace = state / "workspace"
    workspace.mkdir()
    try:
        async with AsyncExitStack() as stack:
            model_port = choose_port(0, program="the scripted model", setting="port")
            model = await _run(
                stack, "model", state, "-m", "turnkeeper.dev.model", "--port", str(model_port), says="listening"
            )
            opencode = await stack.enter_async_context(
                OpenCodeServer.hermetic(
                    state=state / "opencode",
                    log=state / "opencode.log",
                    model_url=f"http://127.0.0.1:{model_port}/v1",
                    permissions={"bash": "allow", "edit": "allow"},
                    extra_config={"snapshot": snapshots},
                )
            )
            temporal = await stack.enter_async_context(
                TemporalServer(
                    log=state / "temporal.log",
                    database=None if in_memory else state / "temporal.db",
                    search_attributes=[key.name for key in ALL],
                    ui=False,
                )
            )
            environment = os.environ | _worker_environment(opencode, temporal, workspace)
            running = [
                await _run(
                    stack, f"worker-{n}", state, str(CHECKOUT / "worker.py"), says="is ready", environment=environment
                )
                for n in range(workers)
            ]
            client = await Client.connect(temporal.address, data_converter=data_converter())
            processes = {
                "model": model.pid or 0,
                "opencode": opencode.process.pid or 0,
                "temporal": temporal.process.pid or 0,
                **{process.name: process.pid or 0 for process in running},
            }
            yield Servers(opencode, client, workspace, processes)
    finally:
        shutil.rmtree(state, ignore_errors=True)


def _worker_environment(opencode: OpenCodeServer, temporal: TemporalServer, workspace: Path) -> dict[str, str]:
    prefix = f"TURNKEEPER_ENDPOINT_{ENDPOINT.upper()}"
    return {
        "TEMPORAL_ADDRESS": temporal.address,
        f"{prefix}_URL": opencode.base_url,
        f"{prefix}_PASSWORD": opencode.password,
        f"{prefix}_ROOTS": str(workspace),
        "TURNKEEPER_WORKER_RUN_RELAYS": "false",  # a benchmark starts and stops them itself
    }


async def _run(
    stack: AsyncExitStack, name: str, state: Path, *arguments: str, says: str, environment: dict[str, str] | None = None
) -> SupervisedProcess:
    log = state / f"{name}.log"
    process = SupervisedProcess(
        name,
        [sys.executable, *arguments],
        log=log,
        ready=_says(log, says),
        start_deadline=START_DEADLINE,
        environment=environment or dict(os.environ),
        directory=CHECKOUT,
    )
    await process.start()
    stack.push_async_callback(process.stop)
    return process


def _says(log: Path, word: str) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        return await asyncio.to_thread(lambda: log.exists() and word in log.read_text())

    return ready
