"""Starting an endpoint's workflow. Any number of workers may do it at once, and whenever they need it."""

from __future__ import annotations

from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy

from turnkeeper.messages import EndpointInput, endpoint_workflow_id
from turnkeeper.search_attributes import ENDPOINT


async def start_endpoint(temporal: Client, name: str, *, task_queue: str, workflow_queue: str) -> None:
    """Make sure that it runs. `task_queue`: where workers reach the endpoint; `workflow_queue`: where workflows run."""
    await temporal.start_workflow(
        "Endpoint",
        EndpointInput(endpoint=name, task_queue=task_queue),
        id=endpoint_workflow_id(name),
        task_queue=workflow_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        search_attributes=TypedSearchAttributes([SearchAttributePair(ENDPOINT, name)]),
        static_summary=f"relay of {name}",
    )
