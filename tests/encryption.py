"""Keys for tests, and everything that a Temporal server keeps, as a thief of its database would have it."""

from __future__ import annotations

import base64
from typing import Final

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    ListWorkflowExecutionsRequest,
)
from temporalio.client import Client

from turnkeeper.codec import converter_of
from turnkeeper.encryption_keys import KeyRing

OLD: Final = "2026-05"
NEW: Final = "2026-11"
KEYS: Final = {OLD: bytes(range(32)), NEW: bytes(range(32, 64))}


def ring(write: str = OLD, *also: str, accepts_plain: bool = True) -> KeyRing:
    """A ring that writes with one key and reads others too."""
    return KeyRing(write, {key_id: KEYS[key_id] for key_id in (write, *also)}, accepts_plain)


def line(key_id: str) -> str:
    """The key as a file of keys has it."""
    return f"{key_id}:{base64.b64encode(KEYS[key_id]).decode()}"


async def client_of(plain: Client, keys: KeyRing | None) -> Client:
    """Another process at the same Temporal, with keys of its own."""
    target = plain.service_client.config.target_host
    return await Client.connect(target, namespace=plain.namespace, data_converter=converter_of(keys))


async def all_that_is_kept(client: Client, query: str) -> bytes:
    """Histories, descriptions and visibility records of the workflows that `query` finds, byte for byte."""
    service, namespace = client.workflow_service, client.namespace
    listed = await service.list_workflow_executions(ListWorkflowExecutionsRequest(namespace=namespace, query=query))
    kept = [listed.SerializeToString()]
    for found in listed.executions:
        run = WorkflowExecution(workflow_id=found.execution.workflow_id, run_id=found.execution.run_id)
        described = await service.describe_workflow_execution(
            DescribeWorkflowExecutionRequest(namespace=namespace, execution=run)
        )
        kept.append(described.SerializeToString())
        page = b""
        while True:
            history = await service.get_workflow_execution_history(
                GetWorkflowExecutionHistoryRequest(namespace=namespace, execution=run, next_page_token=page)
            )
            kept.append(history.SerializeToString())
            if not (page := history.next_page_token):
                break
    return b"\0".join(kept)
