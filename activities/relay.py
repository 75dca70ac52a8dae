"""`relay`: read an endpoint's event stream and wake the turns that its events are about.

It only wakes. Its death costs time and nothing else, because every turn also looks on its own clock; two relays at
once are harmless, because an event only makes a turn look. It does no slow work between two reads: OpenCode queues
without bound for a reader that does not read.
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

from activities.endpoints import HEARTBEAT_INTERVAL, Endpoints, as_application_errors
from activities.routing import Route, Router
from activities.running_turns import running_turns
from activities.stream_log import StreamLog
from turnkeeper.coalescing import Mailbox
from turnkeeper.errors import ProviderError
from turnkeeper.messages import endpoint_workflow_id, turn_workflow_id
from turnkeeper.observations import Failure, ProviderEvent, ProviderEvents, RelayRequest, RelayStatus
from turnkeeper.opencode.client import OpenCodeClient
from turnkeeper.opencode.stream import ATTACH_SECONDS, EventStream, open_stream
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

MAX_UNROUTED: Final = 1000
"""Events that wait for their session to be read. More are dropped: their turns look by their own clock."""

MAX_UNROUTED_SESSIONS: Final = 100
"""Sessions that are being read to learn whose they are. Events of others are dropped meanwhile, as above."""

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
            client = self._endpoints.client(request.endpoint)
        relay = _Relay(client, self._temporal, request)
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
    def __init__(self, client: OpenCodeClient, temporal: Client, request: RelayRequest) -> None:
        self._client = client
        self._temporal = temporal
        self._request = request
        self._attempt = activity.info().attempt
        self._since = activity.info().started_time
        self._reports = 0
        self._router = Router(client, request.namespace)
        self._mail: dict[str, Mailbox] = {}
        self._delivering: dict[str, asyncio.Event] = {}
        self._unrouted: dict[str, list[ProviderEvent]] = {}
        self._unrouted_count = 0
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
                    self._forget_pauses()
                    self._spawn(self._on_attach(after_gap=self._end_gap()))
                    pause, patience = RECONNECT_FIRST, ATTACH_FIRST
                    await self._read_stream(stream)
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
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read_stream(self, stream: EventStream) -> None:
        async for batch in stream:
            for said in batch:
                if said.session is not None:
                    self._router.remember(said.session)
                if said.event is not None:
                    self._take(said.event)

    def _take(self, event: ProviderEvent) -> None:
        if event.kind is EventKind.SESSION_ERROR:
            # It names no prompt: only its time tells a turn whether it can be meant.
            event = event.model_copy(update={"at": datetime.now(UTC)})
        if event.session_id in self._unrouted:
            self._hold(event)  # behind the events that wait already, so that order is kept
            return
        route, missing = self._router.known(event.session_id)
        if route is not None:
            self._put(route, event)
        elif missing is not None and len(self._unrouted) < MAX_UNROUTED_SESSIONS:
            self._unrouted[event.session_id] = []
            self._hold(event)
            self._spawn(self._route(event.session_id))

    def _hold(self, event: ProviderEvent) -> None:
        if self._unrouted_count < MAX_UNROUTED:
            self._unrouted[event.session_id].append(event)
            self._unrouted_count += 1

    async def _route(self, session_id: str) -> None:
        route = await self._router.find(session_id)
        events = self._unrouted.pop(session_id)
        self._unrouted_count -= len(events)
        if route is not None:
            for event in events:
                self._put(route, event)

    def _put(self, route: Route, event: ProviderEvent) -> None:
        mailbox = self._mail.setdefault(route.thread_id, Mailbox())
        due_before = mailbox.due()
        mailbox.put(event.model_copy(update={"child": True}) if route.child else event, time.monotonic())
        nudge = self._delivering.get(route.thread_id)
        if nudge is None:
            self._delivering[route.thread_id] = asyncio.Event()
            self._spawn(self._deliver(route.thread_id, mailbox))
        elif due_before is None or (mailbox.due() or 0.0) < due_before:
            nudge.set()  # it waits for something later

    async def _deliver(self, thread_id: str, mailbox: Mailbox) -> None:
        """Tell a turn what waits for it, when it is due, until nothing waits. One at a time a turn: order is kept."""
        nudge = self._delivering[thread_id]
        while (due := mailbox.due()) is not None:
            wait = due - time.monotonic()
            if wait > 0:
                nudge.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(nudge.wait(), wait)
                continue
            await self._signal_turn(thread_id, mailbox.take())
        del self._delivering[thread_id]
        if mailbox.fresh:
            del self._mail[thread_id]

    def _forget_pauses(self) -> None:
        """Of mailboxes that are empty: their turns may have ended unheard, and would be remembered for good."""
        self._mail = {thread: mailbox for thread, mailbox in self._mail.items() if thread in self._delivering}

    async def _signal_turn(self, thread_id: str, events: tuple[ProviderEvent, ...]) -> None:
        handle = self._temporal.get_workflow_handle(turn_workflow_id(thread_id))
        async with self._sending:
            try:
                await handle.signal("provider_events", ProviderEvents(events=events))
            except RPCError as error:
                # No turn runs there, or Temporal is away: either way a turn that runs looks by its own clock.
                log.debug("thread %s: events not delivered (Temporal answered %s)", thread_id, error.status.name)

    async def _on_attach(self, *, after_gap: bool) -> None:
        """Events before now may be lost: make the endpoint's running turns look, before anything else is done."""
        told: set[str] = set()
        await self._tell_running(ProviderEvent(id="attach", kind=EventKind.ATTACHED, cut_off=after_gap), told)
        await self._report(attached=True)
        await asyncio.sleep(LISTED_AFTER)
        # Those that had just begun: what they gave the provider may be from after the gap.
        await self._tell_running(ProviderEvent(id="attach", kind=EventKind.ATTACHED), told)

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

    async def _tell_running(self, event: ProviderEvent, told: set[str]) -> None:
        """Tell the endpoint's running turns, but those in `told`, which it adds to."""
        try:
            async for thread_id, run_id in running_turns(self._temporal, self._request.endpoint):
                if run_id in told:
                    continue
                told.add(run_id)
                own = event.model_copy(update={"id": f"{event.id}-{self._attempt}-{run_id}"})
                self._spawn(self._signal_turn(thread_id, (own,)))
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
