"""From what a stream says to the turns that it is about: routes, mailboxes, and one delivery at a time for each turn.

Nothing here grows with what the provider says: progress is folded in the mailboxes, decisive events are bounded there,
and what waits for its session to be read is bounded here. A slow receiver makes mailboxes fuller, never more numerous.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from activities.routing import Route, Router
from turnkeeper.coalescing import Heard, Mailbox
from turnkeeper.observations import ProviderEvent
from turnkeeper.opencode.translate import Translated
from turnkeeper.vocabulary import EventKind

MAX_UNROUTED: Final = 1000
"""Events that wait for their session to be read. More are dropped: their turns look by their own clock."""

MAX_UNROUTED_SESSIONS: Final = 100
"""Sessions that are being read to learn whose they are. Events of others are dropped meanwhile, as above."""

Deliver = Callable[[str, tuple[ProviderEvent, ...]], Awaitable[None]]
"""Tells a thread's turn a batch of at most `MAX_BATCH` events. Must not raise: nobody would tell it again."""


class Dispatcher:
    """The events of one endpoint, on their way to its turns. `take` never waits: the stream is read without pause."""

    def __init__(self, router: Router, deliver: Deliver) -> None:
        """Route with `router`; `deliver` is awaited for each batch, one at a time a thread: order is kept."""
        self._router = router
        self._deliver_batch = deliver
        self._mail: dict[str, Mailbox] = {}
        self._delivering: dict[str, asyncio.Event] = {}
        self._unrouted: dict[str, list[Heard]] = {}
        self._unrouted_count = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, batch: Iterable[Translated]) -> None:
        """What one read of the stream said, in order."""
        now = time.monotonic()
        for event, session in batch:
            if session is not None:
                self._router.remember(session)
            if event is not None:
                self._take(event, now)

    def forget_pauses(self) -> None:
        """Of mailboxes that are empty: their turns may have ended unheard, and would be remembered for good."""
        self._mail = {thread: mailbox for thread, mailbox in self._mail.items() if thread in self._delivering}

    async def close(self) -> None:
        """End everything that is still under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _take(self, event: Heard, now: float) -> None:
        if event.kind is EventKind.SESSION_ERROR:
            # It names no prompt: only its time tells a turn whether it can be meant.
            event = replace(event, at=datetime.now(UTC))
        if event.session_id in self._unrouted:
            self._hold(event)  # behind the events that wait already, so that order is kept
            return
        route, missing = self._router.known(event.session_id)
        if route is not None:
            self._put(route, event, now)
        elif missing is not None and len(self._unrouted) < MAX_UNROUTED_SESSIONS:
            self._unrouted[event.session_id] = []
            self._hold(event)
            self._spawn(self._route(event.session_id))

    def _hold(self, event: Heard) -> None:
        if self._unrouted_count < MAX_UNROUTED:
            self._unrouted[event.session_id].append(event)
            self._unrouted_count += 1

    async def _route(self, session_id: str) -> None:
        route = await self._router.find(session_id)
        events = self._unrouted.pop(session_id)
        self._unrouted_count -= len(events)
        if route is not None:
            now = time.monotonic()
            for event in events:
                self._put(route, event, now)

    def _put(self, route: Route, event: Heard, now: float) -> None:
        mailbox = self._mail.get(route.thread_id)
        if mailbox is None:
            mailbox = self._mail[route.thread_id] = Mailbox()
        sooner = mailbox.put(replace(event, child=True) if route.child else event, now)
        nudge = self._delivering.get(route.thread_id)
        if nudge is None:
            self._delivering[route.thread_id] = asyncio.Event()
            self._spawn(self._deliver(route.thread_id, mailbox))
        elif sooner:
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
            await self._deliver_batch(thread_id, mailbox.take())
        del self._delivering[thread_id]
        if mailbox.fresh:
            del self._mail[thread_id]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
