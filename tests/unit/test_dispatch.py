"""Events reach their turns in order, each delivery after the one before, and nothing grows while nobody takes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from activities.dispatch import MAX_UNROUTED, MAX_UNROUTED_SESSIONS, Dispatcher
from activities.routing import Router
from tests.unit.opencode_on_paper import client_of
from turnkeeper.coalescing import Heard
from turnkeeper.observations import ProviderEvent
from turnkeeper.opencode.marks import SessionFacts
from turnkeeper.opencode.translate import Translated
from turnkeeper.vocabulary import EventKind

OURS = SessionFacts("ses_1", None, "/w", "thread", "default")
CHILD = SessionFacts("ses_2", "ses_1", "/w", None, None)
OTHERS = SessionFacts("ses_3", None, "/w", None, None)
INFO = {"id": "ses_1", "directory": "/w", "metadata": {"turnkeeper": {"thread": "thread", "namespace": "default"}}}


def heard(kind: EventKind, number: int = 0, session: str = "ses_1") -> Translated:
    return Translated(Heard(f"evt_{number}", kind, session))


async def settled() -> None:
    """Everything that can go on has gone on."""
    for _ in range(200):
        await asyncio.sleep(0)


class Turns:
    """Takes what is delivered, once its gate is open."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ProviderEvent]] = []
        self.gate = asyncio.Event()
        self.at_once = 0

    async def __call__(self, thread: str, events: tuple[ProviderEvent, ...]) -> None:
        self.at_once += 1
        assert self.at_once == 1, "two deliveries to one turn may overtake each other"
        await self.gate.wait()
        self.told += [(thread, event) for event in events]
        self.at_once -= 1

    @property
    def count(self) -> int:
        return sum(event.count for _, event in self.told)

    async def have(self, count: int) -> None:
        """So many events at least, and whatever comes right after them."""
        async with asyncio.timeout(5):
            while self.count < count:  # noqa: ASYNC110 - what they wait for passes through httpx
                await asyncio.sleep(0)
        await settled()

    @property
    def ids(self) -> list[str]:
        return [event.id for _, event in self.told]


class Reads(httpx.AsyncBaseTransport):
    """Answers reads of sessions once its gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        await self.gate.wait()
        return httpx.Response(200, json=INFO | {"id": request.url.path.rpartition("/")[2]})


@asynccontextmanager
async def dispatching() -> AsyncIterator[tuple[Dispatcher, Turns, Reads]]:
    turns, reads = Turns(), Reads()
    client = client_of(reads)
    dispatcher = Dispatcher(Router(client, "default"), turns)
    yield dispatcher, turns, reads
    await dispatcher.close()
    await client.close()


async def test_decisive_events_wait_for_the_delivery_before_them_and_keep_their_order() -> None:
    async with dispatching() as (dispatcher, turns, _):
        dispatcher.take([Translated(session=OURS)])
        for number in range(100):
            dispatcher.take([heard(EventKind.RETRYING, number)])
            await asyncio.sleep(0)
        turns.gate.set()
        await settled()
        assert turns.ids == [f"evt_{number}" for number in range(100)]


async def test_an_event_of_a_child_goes_to_its_parents_turn_and_one_of_others_to_none() -> None:
    async with dispatching() as (dispatcher, turns, reads):
        turns.gate.set()
        dispatcher.take([Translated(session=facts) for facts in (OURS, CHILD, OTHERS)])
        dispatcher.take([heard(EventKind.IDLE, session=session) for session in ("ses_3", "ses_2", "ses_1")])
        await settled()
        assert [(thread, event.session_id, event.child) for thread, event in turns.told] == [
            ("thread", "ses_2", True),
            ("thread", "ses_1", False),
        ]
        assert reads.asked == []


async def test_a_decisive_event_wakes_the_delivery_that_waits_for_progress() -> None:
    async with dispatching() as (dispatcher, turns, _):
        turns.gate.set()
        dispatcher.take([Translated(session=OURS), heard(EventKind.PROGRESS, 1)])
        await settled()
        assert turns.told == []
        dispatcher.take([heard(EventKind.IDLE, 2)])
        await settled()
        assert turns.ids == ["evt_1", "evt_2"]


async def test_what_waits_for_its_session_is_told_in_order_once_it_is_read() -> None:
    async with dispatching() as (dispatcher, turns, reads):
        turns.gate.set()
        dispatcher.take([heard(EventKind.RETRYING, 1)])
        await settled()
        dispatcher.take([Translated(session=OURS), heard(EventKind.RETRYING, 2)])  # its route is known by now
        await settled()
        assert turns.told == []
        reads.gate.set()
        await turns.have(2)
        assert turns.ids == ["evt_1", "evt_2"]
        assert len(reads.asked) == 1


async def test_sessions_that_cannot_be_read_hold_a_bounded_number_of_events() -> None:
    async with dispatching() as (dispatcher, turns, reads):
        turns.gate.set()
        for number in range(3 * MAX_UNROUTED):
            dispatcher.take([heard(EventKind.RETRYING, number, f"ses_{number % (2 * MAX_UNROUTED_SESSIONS)}")])
        await settled()
        assert 0 < len(reads.asked) <= MAX_UNROUTED_SESSIONS
        reads.gate.set()
        await turns.have(MAX_UNROUTED)
        assert turns.count == MAX_UNROUTED
        dispatcher.take([heard(EventKind.RETRYING, 0, "ses_new")])
        await turns.have(MAX_UNROUTED + 1)  # what waited before is counted off


async def test_a_turn_that_takes_nothing_costs_the_same_whatever_is_said() -> None:
    async with dispatching() as (dispatcher, turns, _):
        dispatcher.take([Translated(session=OURS), heard(EventKind.IDLE)])
        await settled()
        dispatcher.take([heard(EventKind.PROGRESS, number) for number in range(10_000)])
        turns.gate.set()
        dispatcher.take([heard(EventKind.IDLE, 10_000)])
        await settled()
        assert [(event.kind, event.count) for _, event in turns.told] == [
            (EventKind.IDLE, 1),
            (EventKind.PROGRESS, 10_000),
            (EventKind.IDLE, 1),
        ]
