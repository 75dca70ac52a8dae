"""Running rows: on one Temporal server, several at a time, each in a world of its own."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from temporalio.testing import WorkflowEnvironment

from tests.conformance.given import establish
from tests.conformance.judge import look_and_judge
from tests.conformance.rows import Row, UnknownWordError
from tests.conformance.steps import asks_the_adapter, perform
from tests.conformance.verdicts import DIFFERS, FAILING, NOT_APPLICABLE, OVERRULED, PENDING, Differs
from tests.conformance.world import HURRIED, LIMITS, VIRTUAL, PaperEndpoints, Workers, World
from tests.workflow.stage import replayer

AT_ONCE: Final = 6
"""Rows under way together: most of a row is waiting, and more would make two cores late."""

PATIENCE: Final = 6.0
"""Seconds until what a row asserts has to be so."""

POLL: Final = 0.1
"""Seconds between two looks at it."""

RESTARTS: Final = ("server.start", "janitor.sweep", "server.shutdown")


class Result(StrEnum):
    """What became of a row."""

    PASSED = "passed"
    DIFFERS = "differs"
    OVERRULED = "overruled"
    NOT_APPLICABLE = "not applicable"
    PENDING = "pending"
    FAILING = "failing"
    BROKEN = "broken"


@dataclass(frozen=True)
class Verdict:
    """A row's result and why, as the table shows it; `complaints` only of a broken one."""

    row: Row
    result: Result
    why: str = ""
    complaints: tuple[str, ...] = ()

    @property
    def explained(self) -> str:
        """The reason, with the rows that it rests on."""
        by = " and ".join(f"`{name}`" for name in sorted(rulers(self.row.id)))
        return f"{self.why} Overruled by {by}." if by and self.why else self.why

    @property
    def where(self) -> str:
        """What was asked: the adapter alone, or everything with the workflows on top."""
        if self.result in {Result.NOT_APPLICABLE, Result.PENDING}:
            return ""
        return "adapter" if asks_the_adapter(self.row) else "workflows"


async def run_rows(server: WorkflowEnvironment, rows: list[Row]) -> dict[str, Verdict]:
    """All rows; those that let time pass on a skipped clock, after the others."""
    skipped = [row for row in rows if row.does("clock.advance") and "session" in row.given]
    others = [row for row in rows if row not in skipped]
    with server.with_time_skipping_disabled():
        verdicts = await _together(server, others)
    verdicts |= await _together(server, skipped)
    return {name: _with_its_rulers(verdict, verdicts) for name, verdict in verdicts.items()}


def rulers(row: str) -> frozenset[str]:
    """The rows that overrule this one; without them it cannot be judged."""
    return frozenset(OVERRULED[row].by) if row in OVERRULED else frozenset()


def _with_its_rulers(verdict: Verdict, verdicts: dict[str, Verdict]) -> Verdict:
    """An overruled row is broken when a row that overrules it does not pass."""
    if verdict.result is not Result.OVERRULED:
        return verdict
    found = {name: verdicts[name].result if name in verdicts else "not run" for name in sorted(rulers(verdict.row.id))}
    failed = tuple(f"{name}, which overrules it, is {result}" for name, result in found.items() if result != "passed")
    return replace(verdict, result=Result.BROKEN, complaints=failed) if failed else verdict


async def _together(server: WorkflowEnvironment, rows: list[Row]) -> dict[str, Verdict]:
    workers = Workers(server.client, f"rows-{uuid.uuid4().hex[:6]}", PaperEndpoints())
    room = asyncio.Semaphore(AT_ONCE)

    async def one(row: Row) -> Verdict:
        async with room:
            return await run_row(row, workers)

    async with workers.up():
        verdicts = {verdict.row.id: verdict for verdict in await asyncio.gather(*map(one, rows))}
    # Whatever a row did, a worker that takes over now must come to the same commands.
    await replayer().replay_workflows(server.client.list_workflows(f"TaskQueue = '{workers.queue}'").map_histories())
    return verdicts


async def run_row(row: Row, workers: Workers) -> Verdict:
    """Perform and judge one row, or say why not."""
    if (why := NOT_APPLICABLE.get(row.id)) is not None:
        return Verdict(row, Result.NOT_APPLICABLE, why)
    if (why := PENDING.get(row.id)) is not None:
        return Verdict(row, Result.PENDING, why)
    try:
        complaints = await _performed(row, workers)
    except UnknownWordError as error:
        return Verdict(row, Result.BROKEN, "", (str(error),))
    except Exception as error:  # noqa: BLE001 - one row that cannot be performed must not hide the others
        complaints = {"then": [f"{type(error).__name__}: {error}"], "instead": ["it could not be performed"]}
    return _verdict(row, complaints)


def _decided(row: Row) -> Differs | None:
    """What Turnkeeper does instead of what the row wants."""
    return DIFFERS.get(row.id) or OVERRULED.get(row.id)


def _verdict(row: Row, complaints: dict[str, list[str]]) -> Verdict:
    as_wanted, as_decided = complaints["then"], complaints["instead"]
    if (why := FAILING.get(row.id)) is not None:
        broken = () if as_wanted else ("it is listed as failing, and holds",)
        return Verdict(row, Result.BROKEN if broken else Result.FAILING, why, broken)
    if (decided := _decided(row)) is not None:
        broken = (*as_decided, *(() if as_wanted else ("it is listed as differing, and holds as it stands",)))
        as_listed = Result.OVERRULED if row.id in OVERRULED else Result.DIFFERS
        return Verdict(row, Result.BROKEN if broken else as_listed, decided.why, broken)
    return Verdict(row, Result.BROKEN if as_wanted else Result.PASSED, "", tuple(as_wanted))


async def _performed(row: Row, workers: Workers) -> dict[str, list[str]]:
    if not row.does(*RESTARTS):
        return await _played(row, workers)
    own = Workers(workers.client, f"{workers.queue}-{row.id}", workers.endpoints)
    async with own.up():
        return await _played(row, own)


async def _played(row: Row, workers: Workers) -> dict[str, list[str]]:
    world = _world(row, workers)
    try:
        await establish(row, world)
        await perform(row, world)
        decided = _decided(row)
        return await _judged(row, world, _merged(row.then, decided.instead) if decided else row.then)
    finally:
        world.close()


def _world(row: Row, workers: Workers) -> World:
    if row.does("clock.advance"):
        limits = VIRTUAL
    elif row.does("reaper.first_sweep"):
        limits = HURRIED
    else:
        limits = LIMITS
    wanted = (row.then.get("session") or {}).get("status")
    given = (row.given.get("session") or {}).get("status")
    # A start that is to be seen, or held, needs its calls outside the workflow task.
    slow = "starting" in {given, wanted} or "session_sequence" in row.then or "pending_turn_start" in row.given
    return World(row.id, workers, slow=slow, limits=limits)


async def _judged(row: Row, world: World, decided: dict[str, Any]) -> dict[str, list[str]]:
    """What the row wants must become so; what it says does not happen has had its time in `steady`."""
    instead = await _soon(lambda: look_and_judge(row, world, decided))
    then = instead if decided is row.then else await look_and_judge(row, world, row.then)
    return {"then": then, "instead": instead}


async def _soon(judge: Callable[[], Awaitable[list[str]]]) -> list[str]:
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    while (complaints := await judge()) and loop.time() < end:  # noqa: ASYNC110 - others change what it waits for
        await asyncio.sleep(POLL)
    return complaints


def _merged(then: dict[str, Any], instead: dict[str, Any]) -> dict[str, Any]:
    merged = dict(then)
    for word, value in instead.items():
        old = merged.get(word)
        merged[word] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
