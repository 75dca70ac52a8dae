"""`look`: read what the provider says about one turn right now."""

from __future__ import annotations

from temporalio import activity

from activities.endpoints import Endpoints
from turnkeeper.observations import LookRequest, Observation


class LookActivities:
    """Read what the provider says about one turn right now."""

    def __init__(self, endpoints: Endpoints) -> None:
        """Use the worker's endpoints."""
        self._endpoints = endpoints

    @activity.defn(name="look")
    async def look(self, request: LookRequest) -> Observation:
        """Read what the provider says about one turn right now. Provider trouble is a value, not an error."""
        async with self._endpoints.calling(request.endpoint) as driver:
            return await driver.look(request)
