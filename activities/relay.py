"""`relay`: read an endpoint's event stream and wake the turns that its events are about.

An event only makes a turn look, and when a session becomes idle the relay looks in its place: what it read goes along.
Its death costs time and nothing else, because every turn also looks on its own clock, and two relays at once are
harmless. It does no slow work between two reads: OpenCode queues without bound for a reader that does not read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError

from activities.dispatch import Dispatcher
from activities.endpoints import HEARTBEAT_INTERVAL, Endpoints, as_application_errors
from activities.routing import Router
from activities.running_turns import running_turns
from activities.stream_log import StreamLog
from turnkeeper.errors import ProviderError
from turnkeeper.messages import endpoint_workflow_id, turn_workflow_id
from turnkeeper.observations import Failure, ProviderEvent, ProviderEvents, RelayRequest, RelayStatus
from turnkeeper.opencode.stream import ATTACH_SECONDS, open_stream
from turnkeeper.vocabulary import EventKind

RECONNECT_FIRST: Final = 0.2
"""Seconds before the first new try; doubles up to `RECONNECT_LAST`."""

RECONNECT_LAST: Final = 1.0
"""Longest pause between tries, each one refused connection: a provider that is back is read within this, and its turns
look at once. With two looks, a second apart, a lost turn is then settled within 5 s."""

ATTACH_FIRST: Final = 1.0
"""Seconds for the first try to attach; doubles up to `ATTACH_SECONDS`. OpenCode answers at once, but a request that it
took in the middle of its own start was seen unanswered for 10 s, on 1.18.33 and a crowded machine. The next try
follows without a long pause: that one was waited for already."""

LISTED_AFTER: Final = 1.0
"""Seconds until Temporal's list holds every turn that has begun: after an attach it is read once more so late."""

AWAY_TOLD_AFTER: Final = 2.0
"""Seconds without a stream until running turns are told that no events come: a turn then looks within `look_interval`.
A stream that is back sooner makes them look anyway."""

AWAY_TOLD_AGAIN: Final = 5.0
"""Seconds between looks for turns that have begun meanwhile. Each turn is told once, five events of its history."""

REPORT_AGAIN: Final = 2.0
"""Seconds until a change of health that Temporal did not take is told again."""

ATTACH_SIGNALS_PER_SECOND: Final = 100
"""Turns told to look after an attach, a second: each look is a few provider calls."""

MAX_SENDING: Final = 50
"""Signals under way at once."""

HANDOVER_DELAY: Final = timedelta(milliseconds=50)
"""Until another worker takes the relay over from one that shuts down."""

log = logging.getLogger("turnkeeper.relay")


class RelayActivities:
    """One relay an endpoint, kept alive by its `Endpoint` workflow."""

    def __init__(self, endpoints: Endpoints, temporal: Client) -> None:
        """Signal turns through `temporal`."""
        self._endpoints = endpoints
        self._temporal = temporal

    @activity.defn(name="relay")
    async def relay(self, request: RelayRequest) -> None:
        """Read until cancelled; hands over at once when the worker shuts down. Heartbeats while its reader lives."""
        with as_application_errors():
            relay = _Relay(self._endpoints, self._temporal, request)
        reader = asyncio.create_task(relay.read())
        shutdown = asyncio.create_task(activity.wait_for_worker_shutdown())
        try:
            while not reader.done() and not shutdown.done():
                activity.heartbeat()
                await asyncio.wait({reader, shutdown}, timeout=HEARTBEAT_INTERVAL, return_when=asyncio.FIRST_COMPLETED)
            if reader.done():
                reader.result()  # only ever an error
        finally:
            shutdown.cancel()
            reader.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await reader
            await relay.close()
        raise ApplicationError(
            "the worker shuts down; another one takes the relay over",
            type="relay_handover",
            next_retry_delay=HANDOVER_DELAY,
            category=ApplicationErrorCategory.BENIGN,
        )


