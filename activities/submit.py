"""`submit`: deliver a prompt: look for it, send it if it is not there, look again."""

from __future__ import annotations

from temporalio import activity

from activities.endpoints import Endpoints
from turnkeeper.observations import PromptRequest, SubmitReport


class SubmitActivities:
    """Deliver a prompt: look for it, send it if it is not there, look again."""

    def __init__(self, endpoints: Endpoints) -> None:
        """Use the worker's endpoints."""
        self._endpoints = endpoints

    @activity.defn(name="submit")
    async def submit(self, request: PromptRequest) -> SubmitReport:
        """Look for the prompt, send it if it is not there, look again. Provider trouble is a value, not an error."""
        async with self._endpoints.calling(request.endpoint) as driver:
            return await driver.submit(request)
