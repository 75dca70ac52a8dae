"""The events of a row: the canonical ones of its own world, and OpenCode's.

Events only wake here, and readings decide. So "`turn.completed` arrives" means: the provider's state is such that the
turn is completed, and its event arrives. An event about a turn that is not the running one is an event without such
a state: of a child session, or a late one of the turn's own session.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from tests.conformance.given import seen_running
from tests.conformance.opencode import BUSY, DIRECTORY, frame
from tests.conformance.rows import Row, Step, UnknownWordError
from tests.conformance.world import NAMESPACE, World
from tests.e2e.waiting import until, until_true

IDLE: Final = {"type": "idle"}
PERMISSIONS: Final = {
    "exec_command_approval": "bash",
    "command_execution_approval": "bash",
    "file_read_approval": "read",
    "file_change_approval": "edit",
}
ABORTED: Final = {"name": "MessageAbortedError", "data": {"message": "aborted"}}


async def canonical(row: Row, world: World, step: Step) -> None:  # noqa: C901, PLR0912 - one case a word
    said, opencode = step.said, world.opencode
    payload, session = said.get("payload", {}), world.session_id
    match step.word:
        case "turn.started":
            await _turn_started(row, world, said["turnId"])
        case "turn.completed" if await _is_ours(row, world, said):
            await end_run(world, payload["state"], payload.get("errorMessage"))
        case "turn.aborted" if await _is_ours(row, world, said):
            await end_run(world, "interrupted")
        case "turn.completed" | "turn.aborted":
            await _foreign_end(world, said, aborted=step.word == "turn.aborted")
        case "session.state.changed":
            await _state_changed(world, payload["state"], payload.get("reason"))
        case "session.started" | "thread.started":
            await world.hear(session_event(world, session))
        case "session.exited":
            await _exited(world)
        case "runtime.error":
            error = {"name": "UnknownError", "data": {"message": payload["message"]}}
            await world.hear(frame("session.error", {"sessionID": session, "error": error}))
        case "runtime.warning":
            await retries(world, payload["message"])
        case "request.opened" if payload["requestType"] == "tool_user_input":
            await asks(world, "question", said["requestId"], "Which?")
        case "request.opened":
            await asks(world, "permission", said["requestId"], PERMISSIONS[payload["requestType"]])
        case "request.resolved":
            await answered(world, "permission", said["requestId"], "once")
        case "user-input.requested":
            await asks(world, "question", said["requestId"], payload["questions"][0])
        case "user-input.resolved":
            await answered(world, "question", said["requestId"], "")
        case "thread.token-usage.updated":
            run = opencode.run_of(session)
            info = (run or {})["info"] | {"tokens": {"input": payload["usedTokens"]}}
            await world.hear(frame("message.updated", {"sessionID": session, "info": info}))
        case "content.delta":
            delta = {"sessionID": session, "partID": said["itemId"], "delta": payload["delta"]}
            await world.hear(frame("message.part.delta", delta))
        case _:
            raise UnknownWordError(row.id, "event", step.word)


async def _is_ours(row: Row, world: World, said: dict[str, Any]) -> bool:
    """Is this the running turn's own event? One without a turn's name is a late one of the session."""
    turn = said.get("turnId")
    if turn is None:
        return False
    thread = await world.thread()
    if thread is None or thread.active is None:
        return False
    # A row that is given a start and no prompt means the turn by its event.
    pending = row.given.get("pending_turn_start") is not None
    return thread.active.idempotency_key == world.key_of(turn) and not pending


async def end_run(world: World, state: str, message: str | None = None) -> None:
    """The provider's run is over, and its events arrive."""
    opencode = world.opencode
    await release(world)
    session = world.session_id
    frames = [frame("session.status", {"sessionID": session, "status": IDLE})]
    match state:
        case "completed":
            opencode.finish_run(session)
        case "failed":
            opencode.fail_run(session, message or "")
            error = {"name": "APIError", "data": {"message": message or ""}}
            frames.insert(0, frame("session.error", {"sessionID": session, "error": error}))
        case "interrupted" | "cancelled":
            opencode.abort_run(session)
            frames.insert(0, frame("session.error", {"sessionID": session, "error": ABORTED}))
        case _:
            raise UnknownWordError(world.name, "turn state", state)
    await world.hear(*frames)


