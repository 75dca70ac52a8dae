"""`answer`: give the provider the answer to a permission or a question."""

from __future__ import annotations

from temporalio import activity

from activities.endpoints import Endpoints
from turnkeeper.observations import ReplyReport, ReplyRequest


class AnswerActivities:
    """Give the provider the answer to a permission or a question."""

    def __init__(self, endpoints: Endpoints) -> None:
        """Use the worker's endpoints."""
        self._endpoints = endpoints

    @activity.defn(name="answer")
    async def answer(self, request: ReplyRequest) -> ReplyReport:
        """Give the provider the answer to a permission or a question. Provider trouble is a value, not an error."""
        async with self._endpoints.calling(request.endpoint) as driver:
            return await driver.reply(request)
