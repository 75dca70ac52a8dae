"""Performing a row's `when`, each step with its consequences seen before the next begins."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from tests.conformance.commands import become, command, watch_start
from tests.conformance.events import IDLE, answered, asks, canonical, end_run, native, status_event
from tests.conformance.given import seen_running
from tests.conformance.opencode import BUSY, DIRECTORY, frame
from tests.conformance.rows import Row, Step, UnknownWordError
from tests.conformance.world import NAMESPACE, World
from tests.e2e.waiting import until, until_true
from turnkeeper.errors import RefusedError
from turnkeeper.observations import (
    PromptRequest,
    ProviderEvent,
    Refused,
    SessionOpened,
    SessionRequest,
    Unreachable,
)
from turnkeeper.vocabulary import EventKind, OnBusy, PermissionReply


def asks_the_adapter(row: Row) -> bool:
    """Is the row about what OpenCode's adapter reports to its caller, whatever a turn makes of it?"""
    refuses = "promptAsync" in row.given.get("provider", {})
    return row.does("adapter.startSession") or (row.does("adapter.sendTurn") and refuses)


async def perform(row: Row, world: World) -> None:
    """All steps, each with its consequences seen before the next begins."""
    for number, step in enumerate(row.when):
        match step.kind:
            case "event":
                await canonical(row, world, step)
            case "command":
                await command(row, world, step)
            case "opencode":
                await native(row, world, step)
            case _:
                await _other(row, world, step, number)
        if not row.does("clock.advance") and not world.background:
            await world.steady()


async def _other(row: Row, world: World, step: Step, number: int) -> None:  # noqa: C901, PLR0912, PLR0915 - one case a word
    said, opencode = step.said, world.opencode
    match step.word:
        case "server.start" if "servers" in row.given:
            async with world.workers.beside():
                await world.attach()
                await world.steady()
        case "janitor.sweep" if row.given["lease"]["ownerAlive"]:
            await world.attach()
        case "server.start" | "janitor.sweep":
            await _another_worker(row, world)
        case "status_checks":
            for _ in range(said["times"]):
                await world.attach()
        case "reconciler.write":
            await world.attach()
        case "clock.advance" if "server.connected" not in row.given.get("provider", {}):
            world.elapsed = timedelta(**{key: value for key, value in said.items() if key != "do"})
            await until(world.thread, lambda thread: thread is not None and thread.active is None, deadline=60)
        case "client.apply":
            await _applied(row, world, said)
        case "client.render":
            pass  # what a client shows is the snapshot
        case "project" if "turnId" in said:
            await world.interrupt(said["turnId"])
        case "project":
            await _request_alone(world)
        case "activity":
            await _activity(row, world, said)
        case "service.stopSession" | "adapter.stopSession":
            await world.stop()
        case "redeliver_same_event":
            await world.start_again(row.when[number - 1].said["messageId"])
            await until_true(lambda: opencode.run_of(world.session_id))
            await end_run(world, "completed")  # now a second one would begin
        case "repeat_last":
            for _ in range(said["times"]):
                world.later(world.interrupt(None))
        case "adapter.interruptTurn" if world.opencode.run_of(world.session_id):
            await world.interrupt(None)
        case "adapter.interruptTurn":
            await world.interrupt(None)  # a second one: nothing runs any more, and it says so
        case "adapter.sendTurn" if row.given["adapter_session"] is None:
            await world.asking(world.keeper.start_turn(world.thread_id, said["text"]))
        case "adapter.sendTurn" if asks_the_adapter(row):
            await _submit(world)
        case "adapter.sendTurn":
            await _next_turn(row, world)
        case "adapter.steer":
            expected = await world.turn_id(said.get("expectedTurnId"))
            await world.start("steer", on_busy=OnBusy("steer"), expected_turn_id=expected)
        case "adapter.startSession":
            await _start_session(row, world)
        case "service.startSession":
            await world.start("turn-1", endpoint="another-endpoint")
        case "service.sendTurn":
            await _send(row, world, said)
        case "reaper.first_sweep":
            opencode.fails |= dict.fromkeys(("session.get", "session.status"), ConnectionRefusedError("away"))
            await until(world.thread, lambda thread: thread is not None and thread.active is None)
        case "provider.stream_ends":
            await world.attach()  # the relay reads again at once, and says so
        case "provider.process_exits" if world.opencode.run_of(world.session_id) is None:
            info = {
                "id": "ses_old",
                "directory": DIRECTORY,
                "metadata": opencode.sessions[world.session_id]["metadata"],
            }
            await world.hear(frame("session.deleted", {"sessionID": "ses_old", "info": info}))
        case "provider.process_exits":
            opencode.crash()
            await world.attach()
        case "provider.finishes":
            opencode.on_prompt = opencode.finish_run
            await end_run(world, "completed")
            await until(world.thread, lambda thread: thread is not None and thread.active is None and not thread.queued)
        case "provider.result":
            await end_run(world, "completed")
        case "global_event":
            await _global_event(row, world, said)
        case "write":
            event = ProviderEvent(id="late", kind=EventKind.BUSY)
            opencode.statuses[world.session_id] = BUSY
            if not await world.signal(world.thread_id, event):
                world.errors.append(RefusedError("The turn is over: nothing can be said to it.", code="not_running"))
        case _:
            raise UnknownWordError(row.id, "step", step.word)


