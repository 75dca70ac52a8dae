"""The rules of a thread: which turn runs, what waits, what a person sees. Pure, like `lifecycle`.

A thread is one frozen `ThreadState`. Every function here takes one and gives the next, and each result keeps the
invariants (`check`): an active turn if and only if the session is starting or running, at most one of them, and
nothing in the queue while the thread could run it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from turnkeeper import own_place, queueing
from turnkeeper.errors import RefusedError, bounded
from turnkeeper.keys import key_reused, prompt_digest
from turnkeeper.limits import (
    MAX_QUEUED_CHARACTERS,
    MAX_QUEUED_TURNS,
    MAX_RECENT_TURNS,
    MAX_REMEMBERED_KEYS,
    MAX_WAITING_BYTES,
)
from turnkeeper.messages import Evidence, Outcome, TurnRecord
from turnkeeper.observations import Admission
from turnkeeper.outcomes import session_after
from turnkeeper.queueing import record
from turnkeeper.refusals import start_too_big
from turnkeeper.sizes import encoded
from turnkeeper.thread_messages import QueuedTurn, Refusal, StartTurn, StartTurnResult, ThreadSnapshot, ThreadState
from turnkeeper.turn import IllegalTransitionError
from turnkeeper.vocabulary import EvidenceKind, OnBusy, SessionStatus, TurnState

_BUSY: Final = frozenset({SessionStatus.STARTING, SessionStatus.RUNNING})


@dataclass(frozen=True, slots=True)
class Accepted:
    """A start that the thread took; `repeated`: it was taken before, under the same idempotency key."""

    state: ThreadState
    turn_id: str
    repeated: bool


def refusal(state: ThreadState, start: StartTurn) -> RefusedError | None:
    """Why `start` cannot be taken now, or None. A repeated start is never refused: it gives the earlier turn."""
    if (earlier := _known(state, start.idempotency_key)) is not None:
        turn_id, digest = earlier
        return key_reused(turn_id, digest, prompt_digest(start.prompt))
    if state.counts_bytes and (error := start_too_big(start)) is not None:
        return error
    if state.closed:
        return RefusedError("The thread is closed.", code="thread_closed", next_step="Use another thread.")
    if (error := queueing.steer_refusal(state, start)) is not None:
        return error
    busy = state.active is not None or bool(state.queue)
    if busy and start.on_busy is OnBusy.REJECT:
        return RefusedError(
            "The thread is busy with another turn." if state.active else "Other prompts wait in this thread.",
            code="thread_busy",
            next_step="Wait for it, or queue the prompt.",
        )
    if len(state.queue) + len(state.steering) >= MAX_QUEUED_TURNS:
        return RefusedError(f"{MAX_QUEUED_TURNS} prompts wait in this thread already.", code="queue_full")
    waiting = sum(len(queued.start.prompt) for queued in (*state.steering, *state.queue)) + len(start.prompt)
    if busy and waiting > MAX_QUEUED_CHARACTERS:
        message = f"The waiting prompts would have {waiting} characters together; {MAX_QUEUED_CHARACTERS} are allowed."
        return RefusedError(message, code="queue_full", next_step="Wait for the running turn.")
    return _too_many_bytes(state, start) if busy and state.counts_bytes else None


def _too_many_bytes(state: ThreadState, start: StartTurn) -> RefusedError | None:
    size = sum(map(queueing.weight, (*state.steering, *state.queue))) + encoded(start) + queueing.WEIGHT_OF_A_PLACE
    if size <= MAX_WAITING_BYTES:
        return None
    message = f"The waiting prompts would have {size} bytes together, rules included; {MAX_WAITING_BYTES} are allowed."
    return RefusedError(message, code="queue_full", next_step="Wait for the running turn.")


def knows(state: ThreadState, start: StartTurn) -> bool:
    """Was this start taken before?"""
    return _known(state, start.idempotency_key) is not None


def accept(state: ThreadState, start: StartTurn, admission: Admission | None, now: datetime) -> Accepted:
    """Take `start` into the queue as it was admitted, once per idempotency key. `admission`: None for a known key.

    Raises:
        RefusedError: the thread cannot take it (see `refusal`).

    """
    if (error := refusal(state, start)) is not None:
        raise error
    if (earlier := _known(state, start.idempotency_key)) is not None:
        return Accepted(state, earlier[0], repeated=True)
    if admission is None:
        raise IllegalTransitionError("a start that nobody admitted")
    turn_id = f"t{state.turns_accepted + 1}"
    queued = QueuedTurn(
        turn_id=turn_id,
        start=start,
        limits=admission.limits,
        accepted_at=now,
        new_session_id=admission.session_id,
        creation_key=admission.creation_key,
    )
    accepted = state.model_copy(
        update={
            "directory": admission.directory,
            "task_queue": admission.task_queue,
            "max_running_turns": admission.max_running_turns,
            "turns_accepted": state.turns_accepted + 1,
            "idempotency": (*state.idempotency, _remembered(start, turn_id))[-MAX_REMEMBERED_KEYS:],
        }
    )
    return Accepted(check(queueing.enqueued(accepted, queued)), turn_id, repeated=False)


def begin_next(state: ThreadState, now: datetime) -> tuple[ThreadState, QueuedTurn] | None:
    """The thread with its next turn taken from the queue, or None when it is busy, held, or nothing waits."""
    if not queueing.may_begin(state):
        return None
    queued, *rest = state.queue
    active = record(queued).model_copy(update={"state": TurnState.RUNNING, "started_at": now})
    given = queued.start.permissions
    changes = {
        "status": SessionStatus.STARTING,
        "active": active,
        "queue": tuple(rest),
        "permissions": state.permissions if given is None else given,
        "last_error": None,
    }
    begun = state.model_copy(update=changes)
    return check(begun), queued


def started(state: ThreadState, run_id: str) -> ThreadState:
    """The active turn's workflow is known to run."""
    if state.active is None:
        raise IllegalTransitionError("a turn started that the thread did not begin")
    active = state.active.model_copy(update={"run_id": run_id})
    return check(state.model_copy(update={"status": SessionStatus.RUNNING, "active": active}))


