"""How a thread gets a place at its endpoint before it begins a turn. The rules are in `own_place` and `places`."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from turnkeeper import own_place
    from turnkeeper.messages import endpoint_workflow_id
    from turnkeeper.place_messages import GiveBackPlace, PlaceAnswer, PlaceGranted, PlaceRequest, Ticket
    from turnkeeper.thread_messages import ThreadInput, ThreadState
    from workflows import calls

PLACES: Final = "places"
"""Patch: turns take a place first. While a fleet is upgraded, a worker from before it may run a thread that a newer
one admitted. Only threads of endpoints with a limit have the marker."""


class ThreadPlaces:
    """A part of the `Thread` workflow. Nothing here happens without `max_running_turns`."""

    _input: ThreadInput
    _state: ThreadState

    @workflow.signal(description="Sent by the endpoint: the place that the thread waited for is its own.")
    async def place_granted(self, granted: PlaceGranted) -> None:
        """Take it; one that the thread does not ask for any more goes back at once."""
        ticket = granted.ticket
        if ticket == self._ticket(ticket.number) and own_place.asks(self._state, ticket.number):
            self._state = own_place.granted(self._state)
        else:
            await self._return_place(ticket)

    async def _take_place(self) -> bool:
        """Whether a turn may begin now. Otherwise none is to begin any more, or the thread has to continue as new."""
        if not own_place.needed(self._state) or not workflow.patched(PLACES):
            return True
        self._state = own_place.asked(self._state, workflow.now())
        while self._waits_for_place() and not self._full():
            await self._ask_for_place()
            self._show()
            if self._state.place is not None and self._waits_for_place():
                with suppress(TimeoutError):
                    await workflow.wait_condition(
                        lambda: not self._waits_for_place() or self._full(),
                        timeout=own_place.pause(self._state.place, workflow.random().random()),
                        timeout_summary="before it asks for its place again",
                    )
        if not self._may_begin() or not own_place.needed(self._state):
            await self._give_place_back()
            return self._may_begin() and not own_place.needed(self._state)
        return not own_place.waits(self._state)

    async def _ask_for_place(self) -> None:
        """Not cut short: an ask that came after its own withdrawal would hold a place that nobody uses."""
        number = self._state.places_asked
        request = PlaceRequest(
            endpoint=self._input.endpoint,
            ticket=self._ticket(number),
            claim=own_place.claims(self._state),
            workflow_queue=workflow.info().task_queue,
        )
        try:
            answer: PlaceAnswer = await calls.start(
                calls.ASK_FOR_PLACE, request, task_queue=self._state.task_queue, summary="ask for a place"
            )
            self._state = own_place.answered(self._state, number, answer)
        except FailureError as error:
            self._state = own_place.unanswered(self._state, number, calls.no_answer(error))

    async def _give_place_back(self) -> None:
        place = self._state.place
        if place is not None:
            self._state = own_place.given_back(self._state)
            await self._return_place(self._ticket(place.number))

    async def _return_place(self, ticket: Ticket) -> None:
        endpoint = workflow.get_external_workflow_handle(endpoint_workflow_id(self._input.endpoint))
        with suppress(ApplicationError):  # the endpoint's workflow is gone, and what it knew with it
            await endpoint.signal("give_back_place", GiveBackPlace(ticket=ticket))

    def _ticket(self, number: int) -> Ticket:
        chain = workflow.info().first_execution_run_id
        return Ticket(thread_id=self._input.thread_id, chain=chain, number=number)

    def _waits_for_place(self) -> bool:
        return self._may_begin() and own_place.needed(self._state) and own_place.waits(self._state)

    def _may_begin(self) -> bool:
        """The workflow's own."""
        raise NotImplementedError

    def _full(self) -> bool:
        """The workflow's own."""
        raise NotImplementedError

    def _show(self) -> None:
        """The workflow's own."""
        raise NotImplementedError