async def _another_worker(row: Row, world: World) -> None:
    """The worker ends, the provider goes on as the row says, another worker takes over and its relay attaches."""
    opencode = world.opencode
    await world.workers.stop()
    for hold in opencode.held.values():
        hold.set()
    opencode.held.clear()
    live = row.given.get("live")
    if live == [] or "lease" in row.given:
        opencode.crash()
    elif live and live[0]["status"] == "ready":
        opencode.finish_run(world.session_id)
    watched = "session_sequence" in row.then
    hold = asyncio.Event()
    if watched:
        opencode.held["promptAsync"] = hold
    await world.workers.start()
    await world.attach()
    if watched:
        await watch_start(world, hold)


async def _applied(row: Row, world: World, said: dict[str, Any]) -> None:
    """What a client's own copy does upstream is here what the one thread says."""
    opencode, session = world.opencode, world.session_id
    match said["event"]:
        case "thread.session-set":
            await become(world, said["session"])
        case "thread.session-stop-requested":
            await world.stop()
        case "thread.turn-interrupt-requested":
            await world.interrupt(said["turnId"])
        case "thread.message-sent" if opencode.run_of(session) is not None:
            # An answer is stored, and the session works on.
            opencode.finish_run(session, "so far", finish="tool-calls")
            opencode.statuses[session] = BUSY
            await world.attach()
        case "thread.message-sent":
            await world.start(said["turnId"])
            await until_true(lambda: opencode.run_of(world.session_id))
            await seen_running(world)
            await end_run(world, "completed")
        case "thread.activity-appended":
            for number in said["sequence"]:
                run = opencode.run_of(session)
                if run is not None and all(part["callID"] != str(number) for part in run["parts"]):
                    opencode.open_tool(session, str(number), str(number))
                part = {"type": "tool", "tool": str(number), "state": {"status": "running"}}
                await world.hear(frame("message.part.updated", {"sessionID": session, "part": part}))
            await world.attach()
        case event:
            raise UnknownWordError(row.id, "client.apply", event)


async def _activity(row: Row, world: World, said: dict[str, Any]) -> None:
    """What became of a request, and of an answer that came too late or to nothing."""
    request, opencode = said["requestId"], world.opencode
    match said["kind"]:
        case "approval.resolved":
            await answered(world, "permission", request, "once")
        case "user-input.requested":
            await asks(world, "question", request, "Which?")
        case "provider.approval.respond.failed":
            opencode.fails["permission.reply"] = ConnectionResetError(said["detail"])
            await world.answer(request, permission=PermissionReply.ONCE)
        case "provider.user-input.respond.failed":
            opencode.requests.pop(request)
            await world.answer(request, answers=[["yes"]])
        case kind:
            raise UnknownWordError(row.id, "activity", kind)


