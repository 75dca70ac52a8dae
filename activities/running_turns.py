"""Which turns run at an endpoint, as Temporal lists them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import NamedTuple

from temporalio.client import Client

from turnkeeper.messages import turn_workflow_id
from turnkeeper.search_attributes import ENDPOINT


class RunningTurn(NamedTuple):
    """A turn by its thread, and the run that it is."""

    thread_id: str
    run_id: str
    begun_at: datetime
    """By the server's clock."""


async def running_turns(temporal: Client, endpoint: str, limit: int | None = None) -> AsyncIterator[RunningTurn]:
    """At most `limit` of them. The list is a second late at worst.

    Raises:
        RPCError: Temporal does not answer.

    """
    query = f"WorkflowType = 'Turn' AND ExecutionStatus = 'Running' AND {ENDPOINT.name} = '{endpoint}'"
    prefix = turn_workflow_id("")
    async for execution in temporal.list_workflows(query, limit=limit):
        yield RunningTurn(execution.id.removeprefix(prefix), execution.run_id, execution.start_time)