class _Relay:
    def __init__(self, endpoints: Endpoints, temporal: Client, request: RelayRequest) -> None:
        self._client = endpoints.client(request.endpoint)
        self._driver = endpoints.driver(request.endpoint)
        # A turn with another limit looks itself.
        self._text_limit = endpoints.settings(request.endpoint).limits.text_limit
        self._temporal = temporal
        self._request = request
        self._attempt = activity.info().attempt
        self._since = activity.info().started_time
        self._clock = time.monotonic()
        self._reports = 0
        self._router = Router(self._client, request.namespace)
        self._dispatcher = Dispatcher(self._router, self._tell_turn)
        self._sending = asyncio.Semaphore(MAX_SENDING)
        self._tasks: set[asyncio.Task[None]] = set()
        self._attached: bool | None = None
        self._gap: asyncio.Task[None] | None = None
        self._log = StreamLog(request.endpoint)

    async def read(self) -> None:
        """Attach, read, attach again, for ever."""
        pause, patience = RECONNECT_FIRST, ATTACH_FIRST
        while True:
            try:
                async with open_stream(self._client, patience) as stream:
                    self._log.attached()
                    self._dispatcher.forget_pauses()
                    self._spawn(self._on_attach(after_gap=self._end_gap()))
                    pause, patience = RECONNECT_FIRST, ATTACH_FIRST
                    async for batch in stream:
                        self._dispatcher.take(batch)
            except ProviderError as error:
                self._log.lost(error.failure())
                self._spawn(self._report(attached=False, failure=error.failure()))
                self._gap = self._gap or self._spawn(self._tell_of_gap())
                if error.detail_code == "provider_timeout":
                    pause, patience = RECONNECT_FIRST, min(patience * 2, ATTACH_SECONDS)
            await asyncio.sleep(pause)
            pause = min(pause * 2, RECONNECT_LAST)

    async def close(self) -> None:
        """End everything that is still under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, self._dispatcher.close(), return_exceptions=True)

    async def _tell_turn(self, thread_id: str, events: tuple[ProviderEvent, ...]) -> None:
        """With the end of its run goes what a look would find: an activity and a workflow task less for the turn."""
        last, reading = events[-1], None
        directory = self._router.directory(last.session_id)
        if last.kind is EventKind.IDLE and not (last.child or last.cut_off) and directory is not None:
            reading = await self._driver.read_ended(directory, last.session_id, self._text_limit)
        await self._signal_turn(thread_id, ProviderEvents(events=events, reading=reading))

    async def _signal_turn(self, thread_id: str, told: ProviderEvents) -> None:
        handle = self._temporal.get_workflow_handle(turn_workflow_id(thread_id))
        async with self._sending:
            try:
                await handle.signal("provider_events", told)
            except RPCError as error:
                # No turn runs there, or Temporal is away: either way a turn that runs looks by its own clock.
                log.debug("thread %s: events not delivered (Temporal answered %s)", thread_id, error.status.name)

    async def _on_attach(self, *, after_gap: bool) -> None:
        """Events before now may be lost: make the endpoint's running turns look, before anything else is done."""
        told: set[str] = set()
        attached_at = self._server_time()
        await self._tell_running(ProviderEvent(id="attach", kind=EventKind.ATTACHED, cut_off=after_gap), told)
        await self._report(attached=True)
        await asyncio.sleep(LISTED_AFTER)
        # Those that had just begun: what they gave the provider may be from after the gap.
        await self._tell_running(ProviderEvent(id="attach", kind=EventKind.ATTACHED), told, begun_before=attached_at)

    def _server_time(self) -> datetime:
        """Now, by the clock that a turn's start is told by; this machine's may be off."""
        return self._since + timedelta(seconds=time.monotonic() - self._clock)

    def _end_gap(self) -> bool:
        """Was there one, in the time of this relay?"""
        gap, self._gap = self._gap, None
        if gap is not None:
            gap.cancel()
        return gap is not None

    async def _tell_of_gap(self) -> None:
        """Until cancelled: turns that run, and those that begin, shall not wait for events."""
        told: set[str] = set()
        await asyncio.sleep(AWAY_TOLD_AFTER)
        while True:
            await self._tell_running(ProviderEvent(id="detach", kind=EventKind.DETACHED), told)
            await asyncio.sleep(AWAY_TOLD_AGAIN)

    async def _tell_running(
        self, event: ProviderEvent, told: set[str], *, begun_before: datetime | None = None
    ) -> None:
        """Tell the endpoint's running turns, but those in `told`, which it adds to, and those that began too late."""
        try:
            async for thread_id, run_id, begun_at in running_turns(self._temporal, self._request.endpoint):
                if run_id in told or (begun_before is not None and begun_at > begun_before):
                    continue
                told.add(run_id)
                own = event.model_copy(update={"id": f"{event.id}-{self._attempt}-{run_id}"})
                self._spawn(self._signal_turn(thread_id, ProviderEvents(events=(own,))))
                await asyncio.sleep(1 / ATTACH_SIGNALS_PER_SECOND)
        except RPCError as error:
            told_of = "endpoint %s: running turns could not be told (Temporal answered %s); they look by their clocks"
            log.warning(told_of, self._request.endpoint, error.status.name)

    async def _report(self, *, attached: bool, failure: Failure | None = None) -> None:
        """Tell the `Endpoint` workflow, on changes only."""
        if attached is self._attached:
            return
        self._attached = attached
        self._reports += 1
        number = self._reports
        version = ""
        with suppress(ProviderError):
            version = await self._client.health() if attached else ""
        status = RelayStatus(
            attached=attached,
            at=datetime.now(UTC),
            attempt=self._attempt,
            version=version,
            failure=failure,
            relay_since=self._since,
            number=number,
        )
        handle = self._temporal.get_workflow_handle(endpoint_workflow_id(self._request.endpoint))
        while number == self._reports:  # else a newer one says more
            try:
                await handle.signal("relay_status", status)
            except RPCError as error:
                told = "endpoint %s: its health is not told yet (Temporal answered %s); `doctor` shows an older one"
                log.warning(told, self._request.endpoint, error.status.name)
                await asyncio.sleep(REPORT_AGAIN)
            else:
                return

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
