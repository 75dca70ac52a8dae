"""How an endpoint keeps its places: takes asks, tells who was served, counts. The rules are in `places`."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from turnkeeper import places
    from turnkeeper.messages import EndpointInput, thread_workflow_id
    from turnkeeper.place_messages import (
        AskForPlace,
        CountRequest,
        GiveBackPlace,
        PlaceAnswer,
        PlaceGranted,
        Places,
        Ticket,
        TurnCount,
    )
    from workflows import calls


class EndpointPlaces:
    """A part of the `Endpoint` workflow. Nothing here happens before the first ask."""

    _input: EndpointInput
    _places: Places
    _places_used: bool

    @workflow.update(description="Ask for a place for a turn; safe to repeat.")
    def ask_for_place(self, ask: AskForPlace) -> PlaceAnswer:
        """Granted at once if one is free and nobody waits."""
        self._places_used = True
        self._places, answer = places.answered(places.asked(self._places, ask, workflow.now()), ask.ticket)
        self._show()
        return answer

    @workflow.signal(description="Sent by a thread: its turn is over, or it begins none any more.")
    def give_back_place(self, back: GiveBackPlace) -> None:
        """The next one gets it."""
        self._places = places.given_back(self._places, back.ticket, workflow.now())
        self._show()

    async def _tell_threads(self) -> None:
        """Tell threads that they were served, for ever."""
        while True:
            await workflow.wait_condition(lambda: bool(places.untold(self._places)))
            await asyncio.gather(*(self._tell(ticket) for ticket in places.untold(self._places)))

    async def _tell(self, ticket: Ticket) -> None:
        thread = workflow.get_external_workflow_handle(thread_workflow_id(ticket.thread_id))
        try:
            await thread.signal("place_granted", PlaceGranted(ticket=ticket))
        except ApplicationError:  # the thread is over
            self._places = places.given_back(self._places, ticket, workflow.now())
        else:
            self._places = places.told(self._places, ticket)
        self._show()

    async def _count_when_due(self) -> None:
        """Count the running turns now and then, for ever: a thread that was terminated gives nothing back."""
        while True:
            await workflow.wait_condition(lambda: places.count_due(self._places) is not None)
            due = places.count_due(self._places) or workflow.now()
            if due <= workflow.now():
                await self._count()
                continue
            with suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda: places.count_due(self._places) is None,
                    timeout=due - workflow.now(),
                    timeout_summary="before the running turns are counted",
                )

    async def _count(self) -> None:
        request = CountRequest(endpoint=self._input.endpoint)
        running: tuple[str, ...] | None = None
        limit = self._places.limit
        try:
            count: TurnCount = await calls.start(
                calls.COUNT_TURNS, request, task_queue=self._input.task_queue, summary="count the running turns"
            )
            running, limit = count.thread_ids, count.max_running_turns
        except FailureError as error:
            workflow.logger.warning("endpoint %s: its running turns were not counted (%s)", request.endpoint, error)
        self._places = places.counted(self._places, running, limit, workflow.now())
        self._show()

    def _show(self) -> None:
        """The workflow's own."""
        raise NotImplementedError
