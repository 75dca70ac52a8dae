"""`Endpoint`: keeps an endpoint's relay alive, its places, and shows both. Single-flight by its workflow id."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from turnkeeper import places
    from turnkeeper.messages import EndpointInput, EndpointSnapshot
    from turnkeeper.observations import RelayRequest, RelayStatus
    from turnkeeper.place_messages import Places
    from workflows.endpoint_places import EndpointPlaces

RELAY_LIMIT: Final = timedelta(days=1)
"""Longest run of one relay attempt; a fresh one a day bounds whatever a process gathers."""

RELAY_HEARTBEAT: Final = timedelta(seconds=5)
"""A killed relay is replaced after this long; turns that end meanwhile are found when the next one attaches."""

RELAY_RETRY: Final = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), backoff_coefficient=2.0, maximum_interval=timedelta(seconds=5)
)

REFUSED_PAUSE: Final = timedelta(seconds=5)
"""After a relay that no retry helps, as when no worker knows the endpoint any more: it may be configured again."""

RUNS_PER_HISTORY: Final = 30
"""Relay runs before the workflow continues as new: a month, at a few dozen events a run."""

RELAY_GIVES_WAY: Final = "relay-gives-way"
"""Patch: a long history does not wait for the relay's end, which may be a day away. Without it, it does."""


@workflow.defn(name="Endpoint")
class EndpointWorkflow(EndpointPlaces):
    """Runs for ever: one long activity at a time, and the places beside it."""

    @workflow.init
    def __init__(self, endpoint: EndpointInput) -> None:
        """Take over the last known state of the relay."""
        self._input = endpoint
        self._relay = endpoint.relay_status
        self._since = workflow.now()
        # Here and not where it is needed: a condition is asked at other moments in a replay.
        self._gives_way = workflow.patched(RELAY_GIVES_WAY)
        self._places = endpoint.places
        self._places_used = endpoint.places != Places()

    @workflow.run
    async def run(self, endpoint: EndpointInput) -> None:
        """Run the relay, again and again, and keep the places meanwhile."""
        keeping = [asyncio.create_task(self._tell_threads()), asyncio.create_task(self._count_when_due())]
        relaying = asyncio.create_task(self._run_relays(endpoint))
        await workflow.wait_condition(lambda: any(task.done() for task in (relaying, *keeping)))
        for task in (relaying, *keeping):
            if task.done():
                task.result()  # keeping never ends but by a fault of ours
        await workflow.wait_condition(workflow.all_handlers_finished)
        workflow.continue_as_new(endpoint.model_copy(update={"relay_status": self._relay, "places": self._places}))

    async def _run_relays(self, endpoint: EndpointInput) -> None:
        request = RelayRequest(endpoint=endpoint.endpoint, namespace=workflow.info().namespace)
        for _ in range(RUNS_PER_HISTORY):
            if self._full():
                break
            await self._run_relay(endpoint, request)

    async def _run_relay(self, endpoint: EndpointInput, request: RelayRequest) -> None:
        """Until it ends, or the history is full: then it is cancelled. It ends when its next heartbeat tells it so."""
        relay = workflow.start_activity(
            "relay",
            request,
            task_queue=endpoint.task_queue,
            start_to_close_timeout=RELAY_LIMIT,
            heartbeat_timeout=RELAY_HEARTBEAT,
            retry_policy=RELAY_RETRY,
            summary="read the event stream",
        )
        await workflow.wait_condition(lambda: relay.done() or self._full())
        if not relay.done():
            relay.cancel()
            return  # the next run's relay may attach beside it for a moment: turns drop what they have seen
        try:
            await relay
        except ActivityError as error:
            workflow.logger.warning(
                "endpoint %s: its relay ended (%s); the next one begins in %d s. Running turns look by themselves.",
                endpoint.endpoint,
                error.cause or error,
                REFUSED_PAUSE.total_seconds(),
            )
            await workflow.sleep(REFUSED_PAUSE, summary="before the next relay")

    def _full(self) -> bool:
        # No run from before the patch has places.
        gives_way = self._gives_way or self._places_used
        return gives_way and workflow.info().get_current_history_length() >= self._input.continue_after_events

    @workflow.signal(description="The relay attached to the event stream or lost it.")
    def relay_status(self, status: RelayStatus) -> None:
        """Keep the newest."""
        if status.replaces(self._relay):
            self._relay = status
            self._show()

    @workflow.query(description="Health of the endpoint's event stream.")
    def snapshot(self) -> EndpointSnapshot:
        """What is known of the relay."""
        shown = places.shown(self._places) if self._places_used else None
        return EndpointSnapshot(endpoint=self._input.endpoint, relay=self._relay, since=self._since, places=shown)

    def _show(self) -> None:
        parts = []
        if (relay := self._relay) is not None:
            health = "attached" if relay.attached else "**not attached**: turns settle by looking, later"
            failure = f"\n\n{relay.failure.message} {relay.failure.next_step}" if relay.failure else ""
            parts.append(f"{health}, since {relay.at:%Y-%m-%d %H:%M:%S} UTC. {relay.version}{failure}")
        if self._places_used:
            shown = places.shown(self._places)
            line = f": {', '.join(shown.next)}" if shown.next else ""
            parts.append(f"{shown.held} of {shown.limit or 'any'} places taken, {shown.waiting} threads wait{line}")
        workflow.set_current_details("\n\n".join(parts))
