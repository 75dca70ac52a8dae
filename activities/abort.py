"""`abort`: ask the provider to stop what a session runs."""

from __future__ import annotations

from temporalio import activity

from activities.endpoints import Endpoints
from turnkeeper.observations import AbortReport, AbortRequest


class AbortActivities:
    """Ask the provider to stop what a session runs."""

    def __init__(self, endpoints: Endpoints) -> None:
        """Use the worker's endpoints."""
        self._endpoints = endpoints

    @activity.defn(name="abort")
    async def abort(self, request: AbortRequest) -> AbortReport:
        """Ask the provider to stop what a session runs. Provider trouble is a value, not an error."""
        async with self._endpoints.calling(request.endpoint) as driver:
            return await driver.abort(request)
