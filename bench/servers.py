"""The servers of a benchmark, each in a process of its own, as a fleet would have them."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from temporalio.client import Client

from activities.relay import LISTED_AFTER
from bench.timing import cpu_seconds
from bench.wire import CountingWire
from turnkeeper.client import Turnkeeper
from turnkeeper.codec import data_converter
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.dev.ports import choose_port
from turnkeeper.dev.processes import SupervisedProcess
from turnkeeper.dev.temporal_server import TemporalServer
from turnkeeper.messages import WORKFLOW_TASK_QUEUE, EndpointInput, endpoint_workflow_id
from turnkeeper.search_attributes import ALL

CHECKOUT: Final = Path(__file__).resolve().parent.parent
ENDPOINT: Final = "bench"
START_DEADLINE: Final = 60.0
"""Seconds until a process is ready, on a machine that does other things too."""

RELAY_DEADLINE: Final = 30.0
"""Seconds until the relay is attached; it takes a fraction of one."""

RELAY_POLL: Final = 0.05

RELAY_SETTLES: Final = 2 * LISTED_AFTER
"""Seconds after which a relay that has attached has told running turns to look for the second time. A turn that began
before would look once more, which is ten history events and a reading that a turn of a running relay does not cost."""

RELAY_STOPS: Final = 3.0
"""Seconds for a relay to learn that its workflow is gone: it beats every second."""


@dataclass(frozen=True, slots=True)
class Servers:
    """What a benchmark talks to."""

    opencode: OpenCodeServer
    temporal: Client
    workspace: Path
    processes: dict[str, int]
    """Name to process id."""
    wire: CountingWire | None = None
    """Between the workers and OpenCode, if it was asked for."""

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU of each process so far."""
        return {name: cpu_seconds(pid) for name, pid in self.processes.items()}


@asynccontextmanager
async def servers(
    *,
    in_memory: bool = False,
    snapshots: bool = True,
    workers: int = 1,
    empty_workers: int = 0,
    script: Path | None = None,
    count_wire: bool = False,
) -> AsyncIterator[Servers]:
    """Scripted model, OpenCode, tuned Temporal (file database unless `in_memory`) and workers.

    `snapshots` are OpenCode's own default: it runs git twice a step, about half of its CPU. `script`: a file of plans
    for the model, where a prompt must not carry its own. `count_wire`: count what passes between workers and OpenCode.
    `empty_workers`: those of `bench.empty`.
    """
    state = Path(tempfile.mkdtemp(prefix="turnkeeper-bench-"))
    workspace = state / "workspace"
    workspace.mkdir()
    try:
        async with AsyncExitStack() as stack:
            model_port = choose_port(0, program="the scripted model", setting="port")
            told = ["--port", str(model_port), *(["--script", str(script)] if script is not None else [])]
            model = await start_program(stack, "model", state, "-m", "turnkeeper.dev.model", *told, says="listening")
            opencode = await stack.enter_async_context(
                OpenCodeServer.hermetic(
                    state=state / "opencode",
                    log=state / "opencode.log",
                    model_url=f"http://127.0.0.1:{model_port}/v1",
                    permissions={"bash": "allow", "edit": "allow"},
                    extra_config={"snapshot": snapshots},
                )
            )
            temporal = await start_temporal(stack, state, in_memory=in_memory)
            wire = await stack.enter_async_context(CountingWire.before(opencode.port)) if count_wire else None
            url = wire.url if wire is not None else opencode.base_url
            environment = worker_environment(temporal, url, workspace, password=opencode.password)
            running = [await start_worker(stack, f"worker-{n}", state, environment) for n in range(workers)]
            running += [await start_empty_worker(stack, f"empty-{n}", state, temporal) for n in range(empty_workers)]
            client = await Client.connect(temporal.address, data_converter=data_converter())
            processes = {
                "model": model.pid or 0,
                "opencode": opencode.process.pid or 0,
                "temporal": temporal.process.pid or 0,
                **{process.name: process.pid or 0 for process in running},
            }
            yield Servers(opencode, client, workspace, processes, wire)
    finally:
        shutil.rmtree(state, ignore_errors=True)


