"""The smallest worker of the same SDK, as a process: the baseline of what a history or an open workflow costs at least.

python -m bench.plain_worker ADDRESS [--cached N]

`Waits` is open and does nothing but an activity for each signal, `OneStep` is one activity; it does nothing. No
sandbox, as in `worker.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from datetime import timedelta
from typing import Final

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from turnkeeper.codec import data_converter

QUEUE: Final = "plain"
READY: Final = "the plain worker is ready"
STEP_TIMEOUT: Final = timedelta(seconds=60)

log = logging.getLogger("bench.plain_worker")


@activity.defn
async def step() -> None:
    """Do nothing."""


@workflow.defn
class OneStep:
    """A workflow of one activity."""

    @workflow.run
    async def run(self) -> None:
        """Wait for it."""
        await workflow.execute_activity(step, start_to_close_timeout=STEP_TIMEOUT)


@workflow.defn
class Waits:
    """Open until it is terminated."""

    @workflow.run
    async def run(self) -> None:
        """Wait for nothing."""
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    async def work(self) -> None:
        """As a look that an event asks for."""
        await workflow.execute_activity(step, start_to_close_timeout=STEP_TIMEOUT)


async def run(address: str, cached: int) -> None:
    """Until SIGTERM."""
    client = await Client.connect(address, data_converter=data_converter())
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=[OneStep, Waits],
        activities=[step],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=cached,
    ):
        log.info(READY)
        await stop.wait()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", help="of Temporal, host:port")
    parser.add_argument("--cached", type=int, default=1000, help="workflows kept in memory")
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    asyncio.run(run(options.address, options.cached))
    os._exit(0)  # as worker.py: interpreters with the SDK's core in them die by a signal now and then


if __name__ == "__main__":
    main()
