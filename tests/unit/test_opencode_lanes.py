"""The connections of one endpoint: reused whatever the others do, never too many, freed however a call ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import pytest

from turnkeeper.opencode.lanes import Lanes

ADDRESS = "http://opencode.test/session"
LIMIT = 20


class Body(httpx.AsyncByteStream):
    """Two chunks."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"half "
        yield b"and half"


class Lane(httpx.AsyncBaseTransport):
    """One connection that answers when it is let."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.calls = 0
        self.busy = False
        self.closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert not self.busy, "two calls on one connection"
        self.busy = True
        self.calls += 1
        try:
            self.fleet.arrived.release()
            await asyncio.sleep(0)  # what was begun together is under way together
            await self.fleet.answering.wait()
            if request.url.path == "/broken":
                raise httpx.ReadError("cut")
            return httpx.Response(200, stream=Body())
        finally:
            self.busy = False

    async def aclose(self) -> None:
        self.closed = True


class Fleet:
    """Makes the connections and remembers them."""

    def __init__(self) -> None:
        self.made: list[Lane] = []
        self.arrived = asyncio.Semaphore(0)
        self.answering = asyncio.Event()
        self.answering.set()

    def make(self) -> Lane:
        self.made.append(Lane(self))
        return self.made[-1]

    def client(self, *, idle_seconds: float = 60.0, pool_timeout: float = 0.05) -> httpx.AsyncClient:
        lanes = Lanes(self.make, LIMIT, idle_seconds)
        return httpx.AsyncClient(transport=lanes, timeout=httpx.Timeout(5.0, pool=pool_timeout))


async def test_calls_one_after_another_share_a_connection() -> None:
    fleet = Fleet()
    async with fleet.client() as http:
        for _ in range(5):
            assert (await http.get(ADDRESS)).text == "half and half"
    assert [lane.calls for lane in fleet.made] == [5]


async def test_many_at_once_keep_their_connections_for_the_next_time() -> None:
    fleet = Fleet()
    async with fleet.client() as http:
        for _ in range(3):
            await asyncio.gather(*(http.get(ADDRESS) for _ in range(LIMIT)))
    assert sum(lane.calls for lane in fleet.made) == 3 * LIMIT
    assert len(fleet.made) == LIMIT


async def test_more_than_allowed_wait_and_are_told_when_it_takes_too_long() -> None:
    fleet = Fleet()
    fleet.answering.clear()
    async with fleet.client() as http:
        running = [asyncio.create_task(http.get(ADDRESS)) for _ in range(LIMIT)]
        for _ in running:
            await fleet.arrived.acquire()
        with pytest.raises(httpx.PoolTimeout):
            await http.get(ADDRESS)
        waiting = asyncio.create_task(http.get(ADDRESS, timeout=httpx.Timeout(5.0)))
        await asyncio.sleep(0)
        fleet.answering.set()
        answers = await asyncio.gather(waiting, *running)
    assert all(answer.is_success for answer in answers)
    assert len(fleet.made) == LIMIT


@pytest.mark.parametrize("ending", ["broken", "cancelled", "unread"])
async def test_a_call_frees_its_place_however_it_ends(ending: str) -> None:
    fleet = Fleet()
    async with fleet.client() as http:
        for _ in range(2 * LIMIT):
            match ending:
                case "broken":
                    with pytest.raises(httpx.ReadError):
                        await http.get("http://opencode.test/broken")
                case "cancelled":
                    fleet.answering.clear()
                    call = asyncio.create_task(http.get(ADDRESS))
                    await fleet.arrived.acquire()
                    call.cancel()
                    with suppress(asyncio.CancelledError):
                        await call
                    fleet.answering.set()
                case _:
                    async with http.stream("GET", ADDRESS):
                        pass  # closed without being read
        await asyncio.gather(*(http.get(ADDRESS) for _ in range(LIMIT)))
    assert len(fleet.made) <= LIMIT


async def test_what_is_idle_too_long_is_closed_while_others_go_on() -> None:
    fleet = Fleet()
    async with fleet.client(idle_seconds=0.05) as http:
        await asyncio.gather(*(http.get(ADDRESS) for _ in range(3)))
        made = len(fleet.made)
        assert made > 1
        async with asyncio.timeout(5):
            while sum(lane.closed for lane in fleet.made) < made - 1:
                await asyncio.sleep(0.02)
                await http.get(ADDRESS)
        assert len(fleet.made) == made, "the one in use was kept"


async def test_closing_closes_idle_and_busy_ones() -> None:
    fleet = Fleet()
    http = fleet.client()
    await http.get(ADDRESS)
    async with http.stream("GET", ADDRESS) as busy:
        await http.get(ADDRESS)
        await http.aclose()
        assert [lane.closed for lane in fleet.made] == [True, True]
        await busy.aread()
