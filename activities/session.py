"""`open_session` and `read_session`: the thread's provider session, made sure of, or only looked at."""

from __future__ import annotations

from temporalio import activity

from activities.endpoints import Endpoints
from turnkeeper.findings import SessionReading, SessionReadRequest
from turnkeeper.observations import SessionReport, SessionRequest


class SessionActivities:
    """Make sure that the thread's provider session exists."""

    def __init__(self, endpoints: Endpoints) -> None:
        """Use the worker's endpoints."""
        self._endpoints = endpoints

    @activity.defn(name="open_session")
    async def open_session(self, request: SessionRequest) -> SessionReport:
        """Make sure that the thread's provider session exists. Provider trouble is a value, not an error."""
        if (refused := await self._endpoints.refuse_outside(request.endpoint, request.directory)) is not None:
            return refused
        async with self._endpoints.calling(request.endpoint) as driver:
            return await driver.open_session(request)

    @activity.defn(name="read_session")
    async def read_session(self, request: SessionReadRequest) -> SessionReading:
        """Read it, and change nothing. Provider trouble is a value, not an error."""
        async with self._endpoints.calling(request.endpoint) as driver:
            return await driver.read_session(request)