@asynccontextmanager
async def attached_relay(temporal: Client) -> AsyncIterator[None]:
    """The endpoint's relay, attached; taken away afterwards, or another side would pay for a second stream."""
    keeper = Turnkeeper(temporal)
    relay = await temporal.start_workflow(
        "Endpoint",
        EndpointInput(endpoint=ENDPOINT, task_queue=WORKFLOW_TASK_QUEUE),
        id=endpoint_workflow_id(ENDPOINT),
        task_queue=WORKFLOW_TASK_QUEUE,
    )
    async with asyncio.timeout(RELAY_DEADLINE):
        while (status := (await keeper.endpoint(ENDPOINT)).relay) is None or not status.attached:  # noqa: ASYNC110 - told by another process
            await asyncio.sleep(RELAY_POLL)
    await asyncio.sleep(RELAY_SETTLES)
    try:
        yield
    finally:
        await relay.terminate()
        await asyncio.sleep(RELAY_STOPS)


# The parts, for benchmarks that need others beside them.


async def start_temporal(stack: AsyncExitStack, state: Path, *, in_memory: bool = False) -> TemporalServer:
    """The tuned dev server; stopped with `stack`."""
    server = TemporalServer(
        log=state / "temporal.log",
        database=None if in_memory else state / "temporal.db",
        search_attributes=[key.name for key in ALL],
        ui=False,
    )
    return await stack.enter_async_context(server)


async def start_worker(
    stack: AsyncExitStack, name: str, state: Path, environment: Mapping[str, str]
) -> SupervisedProcess:
    """`worker.py`, ready; stopped with `stack`."""
    return await start_program(
        stack, name, state, str(CHECKOUT / "worker.py"), says="is ready", environment=environment
    )


async def start_empty_worker(
    stack: AsyncExitStack, name: str, state: Path, temporal: TemporalServer
) -> SupervisedProcess:
    """A worker of the empty workflows, ready; stopped with `stack`."""
    environment = {**os.environ, "TEMPORAL_ADDRESS": temporal.address}
    return await start_program(stack, name, state, "-m", "bench.empty_worker", says="is ready", environment=environment)


def worker_environment(
    temporal: TemporalServer, provider_url: str, workspace: Path, *, password: str | None = None, **worker: object
) -> dict[str, str]:
    """What a worker is configured with. `worker`: settings of the process, such as `max_cached_workflows=50`.

    It starts no relay: a benchmark starts and stops it itself.
    """
    prefix = f"TURNKEEPER_ENDPOINT_{ENDPOINT.upper()}"
    ours = {
        "TEMPORAL_ADDRESS": temporal.address,
        f"{prefix}_URL": provider_url,
        f"{prefix}_ROOTS": str(workspace),
        **({f"{prefix}_PASSWORD": password} if password is not None else {}),
        **{f"TURNKEEPER_WORKER_{name.upper()}": str(value) for name, value in ({"run_relays": False} | worker).items()},
    }
    return {**os.environ, **ours}


async def start_program(
    stack: AsyncExitStack,
    name: str,
    state: Path,
    *arguments: str,
    says: str,
    environment: Mapping[str, str] | None = None,
) -> SupervisedProcess:
    """A Python program of this checkout, once its log holds `says`; stopped with `stack`."""
    log = state / f"{name}.log"
    process = SupervisedProcess(
        name,
        [sys.executable, *arguments],
        log=log,
        ready=_says(log, says),
        start_deadline=START_DEADLINE,
        environment=dict(os.environ if environment is None else environment),
        directory=CHECKOUT,
    )
    await process.start()
    stack.push_async_callback(process.stop)
    return process


def _says(log: Path, word: str) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        return await asyncio.to_thread(lambda: log.exists() and word in log.read_text())

    return ready
