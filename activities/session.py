"""`open_session`: make sure that the thread's provider session exists."""

from __future__ import annotations

from temporalio import activity

from activities.endpoints import Endpoints
from turnkeeper.observations import SessionReport, SessionRequest


class SessionActivities:
    """Make sure that the thread's provider session exists."""

    def __init__(self, endpoints: Endpoints) -> None:
        """Use the worker's endpoints."""
        self._endpoints = endpoints

    @activity.defn(name="open_session")
    async def open_session(self, request: SessionRequest) -> SessionReport:
        """Make sure that the thread's provider session exists. Provider trouble is a value, not an error."""
        async with self._endpoints.calling(request.endpoint) as driver:
            return await driver.open_session(request)