def session_stopped(state: ThreadState) -> ThreadState:
    """A person stops the session of an idle thread; what it is in the provider is kept for the next prompt."""
    return check(state.model_copy(update={"status": SessionStatus.STOPPED, "last_error": None}))


def settled(
    state: ThreadState,
    outcome: Outcome,
    session_id: str | None,
    *,
    context_lost: bool = False,
    hold: bool = True,
    steered: Collection[str] | None = None,
) -> ThreadState:
    """The active turn is over: turn and session move in one step.

    `hold`: see `queueing.after_turn`. `steered`: the prompts that the turn answered; None: those sent into it, because
    it could not say.
    """
    if state.active is None:
        raise IllegalTransitionError("a turn settled that the thread did not begin")
    left = session_after(outcome)
    status = SessionStatus.STOPPED if state.stop_session and outcome.confirmed is not False else left
    error = outcome.failure.message if outcome.failure is not None else None
    over = state.active.model_copy(
        update={
            "state": outcome.state,
            "reason": outcome.reason,
            "confirmed": outcome.confirmed,
            "why": outcome.why,
            "completed_at": outcome.completed_at,
            "error": bounded(error) if error else None,
            "next_step": bounded(outcome.failure.next_step) or None if outcome.failure is not None else None,
            "context_lost": context_lost,
        }
    )
    inside = {queued.turn_id for queued in state.steering if queued.steered} if steered is None else steered
    if outcome.message_id is not None:
        state = queueing.withdrawn(state)  # an answer: the prompt was sent, and before it what it had to withdraw went
    state = queueing.steers_settled(state, over, inside)
    failed = left in {SessionStatus.ERROR, SessionStatus.STOPPED}
    return check(
        queueing.after_turn(state, outcome, hold=hold).model_copy(
            update={
                "status": status,
                "session_id": session_id,
                "active": None,
                "recent": (*state.recent, over)[-MAX_RECENT_TURNS:],
                "last_error": over.error if failed else None,
            }
        )
    )


def refused(state: ThreadState, start: StartTurn, message: str) -> ThreadState:
    """A kept start could not be taken, and nobody waits for the answer: remember it for who asks later."""
    note = Refusal(idempotency_key=start.idempotency_key, message=bounded(message))
    refusals = (*state.refusals, note)[-MAX_RECENT_TURNS:]
    return state.model_copy(update={"last_error": note.message, "refusals": refusals})


