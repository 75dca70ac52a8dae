"""The composition root: settings, connection, endpoints, one worker. `python worker.py`.

Exit codes: 0 after a clean shutdown (SIGINT, SIGTERM); 2 on a wrong configuration or an unreachable Temporal, with
one line that says which setting, what was found and what is allowed; 1 on a fault of ours.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkerDeploymentConfig

import activities
import workflows
from activities.abort import AbortActivities
from activities.admission import AdmissionActivities
from activities.adoption import AdoptionActivities
from activities.answer import AnswerActivities
from activities.endpoints import Endpoints
from activities.look import LookActivities
from activities.places import PlaceActivities
from activities.relay import RelayActivities
from activities.session import SessionActivities
from activities.submit import SubmitActivities
from turnkeeper.builds import PROMOTE, read_builds
from turnkeeper.connection import connect, refuse_unreadable
from turnkeeper.endpoint_start import start_endpoint
from turnkeeper.errors import ConfigurationError, TurnkeeperError
from turnkeeper.messages import endpoint_workflow_id
from turnkeeper.punctual_worker import PunctualWorker
from turnkeeper.search_attributes import register_search_attributes
from turnkeeper.settings import WORKER_READY, Settings, WorkerSettings, load_settings
from workflows.endpoint import EndpointWorkflow
from workflows.pinned_turn import PinnedTurnWorkflow
from workflows.thread import ThreadWorkflow
from workflows.turn import TurnWorkflow

HEARTBEAT_THROTTLE: Final = timedelta(seconds=1)
"""Heartbeats reach the server at least this often, and with them come cancellations (0.8 x the timeout otherwise)."""

NEW_WORKFLOW_POLLS: Final = 0.5
"""Share of the workflow pollers that ask for new workflows: every turn is one, and so is every thread."""

VERSION_KNOWN_AFTER: Final = 3.0
"""Seconds until a worker asks whether it gets work: its polls show within one, and a script promotes it in the next."""

log = logging.getLogger("turnkeeper.worker")


def refuse_foreign_packages() -> None:
    """Make sure that `workflows` and `activities` are ours: other distributions own these names on PyPI.

    Raises:
        ConfigurationError: one of them is not the neighbour of this file.

    """
    here = Path(__file__).resolve().parent
    for package in (workflows, activities):
        origin = Path(package.__file__ or ".").resolve().parent
        if origin != here / package.__name__:
            raise ConfigurationError(f"package {package.__name__!r}", "a foreign one", "the one beside worker.py")


@asynccontextmanager
async def running_worker(client: Client, settings: Settings) -> AsyncIterator[Worker]:
    """A worker that polls while the body runs, with the relays of its endpoints started."""
    endpoints = Endpoints(settings.endpoints)
    own_queues = {endpoint.task_queue for endpoint in settings.endpoints.values()} - {settings.worker.task_queue}
    try:
        async with AsyncExitStack() as stack:
            for queue in sorted(own_queues):
                await stack.enter_async_context(_provider_worker(client, settings, endpoints, queue))
            worker = await stack.enter_async_context(_main_worker(client, settings, endpoints))
            if settings.worker.run_relays:
                await start_relays(client, settings)
            yield worker
    finally:
        await endpoints.close()


def _main_worker(client: Client, settings: Settings, endpoints: Endpoints) -> Worker:
    """Workflows, and the activities of endpoints without a queue of their own.

    Without the sandbox, which costs a quarter of a turn's CPU here (measured): what it would catch is caught where it
    is on, in the workflow and replay tests.
    """
    limits = settings.worker
    deployment = _deployment(limits)
    return PunctualWorker(
        client,
        task_queue=limits.task_queue,
        workflows=[ThreadWorkflow, PinnedTurnWorkflow if deployment else TurnWorkflow, EndpointWorkflow],
        activities=_activities(client, endpoints),
        deployment_config=deployment,
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=limits.max_cached_workflows,
        max_concurrent_workflow_tasks=limits.max_concurrent_workflow_tasks,
        max_concurrent_workflow_task_polls=limits.workflow_pollers,
        nonsticky_to_sticky_poll_ratio=NEW_WORKFLOW_POLLS,
        max_concurrent_activities=limits.max_concurrent_activities,
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=limits.sticky_timeout),
        graceful_shutdown_timeout=timedelta(seconds=limits.graceful_shutdown),
    )


def _provider_worker(client: Client, settings: Settings, endpoints: Endpoints, queue: str) -> Worker:
    """Activities alone, for endpoints that only some workers can reach."""
    return PunctualWorker(
        client,
        task_queue=queue,
        activities=_activities(client, endpoints),
        # Of the same version: a turn that is pinned to a build gets that build's calls too, where a worker of it is up.
        deployment_config=_deployment(settings.worker),
        max_concurrent_activities=settings.worker.max_concurrent_activities,
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        graceful_shutdown_timeout=timedelta(seconds=settings.worker.graceful_shutdown),
    )


def _deployment(limits: WorkerSettings) -> WorkerDeploymentConfig | None:
    """Threads and endpoints go over to a build when it is made current; a turn says itself that it does not."""
    if limits.deployment_name is None or limits.build_id is None:
        return None
    version = WorkerDeploymentVersion(limits.deployment_name, limits.build_id)
    return WorkerDeploymentConfig(
        version=version,
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.AUTO_UPGRADE,
    )


async def advise_on_version(client: Client, limits: WorkerSettings) -> None:
    """Say it when this worker waits to be promoted. Temporal knows it only some time after its first poll.

    An unversioned worker that is left behind is told too: with a current build, nothing comes to it any more.
    """
    await asyncio.sleep(VERSION_KNOWN_AFTER)
    try:
        builds = await read_builds(client, limits.task_queue)
    except RPCError:
        return  # advice: whoever runs Temporal has other things to say now
    if builds.current == limits.build_id:
        return
    mine = f"build {limits.build_id} of {limits.deployment_name}" if limits.build_id else "a worker without a version"
    if builds.current is None and limits.build_id is not None and not builds.unversioned:
        log.warning("%s waits: no build is current, and nothing runs until `%s %s`", mine, PROMOTE, limits.build_id)
    elif limits.build_id is not None:
        log.warning("%s gets no new turns until `%s %s`", mine, PROMOTE, limits.build_id)
    else:
        log.warning("%s gets nothing new: build %s is current", mine, builds.current)


def _activities(client: Client, endpoints: Endpoints) -> list[Callable[..., Any]]:
    return [
        AdmissionActivities(endpoints).admit,
        SessionActivities(endpoints).open_session,
        SessionActivities(endpoints).read_session,
        AdoptionActivities(endpoints).adopt_session,
        SubmitActivities(endpoints).submit,
        LookActivities(endpoints).look,
        AbortActivities(endpoints).abort,
        AnswerActivities(endpoints).answer,
        PlaceActivities(endpoints, client).ask_for_place,
        PlaceActivities(endpoints, client).count_turns,
        RelayActivities(endpoints, client).relay,
    ]


async def start_relays(client: Client, settings: Settings) -> None:
    """Make sure that every endpoint has its `Endpoint` workflow. Any number of workers may do this at once."""
    for name, endpoint in settings.endpoints.items():
        await start_endpoint(client, name, task_queue=endpoint.task_queue, workflow_queue=settings.worker.task_queue)


async def run() -> None:
    """Run until SIGINT or SIGTERM.

    Raises:
        TurnkeeperError: wrong configuration, keys that do not open what is there, or Temporal does not answer.

    """
    refuse_foreign_packages()
    settings = load_settings()
    logging.getLogger().setLevel(settings.worker.log_level)
    # The SDK's core would print to stdout, and a supervisor that does not drain it would stop the worker.
    forward = LogForwardingConfig(logger=logging.getLogger("turnkeeper.temporal"))
    logs = LoggingConfig(filter=TelemetryFilter(core_level="WARN", other_level="ERROR"), forwarding=forward)
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=logs)))
    client = await connect()
    await register_search_attributes(client)
    for name in settings.endpoints:
        await refuse_unreadable(client, endpoint_workflow_id(name))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running_worker(client, settings):
        log.info("%s: endpoints %s", WORKER_READY, ", ".join(sorted(settings.endpoints)))
        advising = asyncio.create_task(advise_on_version(client, settings.worker))
        await stop.wait()
        advising.cancel()
        grace = settings.worker.graceful_shutdown
        log.info("shutting down: calls under way have %g s to end; turns go on with another worker, or the next", grace)


def main() -> int:
    """Run, and turn errors into one line and an exit code."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # httpx logs every request with its address.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # At DEBUG the SDK logs what activities return, whole: the words of a conversation.
    logging.getLogger("temporalio.worker").setLevel(logging.INFO)
    try:
        asyncio.run(run())
    except TurnkeeperError as error:
        sys.stderr.write(f"turnkeeper worker: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Not sys.exit: 4 to 5 % of worker processes die by a signal in interpreter teardown (measured, sdk-python #300).
    os._exit(code)
