"""Bringing a world to what a row is given: by driving the real workflows there, or by carrying a thread's state over.

A session that is `starting` is here a turn whose prompt has not reached the provider: reading the session hangs.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Final

import httpx

from tests.conformance.opencode import BUSY, DIRECTORY, OpenCode, frame
from tests.conformance.rows import Row, UnknownWordError
from tests.conformance.world import World
from tests.e2e.waiting import until, until_true
from tests.unit.opencode_on_paper import as_json, not_found
from turnkeeper.thread_messages import ThreadState
from turnkeeper.vocabulary import OnLost, SessionStatus

BROKEN: Final = as_json({"name": "UnknownError", "data": {"message": "it broke"}}, 500)
NOT_REALLY_FOUND: Final = as_json({"name": "NotFoundError", "data": {"message": "it broke"}}, 500)
REFUSING: Final = as_json({"name": "BadRequestError", "data": {"message": "it will not"}}, 400)
MISMATCH: Final = as_json({"name": "BadRequestError", "data": {"message": "provider mismatch"}}, 400)


def _broken(message: str) -> httpx.Response:
    return as_json({"name": "UnknownError", "data": {"message": message}}, 500)


AWAY: Final = httpx.ConnectError("no")

FAILURES: Final[dict[tuple[str, Any], tuple[str, httpx.Response | Exception]]] = {
    ("listSessions", "fail"): ("session.status", BROKEN),
    ("promptAsync", "fail"): ("promptAsync", REFUSING),
    ("session.get", "404"): ("session.get", not_found("Session")),
    ("session.get", "500"): ("session.get", BROKEN),
    ("session.get", "500 whose body says NotFoundError"): ("session.get", NOT_REALLY_FOUND),
    ("session.status", "unavailable"): ("session.status", BROKEN),
    ("startSession", "fail: provider mismatch"): ("session.get", MISMATCH),
    ("stopSession", "fail: process busy"): ("session.abort", _broken("process busy")),
    ("stopSession", "fail: busy"): ("session.abort", _broken("busy")),
    ("stopSession", "fail: provider process already exited"): ("session.abort", AWAY),
    ("interruptTurn", "fail: provider session disappeared"): ("session.abort", _broken("provider session disappeared")),
}
"""What a provider's behaviour is at OpenCode's surface."""

REQUEST_KINDS: Final = {"command": ("permission", "bash"), "user-input": ("question", "Which?")}

BACKGROUND: Final = {
    "opencode_version": "the adapter has one behaviour for all of 1.x",
    "turn_seen_busy": "a reading shows it",
    "queued_effects": "there is no second queue",
    "settings": "read with the session",
    "adapter": "its directory is the thread's",
    "thread": "said again by the session",
    "live": "what the provider says at the next look",
    "binding": "read with the session",
    "lease": "read by the step that sweeps",
    "servers": "read by the step that starts one",
    "reconciler": "read by the step that lets it write",
    "pending_turn_start": "read with the session",
    "latest_turn": "read with the session",
    "buffered_text": "read with the session",
    "running_tool": "read with the session",
    "pending_requests": "read with the session",
    "child_sessions": "read with the session",
    "resumeCursor": "read by the step that starts the session",
    "queued_turn": "read with the session",
    "prompt_admission": "every prompt is looked for",
    "threads": "read by the steps",
    "stopping": "read with the session",
}
"""Facts that need no building of their own, and why."""


async def establish(row: Row, world: World) -> None:
    """Bring `world` to what `row` is given."""
    session: dict[str, Any] | None = None
    for word, value in row.given.items():
        match word:
            case "session" | "adapter_session":
                session = value
            case "turns":
                session = {"status": "interrupted", "activeTurnId": None, "latest": next(iter(value))}
            case "provider":
                pass  # from the moment on in which the state is reached
            case _ if word not in BACKGROUND:
                raise UnknownWordError(row.id, "given", word)
    if session is not None:
        await _session(row, world, session)
    elif row.given.get("thread", {}).get("deleted"):
        await _settled(world, "turn-before", "finished")
        await world.asking(world.keeper.close(world.thread_id))
    elif (binding := row.given.get("binding")) is not None:
        await _binding(world, binding, row.given.get("live"))
    for word, value in row.given.get("provider", {}).items():
        await _behaviour(row, world, word, value)
    world.calls_before = len(world.opencode.calls)
    if "activities" in row.then and session is not None and session["status"] == "running":
        world.heard_before = (await world.turn()).events_seen


async def _session(row: Row, world: World, session: dict[str, Any]) -> None:
    status, active = session["status"], session.get("activeTurnId")
    latest = (row.given.get("latest_turn") or {}).get("turnId") or session.get("latest")
    match status:
        case "running":
            await _before(row, world, active)
            await _running(row, world, active or "turn-unnamed")
        case "starting":
            pending = row.given.get("pending_turn_start") or {}
            await _starting(world, pending.get("messageId") or "turn-1", sent=bool(pending.get("delivered")))
        case "ready" if pending := row.given.get("pending_turn_start"):
            await _starting(world, pending["messageId"], sent=False)
        case "ready" if active:
            await _running(row, world, active)  # nothing of ours is ready while a turn is active
        case "ready":
            await _settled(world, latest or "turn-before", "finished")
        case "error":
            await _settled(world, "turn-before", session["lastError"])
        case "interrupted":
            await _settled(world, latest or "turn-before", "interrupted")
        case "stopped" if active:
            await _settled(world, active, "lost")
        case "stopped":
            await _binding(world, {"status": "stopped", "resumeCursor": "c1"})
        case _:
            raise UnknownWordError(row.id, "session.status", status)


async def _before(row: Row, world: World, active: str | None) -> None:
    """An earlier turn that the row speaks of ran and ended in the same session."""
    earlier = {step.said.get("turnId") for step in row.when if step.kind == "event"} | set(
        row.given.get("buffered_text", ())
    )
    if active == "turn-2" and "turn-1" in earlier:
        await _settled(world, "turn-1", "finished", row.given.get("buffered_text", {}).get("turn-1", "done"))


async def _running(row: Row, world: World, turn: str) -> None:
    opencode = world.opencode
    opencode.on_prompt = lambda session: _work(row, opencode, session)
    goes_on = row.given.get("settings", {}).get("continueThreadsAfterServerUpdate", False)
    await world.start(turn, on_lost=OnLost.CONTINUE if goes_on else OnLost.SETTLE)
    if world.limits.deadline > timedelta(hours=8):
        return  # on a skipped clock it is gone by the next look
    await until_true(lambda: opencode.run_of(world.session_id))
    opencode.on_prompt = None
    await seen_running(world)
    if row.given.get("child_sessions"):
        opencode.new_session({"parentID": world.session_id}, "ses_child")
    if queued := row.given.get("pending_turn_start"):
        await world.start(queued["messageId"])
    if row.given.get("stopping"):
        opencode.confirms_aborts = False
        world.later(world.interrupt(turn))
        await until(world.turn, lambda now: now.stop_requested_at is not None)
    if cancelled := row.given.get("queued_turn"):
        await world.start(cancelled["messageId"])
        waiting = await world.record(cancelled["messageId"])
        await world.asking(world.keeper.remove_queued(world.thread_id, waiting.turn_id if waiting else ""))
    if row.given.get("latest_turn", {}).get("turnId") == turn:
        opencode.finish_run(world.session_id)  # over in truth, and its events were lost


def _work(row: Row, opencode: OpenCode, session_id: str) -> None:
    """What the run is in the middle of."""
    if row.given.get("running_tool"):
        opencode.open_tool(session_id, "bash")
    for request in row.given.get("pending_requests", ()):
        kind, what = REQUEST_KINDS[request["kind"]]
        opencode.ask(session_id, kind, request["requestId"], what)


async def seen_running(world: World) -> None:
    """A look has found the prompt at work."""
    await world.attach()
    await until(world.turn, lambda turn: turn.delivery == "accepted")
    await world.steady()


async def _starting(world: World, key: str, *, sent: bool) -> None:
    await _settled(world, "turn-before", "finished")
    if sent:
        world.opencode.runs_prompts = False
        await world.start(key)
        await until(world.turn, lambda turn: turn.doing.endswith("to begin"))
        return
    before = len(world.opencode.calls)
    world.opencode.held["session.get"] = asyncio.Event()
    await world.start(key)
    await until_true(lambda: any(call.verb == "session.get" for call in world.opencode.calls[before:]))


async def _settled(world: World, key: str, how: str, text: str = "done") -> None:
    """A thread whose latest turn is over."""
    await world.start(key)
    await until_true(lambda: world.opencode.run_of(world.session_id))
    await seen_running(world)
    opencode, session = world.opencode, world.session_id
    match how:
        case "finished":
            opencode.finish_run(session, text)
        case "interrupted":
            opencode.abort_run(session)
        case "lost":
            opencode.crash()
        case message:
            opencode.fail_run(session, message)
    await world.hear(frame("session.status", {"sessionID": session, "status": {"type": "idle"}}))
    await until(world.thread, lambda thread: thread is not None and thread.active is None)


async def _binding(world: World, binding: dict[str, Any], live: list[Any] | None = None) -> None:
    """A thread with a provider session and nothing that runs there; or a run that nobody followed to its end."""
    cursor = binding.get("resumeCursor")
    if binding["status"] == "running":
        await world.start(binding.get("activeTurnId") or "turn-1")
        await until_true(lambda: world.opencode.run_of(world.session_id))
        await seen_running(world)
        if live == []:
            world.opencode.crash()
        return
    session_id = "ses_carried" if cursor else None
    if session_id and binding.get("turnCount") != 0:
        world.opencode.new_session({}, session_id, DIRECTORY)
    await world.carry(ThreadState(status=SessionStatus.STOPPED, session_id=session_id))


async def _behaviour(row: Row, world: World, word: str, value: object) -> None:  # noqa: C901, PLR0912 - one case each
    opencode = world.opencode
    match (word, value):
        case ("session.directory", "other worktree"):
            opencode.new_session({}, "ses_1", "/srv/other")
        case ("session.directory", "same directory, trailing slash"):
            opencode.new_session({}, "ses_1", DIRECTORY + "/")
        case ("session.status", "idle") if row.given["adapter_session"]["status"] == "running":
            opencode.finish_run(world.session_id)  # over, and its events were lost
        case ("session.status", "idle"):
            pass
        case ("session.status", "busy"):
            opencode.statuses[world.session_id] = BUSY
        case ("session.status", "empty map"):
            opencode.statuses.clear()
            opencode.messages[world.session_id] = opencode.messages[world.session_id][:1]
        case ("session.message", "user message found"):
            pass  # the prompt of a turn that was given as running is stored
        case ("startSession", "slow"):
            pass  # as everything that starts: reading the session hangs
        case ("interruptTurn", "session becomes ready, then fail"):
            opencode.finish_run(world.session_id)
            opencode.fails["session.abort"] = BROKEN
        case ("stopSession", "fail_typed: session_not_found" | "fail_typed: session_closed"):
            opencode.sessions.pop(world.session_id)
            opencode.crash()
            opencode.fails["session.abort"] = not_found("Session")
        case ("sendTurn", "fail"):
            opencode.fails["promptAsync"] = REFUSING
        case ("respondToRequest", "fail: Unknown pending permission request: r1"):
            opencode.requests.pop("r1")  # it is answered with a 404
        case ("close", "throws") | ("server.connected", "never"):
            raise UnknownWordError(row.id, f"provider.{word}", value)
        case _ if (word, value) in FAILURES:
            verb, failure = FAILURES[word, value]
            opencode.fails.setdefault(verb, failure)  # an interrupt and a stop are the same call: the first fails so
        case _:
            raise UnknownWordError(row.id, f"provider.{word}", value)
