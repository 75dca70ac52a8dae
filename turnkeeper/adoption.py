"""When a thread may take over a session that somebody else began, and what it is then. Pure.

What runs becomes a turn that sends nothing and is judged by the same readings as ever. When nothing runs, the thread
is ready, and no turn is invented for an answer that was given to somebody else.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from turnkeeper import threads
from turnkeeper.errors import RefusedError
from turnkeeper.findings import Adoption, AdoptRequest, AdoptResult, SessionFound
from turnkeeper.limits import MAX_REMEMBERED_KEYS
from turnkeeper.thread_messages import QueuedTurn, StartTurn, ThreadState
from turnkeeper.vocabulary import SessionStatus

WORDLESS: Final = "(a prompt without words)"
"""Shown of a live prompt that holds only files."""


def refusal(state: ThreadState, session_id: str) -> RefusedError | None:
    """Why a thread in `state` cannot take the session over, or None. Having it already is no reason."""
    if state.closed:
        return RefusedError("The thread is closed.", code="thread_closed", next_step="Use another thread.")
    opened = any(queued.new_session_id or queued.creation_key for queued in state.queue)
    unused = state.session_id is None and state.active is None and not state.recent and not opened
    if unused or state.session_id == session_id:
        return None
    return RefusedError(
        "The thread has had prompts or a session of its own.",
        code="thread_in_use",
        next_step="Adopt the session into a new thread: `--thread` with another name.",
    )


def session_refusal(found: SessionFound, request: AdoptRequest) -> RefusedError | None:
    """Why nobody may take this session over for that thread, or None."""
    if found.parent_id is not None:
        return RefusedError(
            f"Session {found.session_id} is the child of another one.",
            code="child_session",
            next_step=f"Adopt its parent: {found.parent_id}.",
        )
    if found.thread_id is not None and (found.thread_id, found.namespace) != (request.thread_id, request.namespace):
        where = "" if found.namespace == request.namespace else f" in namespace {found.namespace}"
        return RefusedError(
            f"Session {found.session_id} belongs to thread {found.thread_id}{where} already.",
            code="already_adopted",
            next_step=f"See `turnkeeper show {found.thread_id}`.",
        )
    if request.directory is not None and request.directory.rstrip("/") != found.directory.rstrip("/"):
        return RefusedError(
            f"Session {found.session_id} works in {found.directory}, not in {request.directory}.",
            code="foreign_directory",
            next_step="Leave the directory out.",
        )
    return None


def adopted(state: ThreadState, adoption: Adoption, now: datetime) -> ThreadState:
    """The thread with the session, and with a turn for what runs in it.

    Raises:
        RefusedError: meanwhile the thread got a prompt or another session (see `refusal`).

    """
    if (error := refusal(state, adoption.session_id)) is not None:
        raise error
    if state.session_id == adoption.session_id:
        return state
    taken = state.model_copy(
        update={
            "status": SessionStatus.READY,
            "session_id": adoption.session_id,
            "directory": adoption.directory,
            "task_queue": adoption.task_queue,
            "max_running_turns": adoption.max_running_turns,
        }
    )
    return threads.check(taken if adoption.live is None else _following(taken, adoption, now))


def _following(state: ThreadState, adoption: Adoption, now: datetime) -> ThreadState:
    if adoption.live is None:
        return state
    turn_id, key = f"t{state.turns_accepted + 1}", _key(adoption.session_id)
    prompt = adoption.live.prompt if adoption.live.prompt.strip() else WORDLESS
    turn = QueuedTurn(
        turn_id=turn_id,
        start=StartTurn(prompt=prompt, idempotency_key=key),
        limits=adoption.limits,
        accepted_at=now,
        adopted_message_id=adoption.live.message_id,
    )
    return state.model_copy(
        update={
            "turns_accepted": state.turns_accepted + 1,
            "queue": (turn, *state.queue),
            "idempotency": (*state.idempotency, (key, turn_id))[-MAX_REMEMBERED_KEYS:],
        }
    )


def following(state: ThreadState, session_id: str) -> str | None:
    """The turn that follows, or followed, the run that was live when the session was taken over."""
    return next((turn_id for key, turn_id, *_ in reversed(state.idempotency) if key == _key(session_id)), None)


def result(state: ThreadState, thread_id: str, session_id: str, *, repeated: bool) -> AdoptResult:
    """The answer to an adoption, from what the thread knows by now."""
    turn_id = following(state, session_id)
    turn = threads.describe(state, turn_id) if turn_id is not None else None
    return AdoptResult(
        thread_id=thread_id,
        session_id=session_id,
        directory=state.directory or "",
        status=state.status,
        turn_id=turn_id,
        run_id=turn.run_id if turn is not None else None,
        repeated=repeated,
    )


def _key(session_id: str) -> str:
    return f"adopt:{session_id}"
