"""A command to a thread that is made by it if there is none: Temporal's update-with-start and signal-with-start."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy

from turnkeeper.messages import thread_workflow_id
from turnkeeper.search_attributes import attributes_of
from turnkeeper.thread_messages import THREAD_TASK_TIMEOUT, ThreadInput
from turnkeeper.vocabulary import Command

Result = TypeVar("Result")


async def update_with_start(
    temporal: Client, task_queue: str, thread: ThreadInput, name: str, command: Command, kind: type[Result]
) -> Result:
    """The answer of the thread's update `name`."""
    operation: WithStartWorkflowOperation[object, object] = WithStartWorkflowOperation(
        "Thread",
        thread,
        id=thread_workflow_id(thread.thread_id),
        task_queue=task_queue,
        task_timeout=THREAD_TASK_TIMEOUT,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        search_attributes=attributes_of(thread.thread_id, thread.endpoint),
        static_summary=f"{thread.thread_id} on {thread.endpoint}",
    )
    try:
        result: Result = await temporal.execute_update_with_start_workflow(
            name, command, start_workflow_operation=operation, result_type=kind
        )
    except BaseException:
        # The SDK gives the error to this future too; unread, Python would print it when the future is collected.
        unread = asyncio.ensure_future(operation.workflow_handle())
        unread.add_done_callback(lambda read: None if read.cancelled() else read.exception())
        raise
    return result


async def signal_with_start(
    temporal: Client, task_queue: str, thread: ThreadInput, name: str, command: Command
) -> None:
    """Keep the command as the thread's signal `name`: it needs no worker."""
    await temporal.start_workflow(
        "Thread",
        thread,
        id=thread_workflow_id(thread.thread_id),
        task_queue=task_queue,
        task_timeout=THREAD_TASK_TIMEOUT,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        search_attributes=attributes_of(thread.thread_id, thread.endpoint),
        start_signal=name,
        start_signal_args=[command],
    )
