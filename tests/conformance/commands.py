"""The commands of a row, as another program gives them, and sessions that are to take a status."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from tests.conformance.events import IDLE, end_run, release
from tests.conformance.given import REFUSING, seen_running
from tests.conformance.opencode import frame
from tests.conformance.rows import Row, Step, UnknownWordError
from tests.conformance.world import World
from tests.e2e.waiting import until_true
from turnkeeper.vocabulary import OnBusy, PermissionReply

DECISIONS: Final = {
    "accept": PermissionReply.ONCE,
    "acceptForSession": PermissionReply.ALWAYS,
    "decline": PermissionReply.REJECT,
}


async def command(row: Row, world: World, step: Step) -> None:
    said = step.said
    match step.word:
        case "thread.turn.start" if "driver" in said or "instance" in said:
            await world.start(said["messageId"], endpoint="another-endpoint")
        case "thread.turn.start" if row.then.get("session_sequence"):
            await _slow_start(world, said["messageId"])
        case "thread.turn.start" if row.then.get("session", {}).get("status") == "starting":
            world.opencode.held["session.get"] = asyncio.Event()
            await world.start(said["messageId"])
        case "thread.turn.start" if row.area == "reactor.steer":
            await world.start(said["messageId"], on_busy=OnBusy("steer"))
        case "thread.turn.start":
            world.aliases.setdefault("turn-1", said["messageId"]) if await world.record("turn-1") is None else None
            await world.start(said["messageId"])
        case "thread.turn.interrupt":
            await _interrupt(row, world, said.get("turnId"))
        case "thread.session.stop":
            await world.stop(only_if_idle=said.get("onlyIfSettled", False))
        case "thread.create":
            await world.start("turn-new")
        case "thread.approval.respond":
            await world.answer(said["requestId"], permission=DECISIONS[said["decision"]])
        case "thread.user-input.respond":
            await world.answer(said["requestId"], answers=[[answer] for answer in said["answers"].values()])
        case "thread.session.set":
            await become(world, said["session"])
        case _:
            raise UnknownWordError(row.id, "command", step.word)


async def _slow_start(world: World, key: str) -> None:
    hold = world.opencode.held["promptAsync"] = asyncio.Event()
    await world.start(key)
    await watch_start(world, hold)


async def watch_start(world: World, hold: asyncio.Event) -> None:
    """Watch the session while a prompt is on its way, then let it arrive."""
    await until_true(lambda: any(call.verb == "promptAsync" for call in world.calls))
    world.statuses.append("starting" if (await world.turn()).delivery != "accepted" else "running")
    world.opencode.held.clear()
    hold.set()
    await until_true(lambda: world.session_id in world.opencode.statuses)
    await seen_running(world)


async def _interrupt(row: Row, world: World, turn: str | None) -> None:
    """A provider confirms a stop only when the row says so, or says nothing that contradicts it."""
    if row.then.get("session", {}).get("status") == "running":
        world.opencode.confirms_aborts = False
    if len(row.when) == 1 and world.opencode.confirms_aborts:
        await world.interrupt(turn)
        return
    world.later(world.interrupt(turn))
    thread = await world.thread()
    if thread is not None and thread.active is not None and not world.opencode.held:
        await until_true(lambda: any(call.verb == "session.abort" for call in world.calls))


async def become(world: World, session: dict[str, Any]) -> None:
    """The provider's state is such that the session takes this status."""
    thread = await world.thread()
    if thread is None or thread.active is None:
        if session["status"] == "running":
            await world.start(session["activeTurnId"])
            await until_true(lambda: world.opencode.run_of(world.session_id))
            await seen_running(world)
            return
        await world.hear(frame("session.status", {"sessionID": world.session_id, "status": IDLE}))
        return
    waiting = bool(world.opencode.held)
    match session["status"]:
        case "error" if waiting:
            # What was on its way is refused.
            await _refuse_prompt(world)
        case "interrupted" if waiting:
            world.later(world.interrupt(None))
        case "error":
            await end_run(world, "failed", session["lastError"])
        case "ready" | "idle":
            await end_run(world, "completed")
        case "stopped":
            world.opencode.crash()
            await world.attach()
        case "starting":
            await world.attach()
        case "running" if waiting:
            world.aliases[session["activeTurnId"]] = thread.active.idempotency_key
            await release(world)
        case "running":
            await world.start("next")
            world.aliases[session["activeTurnId"]] = "next"
            await end_run(world, "completed")
            await until_true(lambda: world.opencode.run_of(world.session_id))
            await seen_running(world)
        case status:
            raise UnknownWordError(world.name, "thread.session.set", status)


async def _refuse_prompt(world: World) -> None:
    world.opencode.fails["promptAsync"] = REFUSING
    world.opencode.held.pop("session.get").set()