async def release(world: World) -> None:
    """Whatever the provider was slow to answer is answered; a prompt that was on its way is at work."""
    if not world.opencode.held:
        return
    for hold in world.opencode.held.values():
        hold.set()
    world.opencode.held.clear()
    if world.background:
        return  # a stop was asked meanwhile: nothing may begin
    await until_true(lambda: world.opencode.run_of(world.session_id))
    await seen_running(world)


async def _foreign_end(world: World, said: dict[str, Any], *, aborted: bool) -> None:
    """The end of another run: of an agent of OpenCode's own in a child session, and late ones of this session."""
    opencode, session = world.opencode, world.session_id
    child = opencode.new_session({"parentID": session}, "ses_other")["id"]
    for source in (session, child) if said.get("turnId") else (session,):
        if aborted:
            await world.hear(frame("session.error", {"sessionID": source, "error": ABORTED}))
        await world.hear(frame("session.status", {"sessionID": source, "status": IDLE}))


async def _turn_started(row: Row, world: World, turn: str) -> None:
    thread = await world.thread()
    active = thread.active if thread is not None else None
    if row.given.get("threads") == []:
        await _stranger(world)
    elif active is None:
        await world.start(turn)  # a prompt was given and the provider begins it
        await until_true(lambda: world.opencode.run_of(world.session_id))
        await seen_running(world)
    elif world.opencode.held:
        world.aliases[turn] = active.idempotency_key
        await release(world)
    elif thread is not None and thread.queued:
        # The provider is done with the turn before and takes the next one.
        world.aliases[turn] = thread.queued[0].idempotency_key
        await end_run(world, "completed")
        await until(world.thread, lambda now: now and now.active and now.active.turn_id != active.turn_id)
        await until_true(lambda: world.opencode.run_of(world.session_id))
        await seen_running(world)
    else:
        if row.given.get("live"):
            # Somebody else's prompt stands in the provider's list, behind ours.
            other = {"id": "msg_other", "sessionID": world.session_id, "role": "user", "time": {"created": 9}}
            part = {"type": "text", "text": "theirs", "id": "prt_other"}
            world.opencode.messages[world.session_id].append({"info": other, "parts": [part]})
        await world.hear(frame("session.status", {"sessionID": world.session_id, "status": BUSY}))
        await world.attach()


async def _stranger(world: World) -> None:
    """A session whose thread does not exist, or exists no more."""
    info = {"id": "ses_stranger", "directory": DIRECTORY}
    marked = info | {"metadata": {"turnkeeper": {"thread": "nobody", "namespace": NAMESPACE}}}
    status = {"sessionID": "ses_stranger", "status": BUSY}
    await world.hear(
        frame("session.created", {"sessionID": "ses_stranger", "info": marked}), frame("session.status", status)
    )


def session_event(world: World, session: str) -> bytes:
    return frame("session.updated", {"sessionID": session, "info": world.opencode.sessions[session]})


async def _state_changed(world: World, state: str, reason: str | None) -> None:
    session = world.session_id
    thread = await world.thread()
    working = thread is not None and thread.active is not None and not world.opencode.held
    match state:
        case "ready" if working:
            await end_run(world, "completed")
        case "error" if working:
            await end_run(world, "failed", reason or "it broke")
        case "stopped" if working:
            world.opencode.crash()
            await world.attach()
        case "running":
            await world.hear(frame("session.status", {"sessionID": session, "status": BUSY}))
            await world.attach()
        case "ready":
            await world.hear(frame("session.status", {"sessionID": session, "status": IDLE}))
        case _:
            raise UnknownWordError(world.name, "session.state.changed", state)


async def _exited(world: World) -> None:
    """What ran in the session is gone. A prompt that was on its way meets a session that does not exist any more."""
    opencode, session = world.opencode, world.session_id
    if opencode.held:
        opencode.held["promptAsync"] = asyncio.Event()
        opencode.held.pop("session.get").set()
        await until_true(lambda: any(call.verb == "promptAsync" for call in world.calls))
        info = opencode.sessions.pop(session)
        opencode.held.pop("promptAsync").set()
        await world.hear(frame("session.deleted", {"sessionID": session, "info": info}))
    elif session in opencode.sessions:
        opencode.crash()
        await world.attach()