async def _request_alone(world: World) -> None:
    """A stop is asked for, and the provider has not answered the abort yet."""
    world.opencode.held["session.abort"] = asyncio.Event()
    world.later(world.interrupt(None))
    await until_true(lambda: any(call.verb == "session.abort" for call in world.calls))


async def _next_turn(row: Row, world: World) -> None:
    """Another prompt, while the provider is busy, over, or cannot be asked."""
    await world.start("turn-2")
    if row.given.get("provider", {}).get("session.status") == "unavailable":
        await world.attach()
        return
    await until_true(lambda: world.opencode.run_of(world.session_id))
    await seen_running(world)


async def _submit(world: World) -> None:
    """Straight to the adapter: what it reports to its caller."""
    request = PromptRequest(
        endpoint=world.endpoint,
        directory=DIRECTORY,
        session_id=world.session_id,
        message_id="msg_hi",
        prompt="hi",
        fresh_session=True,
    )
    report = await world.driver.submit(request)
    if isinstance(report, Refused):
        world.errors.append(RefusedError(report.failure.message, code=report.failure.code))
    world.reports.append(report)


async def _start_session(row: Row, world: World) -> None:
    """Straight to the adapter, with the session that the row's cursor names."""
    cursor = session_named(row.given.get("resumeCursor", {}).get("sessionId"))
    known = row.given.get("provider", {}).get("session.get") != "404"
    if cursor and known and cursor not in world.opencode.sessions:
        world.opencode.new_session({}, cursor)
    request = SessionRequest(
        endpoint=world.endpoint,
        thread_id=world.thread_id,
        namespace=NAMESPACE,
        directory=DIRECTORY,
        session_id=cursor,
        creation_key="c1",
    )
    report = await world.driver.open_session(request)
    if report.kind == "missing":
        # What a turn does next: only a confirmed absence begins a fresh session.
        report = await world.driver.open_session(request.model_copy(update={"session_id": None}))
    match report:
        case Refused(failure=failure) | Unreachable(failure=failure):
            world.errors.append(RefusedError(failure.message, code=failure.code))
        case SessionOpened(session_id=session_id):
            world.sessions.append(session_id)
    world.reports.append(report)
    if not world.sessions and not world.errors:
        raise AssertionError(f"the session was neither opened nor refused: {report}")


def session_named(cursor: str | None) -> str | None:
    """A row's name of a session, in OpenCode's form."""
    return cursor and cursor.replace("ses", "ses_", 1)


async def _send(row: Row, world: World, said: dict[str, Any]) -> None:
    match row.given.get("threads", {}).get(said.get("threadId", ""), ""):
        case "sendTurn hangs":
            world.opencode.held["promptAsync"] = asyncio.Event()
            await world.start("hangs", said["threadId"])
            await until_true(lambda: any(call.verb == "promptAsync" for call in world.calls))
            world.opencode.held.clear()  # of those that come later
        case "ready":
            world.opencode.on_prompt = world.opencode.finish_run
            started = await world.start("other", said["threadId"])
            if started is not None:
                await world.keeper.wait(started)
                world.statuses.append(f"completed {said['threadId']}")
        case _:
            await world.start("turn-1")
            await until_true(lambda: any(call.verb == "promptAsync" for call in world.calls))


async def _global_event(row: Row, world: World, said: dict[str, Any]) -> None:
    """Directories do not route here, sessions do: each belongs to one directory."""
    directory = {"repo-a": DIRECTORY, "repo-b": "/srv/other"}[said["directory"]]
    if said["payload"] is None:
        await world.hear(b'{"directory":"/srv/shop","payload":null}')
        return
    if directory == DIRECTORY:
        await status_event(row, world, said["payload"], world.session_id)
        return
    world.opencode.new_session({}, "ses_there", directory)
    await world.hear(frame("session.status", {"sessionID": "ses_there", "status": IDLE}, directory))
