"""`submit`: deliver a prompt: look for it where it could be there already, send it if it is not."""

from __future__ import annotations

from typing import Final

from temporalio import activity

from activities.endpoints import Endpoints
from turnkeeper.observations import PromptRequest, SubmitReport
from turnkeeper.opencode.submission import SUBMIT_SECONDS

LOCAL_SUBMIT_SECONDS: Final = 1.5
"""Bound of a delivery inside a workflow task, which the workflow gives up after 2 s. A worker that was suspended in the
middle then finds its time over, instead of sending what another one has long sent."""


class SubmitActivities:
    """Deliver a prompt: look for it where it could be there already, send it if it is not."""

    def __init__(self, endpoints: Endpoints) -> None:
        """Use the worker's endpoints."""
        self._endpoints = endpoints

    @activity.defn(name="submit")
    async def submit(self, request: PromptRequest) -> SubmitReport:
        """Look for the prompt, send it if it is not there. Provider trouble is a value, not an error."""
        if (refused := await self._endpoints.refuse_outside(request.endpoint, request.directory)) is not None:
            return refused
        async with self._endpoints.calling(request.endpoint) as driver:
            return await driver.submit(request, LOCAL_SUBMIT_SECONDS if activity.info().is_local else SUBMIT_SECONDS)
