"""`ask_for_place` and `count_turns`: places are kept by the endpoint's workflow, and limits are known to workers."""

from __future__ import annotations

import asyncio
from typing import Final

from temporalio import activity
from temporalio.client import Client, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError, RPCStatusCode

from activities.endpoints import Endpoints, as_application_errors, heartbeats
from activities.running_turns import running_turns
from turnkeeper.endpoint_start import start_endpoint
from turnkeeper.errors import ServiceUnavailableError
from turnkeeper.limits import MAX_PLACES_HELD
from turnkeeper.messages import endpoint_workflow_id
from turnkeeper.place_messages import AskForPlace, CountRequest, PlaceAnswer, PlaceRequest, TurnCount

ASK_SECONDS: Final = 10.0
"""Bound of one ask: an update takes tens of milliseconds, and seconds while a worker dies or is full."""

COUNT_SECONDS: Final = 20.0
"""Bound of one count: some tens of milliseconds for each hundred turns."""

_NOT_ASKED: Final = ServiceUnavailableError(
    "No worker answered for the endpoint's workflow in time.",
    code="endpoint_silent",
    next_step="Check that a worker runs for workflows; it is asked again.",
)

_NOT_COUNTED: Final = ServiceUnavailableError(
    "Temporal did not list the running turns in time.", code="not_counted", next_step="It is asked again."
)


class PlaceActivities:
    """Passes asks on with the limit that this worker is configured with: the newest word counts."""

    def __init__(self, endpoints: Endpoints, temporal: Client) -> None:
        """Ask through `temporal`."""
        self._endpoints = endpoints
        self._temporal = temporal

    @activity.defn(name="ask_for_place")
    async def ask_for_place(self, request: PlaceRequest) -> PlaceAnswer:
        """What the endpoint says. Safe to repeat."""
        with as_application_errors():
            settings = self._endpoints.settings(request.endpoint)
            ask = AskForPlace(ticket=request.ticket, max_running_turns=settings.max_running_turns, claim=request.claim)
            async with heartbeats():
                try:
                    async with asyncio.timeout(ASK_SECONDS):
                        return await self._asked(request, ask, settings.task_queue)
                except (TimeoutError, RPCError, WorkflowUpdateRPCTimeoutOrCancelledError):
                    raise _NOT_ASKED from None

    async def _asked(self, request: PlaceRequest, ask: AskForPlace, task_queue: str) -> PlaceAnswer:
        try:
            return await self._ask(request.endpoint, ask)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
        await start_endpoint(
            self._temporal, request.endpoint, task_queue=task_queue, workflow_queue=request.workflow_queue
        )
        return await self._ask(request.endpoint, ask)

    async def _ask(self, endpoint: str, ask: AskForPlace) -> PlaceAnswer:
        handle = self._temporal.get_workflow_handle(endpoint_workflow_id(endpoint))
        answer: PlaceAnswer = await handle.execute_update("ask_for_place", ask, result_type=PlaceAnswer)
        return answer

    @activity.defn(name="count_turns")
    async def count_turns(self, request: CountRequest) -> TurnCount:
        """The threads whose turns run at the endpoint, as Temporal lists them: a second late at worst."""
        with as_application_errors():
            settings = self._endpoints.settings(request.endpoint)
            async with heartbeats():
                try:
                    async with asyncio.timeout(COUNT_SECONDS):
                        listed = running_turns(self._temporal, request.endpoint, MAX_PLACES_HELD)
                        running = [turn.thread_id async for turn in listed]
                except (TimeoutError, RPCError):
                    raise _NOT_COUNTED from None
        return TurnCount(thread_ids=tuple(running), max_running_turns=settings.max_running_turns)