def describe(state: ThreadState, turn_id: str) -> TurnRecord | None:
    """What the thread knows of one turn; None when it never knew it or has forgotten it."""
    if state.active is not None and state.active.turn_id == turn_id:
        return state.active
    waiting = (*queueing.steering_records(state), *queueing.records(state))
    return next((turn for turn in waiting if turn.turn_id == turn_id), None) or next(
        (turn for turn in state.recent if turn.turn_id == turn_id), None
    )


def placed(state: ThreadState, turn_id: str) -> bool:
    """Does the turn run, wait for a reason, or is it over? False while it is just being begun."""
    turn = describe(state, turn_id)
    if turn is None or turn.run_id is not None or turn.completed_at is not None:
        return True
    if state.active is None:
        return state.held or state.closed or own_place.known_to_wait(state)
    return state.closed or state.active.turn_id != turn_id


def remembered(state: ThreadState, turn_id: str) -> Outcome | None:
    """How a turn ended, as far as the thread remembers it: without text and usage."""
    turn = next((turn for turn in state.recent if turn.turn_id == turn_id), None)
    if turn is None or turn.reason is None or turn.completed_at is None:
        return None
    return Outcome(
        state=turn.state,
        reason=turn.reason,
        confirmed=turn.confirmed,
        started_at=turn.started_at or turn.completed_at,
        completed_at=turn.completed_at,
        evidence=Evidence(kind=EvidenceKind.COMMAND, at=turn.completed_at, detail="as the thread remembers it"),
    )


def start_result(state: ThreadState, thread_id: str, accepted: Accepted) -> StartTurnResult:
    """The answer to a start, from what the thread knows by now."""
    turn = describe(state, accepted.turn_id)
    ahead = [queued.turn_id for queued in state.queue]
    position = ahead.index(accepted.turn_id) + (state.active is not None) if accepted.turn_id in ahead else 0
    return StartTurnResult(
        thread_id=thread_id,
        turn_id=accepted.turn_id,
        state=turn.state if turn is not None else None,
        run_id=turn.run_id if turn is not None else None,
        steered=_was_steered(state, turn),
        position=position,
        repeated=accepted.repeated,
    )


def notes(turn: TurnRecord) -> list[str]:
    """What else a person has to know of a turn, in words."""
    found = [f"continues {turn.continues}"] if turn.continues else []
    if turn.adopted:
        found.append("adopted")
    if turn.why:
        found.append(f"because: {turn.why}")
    return [*found, "context lost"] if turn.context_lost else found


def next_step(thread: ThreadSnapshot) -> str | None:
    """What to do about the thread's last error; None when there is none, or nothing to say."""
    latest = thread.recent[-1] if thread.recent else None
    return latest.next_step if latest is not None and latest.error == thread.last_error is not None else None


def _was_steered(state: ThreadState, turn: TurnRecord | None) -> bool | None:
    if turn is None:
        return None
    if turn.steered_into is not None:
        return True
    waiting = next((queued for queued in state.queue if queued.turn_id == turn.turn_id), None)
    return False if waiting is not None and waiting.start.on_busy is OnBusy.STEER else None


def check(state: ThreadState) -> ThreadState:
    """`state`, if it keeps the invariants.

    Raises:
        IllegalTransitionError: it does not: a bug of ours.

    """
    if (state.active is not None) != (state.status in _BUSY):
        raise IllegalTransitionError(f"session {state.status} with active turn {state.active}")
    terminal = [turn for turn in state.recent if turn.completed_at is None or turn.reason is None]
    if terminal:
        raise IllegalTransitionError(f"settled without time or reason: {terminal[0].turn_id}")
    if state.steering and state.active is None:
        raise IllegalTransitionError("prompts for a turn that does not run")
    known = [
        turn.turn_id
        for turn in (*state.queue, *state.steering, *((state.active,) if state.active else ()), *state.recent)
    ]
    if len(known) != len(set(known)):
        raise IllegalTransitionError(f"a turn is in two places: {known}")
    if state.held and not state.queue:
        raise IllegalTransitionError("an empty queue is held")
    return state


def _known(state: ThreadState, key: str) -> tuple[str, str | None] | None:
    """Turn and prompt digest of a key that was used before. Threads of an earlier version kept no digest."""
    return next(
        (
            (turn_id, digest[0] if digest else None)
            for known, turn_id, *digest in reversed(state.idempotency)
            if known == key
        ),
        None,
    )


def _remembered(start: StartTurn, turn_id: str) -> tuple[str, str, str]:
    return start.idempotency_key, turn_id, prompt_digest(start.prompt)
