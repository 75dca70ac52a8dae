"""A worker process for the empty workflows of `bench.empty`, set as `worker.py` sets Turnkeeper's own.

python -m bench.empty_worker, with TEMPORAL_ADDRESS; the benchmarks start it (`bench.servers.run_empty_workers`).
"""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import timedelta

from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from bench.empty import TASK_QUEUE, EmptyActivities, EmptyThread, EmptyTurnWorkflow
from turnkeeper.connection import connect
from turnkeeper.settings import WorkerSettings
from worker import HEARTBEAT_THROTTLE, NEW_WORKFLOW_POLLS


async def run() -> None:
    """Run until SIGINT or SIGTERM."""
    client = await connect()
    limits = WorkerSettings()
    activities = EmptyActivities(client)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[EmptyThread, EmptyTurnWorkflow],
        activities=[activities.admit, activities.submit],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=limits.max_cached_workflows,
        max_concurrent_workflow_tasks=limits.max_concurrent_workflow_tasks,
        max_concurrent_workflow_task_polls=limits.workflow_pollers,
        nonsticky_to_sticky_poll_ratio=NEW_WORKFLOW_POLLS,
        max_concurrent_activities=limits.max_concurrent_activities,
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=limits.sticky_timeout),
    ):
        print("the empty worker is ready", flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(run())
    os._exit(0)  # as worker.py: interpreters with the SDK's core in them die by a signal now and then