async def retries(world: World, message: str) -> None:
    retry = {"type": "retry", "attempt": 1, "message": message, "next": 4_000_000_000_000}
    world.opencode.statuses[world.session_id] = retry
    await world.hear(frame("session.status", {"sessionID": world.session_id, "status": retry}))


async def asks(world: World, kind: str, request_id: str, what: str, *, child: bool = False) -> None:
    """The run asks a person, and its event arrives."""
    opencode, session = world.opencode, world.session_id
    source = "ses_child" if child else session
    if child:
        opencode.open_tool(session, "task", "call-task")
        opencode.statuses[source] = BUSY
        opencode.requests[request_id] = (kind, {"id": request_id, "sessionID": source, "permission": what})
    else:
        opencode.ask(session, kind, request_id, what)
    _, entry = opencode.requests[request_id]
    await world.hear(frame(f"{kind}.asked", {**entry, "sessionID": source}))
    turn = await until(world.turn, lambda turn: turn.open_requests)
    world.asked |= {request.request_id: turn for request in turn.open_requests}


async def answered(world: World, kind: str, request_id: str, reply: str) -> None:
    """Somebody answered in OpenCode itself, and the event arrives."""
    opencode, session = world.opencode, world.session_id
    opencode.requests.pop(request_id, None)
    opencode.close_tools(session)
    said = {"sessionID": session, "requestID": request_id, "reply": reply}
    await world.hear(frame(f"{kind}.replied", said))


# --- OpenCode's own events -----------------------------------------------------------------------------------------


async def native(row: Row, world: World, step: Step) -> None:
    said, opencode, session = step.said, world.opencode, world.session_id
    source = {"ses-child": "ses_child", "other": "ses_foreign"}.get(said.get("sessionID", ""), session)
    match step.word:
        case "session.status":
            await status_event(row, world, said, source)
        case "session.error" if said["error"] == "MessageAbortedError":
            opencode.abort_run(session)
            await world.hear(frame("session.error", {"sessionID": session, "error": ABORTED}))
            await world.hear(frame("session.status", {"sessionID": session, "status": IDLE}))
        case "session.error":
            await end_run(world, "failed", said["message"])
        case "permission.asked":
            await asks(world, "permission", said["id"], said["permission"], child=source == "ses_child")
        case "permission.replied":
            await asks(world, "permission", said["id"], "bash")
            await answered(world, "permission", said["id"], said["reply"])
        case "session.updated":
            opencode.sessions[session]["title"] = said["title"]
            await world.hear(session_event(world, session))
        case "message.part.updated":
            await _part(world, source, said)
        case _:
            raise UnknownWordError(row.id, "opencode", step.word)


async def status_event(row: Row, world: World, said: dict[str, Any], source: str) -> None:
    opencode, status = world.opencode, said["status"]
    match status:
        case "retry":
            await retries(world, said["message"])
        case "busy" if "prompt_admission" in row.given:
            opencode.begin_run(source)
            await world.hear(frame("session.status", {"sessionID": source, "status": BUSY}))
        case "idle" if source == world.session_id and not said.get("note"):
            opencode.finish_run(source)
            await world.hear(frame("session.status", {"sessionID": source, "status": IDLE}))
        case "idle" | "busy":
            await world.hear(frame("session.status", {"sessionID": source, "status": {"type": status}}))
        case _:
            raise UnknownWordError(row.id, "session.status", status)


async def _part(world: World, source: str, said: dict[str, Any]) -> None:
    opencode = world.opencode
    part = {"type": "tool", "tool": said["tool"], "sessionID": source, "state": {"status": said["state"]}}
    if source == world.session_id and said["state"] == "running":
        opencode.open_tool(source, said["tool"])
    elif source == world.session_id:
        opencode.close_tools(source)
    await world.hear(frame("message.part.updated", {"sessionID": source, "part": part}))
    await world.attach()
    await world.steady()
    turn = await world.turn()
    world.asked[f"{said['tool']}.{said['state']}"] = turn
