"""Which builds of the worker ask for work, and which of them gets what begins anew (Temporal's worker versioning).

A versioned worker belongs to a deployment and says which build it runs. Temporal then keeps a turn on the build that
it began with, and gives new turns, and threads and relays at their next step, to the *current* build. Nothing begins
before some build was made current: whoever reads this must be able to tell a person so.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from temporalio.api.enums.v1 import TaskQueueType, WorkerVersioningMode
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, SetWorkerDeploymentCurrentVersionRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from turnkeeper.errors import RefusedError, ServiceUnavailableError, bounded
from turnkeeper.messages import WORKFLOW_TASK_QUEUE

FRESH: Final = timedelta(seconds=75)
"""Since a worker last asked for work until it counts as gone: one long poll (60 s) and some slack."""

PROMOTE: Final = "turnkeeper versions --promote"
"""The command that makes a build current."""


@dataclass(frozen=True, slots=True)
class Builds:
    """What asks for workflow tasks on one queue. `current`: the build that gets what begins anew; None: unversioned."""

    deployment: str | None = None
    current: str | None = None
    polling: tuple[tuple[str, int], ...] = ()
    unversioned: int = 0

    @property
    def up(self) -> tuple[str, ...]:
        """The builds that have a worker."""
        return tuple(build for build, _ in self.polling)

    @property
    def named(self) -> tuple[str, ...]:
        """Those, and the one that is current."""
        return tuple(sorted({*self.up, *([self.current] if self.current else [])}))

    def promoted(self, build: str) -> Builds:
        """The same with `build` as the current one."""
        return replace(self, current=build)

    @property
    def trouble(self) -> str | None:
        """Why what begins now waits for a worker although there are some, and what to do."""
        if self.current in self.up or (self.current is None and self.unversioned) or not (self.up or self.unversioned):
            return None
        if self.current is None:
            builds = ", ".join(self.up)
            return f"no build is current, so nothing runs; worker up: {builds}; `{PROMOTE} {self.up[0]}`"
        others = ", ".join([*self.up, *(["without a version"] if self.unversioned else [])])
        return f"build {self.current} is current and has no worker (up: {others}): start one, or `{PROMOTE} BUILD`"


async def read_builds(client: Client, task_queue: str = WORKFLOW_TASK_QUEUE) -> Builds:
    """Ask Temporal. A worker shows some hundred milliseconds after its first poll, and until `FRESH` after its last.

    Raises:
        RPCError: Temporal does not answer.

    """
    answer = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=task_queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
    )
    now, builds, deployments, unversioned = datetime.now(UTC), Counter[str](), list[str](), 0
    for poller in answer.pollers:
        if now - poller.last_access_time.ToDatetime(tzinfo=UTC) > FRESH:
            continue
        options = poller.deployment_options
        if options.worker_versioning_mode == WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED:
            builds[options.build_id] += 1
            deployments.append(options.deployment_name)
        else:
            unversioned += 1
    current = answer.versioning_info.current_deployment_version
    return Builds(
        deployment=current.deployment_name or (deployments[0] if deployments else None),
        current=current.build_id or None,
        polling=tuple(sorted(builds.items())),
        unversioned=unversioned,
    )


async def count_turns(client: Client, deployment: str, build: str) -> int:
    """Turns that run on a build, by Temporal's visibility. A worker of it may go when there are none."""
    version = f"TemporalWorkerDeploymentVersion = '{deployment}:{build}'"
    found = await client.count_workflows(f"WorkflowType = 'Turn' AND ExecutionStatus = 'Running' AND {version}")
    return found.count


async def promote(client: Client, deployment: str, build: str) -> None:
    """Make `build` current: what begins from now on begins on it, threads and relays go over at their next step.

    Raises:
        RefusedError: Temporal does not know the build, or no worker of it serves a queue that the current one serves.
        ServiceUnavailableError: Temporal does not answer.

    """
    request = SetWorkerDeploymentCurrentVersionRequest(
        namespace=client.namespace, deployment_name=deployment, build_id=build, identity=client.identity
    )
    try:
        await client.workflow_service.set_worker_deployment_current_version(request)
    except RPCError as error:
        if error.status in {RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.INVALID_ARGUMENT}:
            raise RefusedError(
                f"Build {build} of {deployment} cannot be current: {bounded(error.message)}.",
                code="build_not_ready",
                next_step="Start its workers first, one for each task queue that is served now.",
            ) from error
        raise ServiceUnavailableError(f"Temporal answered {error.status.name}.") from error
