"""The rules of a thread's queue: who is next, what is held, what may be taken out. Pure; `threads` has the rest.

A prompt that was taken is never lost: it waits, runs, or is handed back to whoever removes it. After a stop that a
person asked for nothing begins behind that person's back: the queue is *held*, in its order, until somebody says that
it shall go on (`resume_queue`, `send_now`, or the next prompt). Every other end of a turn lets the queue go on.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from turnkeeper.errors import RefusedError, bounded
from turnkeeper.keys import prompt_digest
from turnkeeper.limits import (
    MAX_QUEUED_CHARACTERS,
    MAX_RECENT_TURNS,
    MAX_REMEMBERED_STOPS,
    MAX_WAITING_BYTES,
    PROMPT_START_CHARACTERS,
)
from turnkeeper.messages import Outcome, TurnRecord
from turnkeeper.sizes import encoded
from turnkeeper.thread_messages import QueuedTurn, Refusal, StartTurn, ThreadState
from turnkeeper.vocabulary import OnBusy, Reason, TurnState

WEIGHT_OF_A_PLACE: Final = 3000
"""Bytes, at most nearly, of what a thread adds to a prompt that waits: its limits, ids and times."""

STEER_WITHOUT: Final = "Give the prompt again without naming a turn, if it shall run all the same."


@dataclass(frozen=True, slots=True)
class Removed:
    """A removal; `state` is as before when it had been done already."""

    state: ThreadState
    turn: QueuedTurn


def record(queued: QueuedTurn) -> TurnRecord:
    """A waiting turn as lists show it."""
    return TurnRecord(
        turn_id=queued.turn_id,
        idempotency_key=queued.start.idempotency_key,
        state=TurnState.QUEUED,
        prompt_start=bounded(queued.start.prompt, PROMPT_START_CHARACTERS),
        continues=queued.continues,
        adopted=queued.adopted_message_id is not None,
        prompt_digest=prompt_digest(queued.start.prompt),
    )


def records(state: ThreadState) -> tuple[TurnRecord, ...]:
    """What waits, first to run first."""
    return tuple(record(queued) for queued in state.queue)


def may_begin(state: ThreadState) -> bool:
    """Is a turn to be begun now?"""
    return state.active is None and bool(state.queue) and not (state.held or state.closed)


def enqueued(state: ThreadState, queued: QueuedTurn) -> ThreadState:
    """With one more prompt: last, or first if the running turn has to make way for it. What was held goes on.

    A prompt that is given after a stop was asked for says that the thread shall go on when the stop is done.
    """
    if may_steer(state, queued.start.on_busy):
        return _bounded(state.model_copy(update={"steering": (*state.steering, queued)}))
    first = queued.start.on_busy is OnBusy.INTERRUPT
    queue = (queued, *state.queue) if first else (*state.queue, queued)
    go_on = state.go_on_after_stop or state.stopping
    return _bounded(
        state.model_copy(update={"queue": queue, "held": False, "go_on_after_stop": go_on, "stop_session": False})
    )


# Steering.


def may_steer(state: ThreadState, on_busy: OnBusy) -> bool:
    """Can a prompt go into the running turn, as far as the thread knows? The turn asks the provider."""
    return on_busy is OnBusy.STEER and state.active is not None and not state.stopping


def steer_pending(state: ThreadState, turn_id: str) -> bool:
    """Is it not known yet whether this prompt could go into the running turn?"""
    return any(queued.turn_id == turn_id and not queued.steered for queued in state.steering)


def steer_sent(state: ThreadState, turn_id: str) -> ThreadState:
    """It is in the running turn, unless that drops it."""
    steering = (q.model_copy(update={"steered": True}) if q.turn_id == turn_id else q for q in state.steering)
    return state.model_copy(update={"steering": tuple(steering)})


def steer_refusal(state: ThreadState, start: StartTurn) -> RefusedError | None:
    """Why a prompt cannot go into the one turn that it is for, or None; one that is for whichever runs is never."""
    expected, active = start.expected_turn_id, state.active
    if expected is None:
        return None
    if active is None or active.turn_id != expected:
        running = f"that is {active.turn_id}" if active else "none is"
        message = f"Turn {expected} is not the running one; {running}."
        return RefusedError(message, code="not_running", next_step=STEER_WITHOUT)
    if state.stopping:
        return RefusedError(f"Turn {expected} is being stopped.", code="stopping", next_step=STEER_WITHOUT)
    return None


def late_steer_refusal(state: ThreadState, turn_id: str) -> RefusedError | None:
    """The same of a prompt that was taken: the turn that it is for could not be reached any more, or dropped it."""
    turn = next((turn for turn in state.recent if turn.turn_id == turn_id), None)
    if turn is None or turn.reason is not Reason.PROMPT_REJECTED or turn.run_id is not None:
        return None
    return RefusedError(turn.error or "", code="not_running", next_step=turn.next_step or "")


def steer_named(state: ThreadState, turn_id: str, message_id: str) -> ThreadState:
    """It has this message id from now on, in the running turn and as a turn of its own."""
    steering = (
        queued.model_copy(update={"steer_message_id": message_id}) if queued.turn_id == turn_id else queued
        for queued in state.steering
    )
    return state.model_copy(update={"steering": tuple(steering)})


def left_behind(state: ThreadState, begun: QueuedTurn) -> tuple[str, ...]:
    """Message ids that a turn may have left unanswered: no later prompt may run with them in its context."""
    ids = (turn.steer_message_id for turn in (begun, *state.queue, *state.removed))
    return tuple(message_id for message_id in ids if message_id is not None)


def withdrawn(state: ThreadState) -> ThreadState:
    """What was taken out of the queue is out of the provider's session, too."""
    removed = tuple(turn.model_copy(update={"steer_message_id": None}) for turn in state.removed)
    return state.model_copy(update={"removed": removed})


def steer_returned(state: ThreadState, turn_id: str, now: datetime) -> ThreadState:
    """It could not go in: it is next when the running turn is over, or refused if only that one was meant."""
    turn = next((queued for queued in state.steering if queued.turn_id == turn_id), None)
    if turn is None:
        return state
    steering = tuple(queued for queued in state.steering if queued is not turn)
    return _given_back(state.model_copy(update={"steering": steering}), (turn,), now)


def steers_settled(state: ThreadState, over: TurnRecord, steered: Collection[str]) -> ThreadState:
    """The active turn is over: prompts that it answered end with it, the others wait first in line, in their order."""
    ended = tuple(
        record(queued).model_copy(
            update={
                "state": over.state,
                "reason": over.reason,
                "confirmed": over.confirmed,
                "run_id": over.run_id,
                "started_at": queued.accepted_at,
                "completed_at": over.completed_at,
                "steered_into": over.turn_id,
            }
        )
        for queued in state.steering
        if queued.turn_id in steered
    )
    back = tuple(queued for queued in state.steering if queued.turn_id not in steered)
    state = state.model_copy(update={"steering": (), "recent": (*state.recent, *ended)[-MAX_RECENT_TURNS:]})
    return _given_back(state, back, over.completed_at)


def _given_back(state: ThreadState, turns: Collection[QueuedTurn], now: datetime | None) -> ThreadState:
    free = tuple(_plain(turn) for turn in turns if turn.start.expected_turn_id is None)
    state = state.model_copy(update={"queue": (*free, *state.queue)})
    for turn in turns:
        if turn.start.expected_turn_id is not None:
            state = _refused_late(state, turn, now)
    return state


def _refused_late(state: ThreadState, turn: QueuedTurn, now: datetime | None) -> ThreadState:
    """Whoever asked may have gone: it shows among the refusals, and the prompt can be had back."""
    message = f"Turn {turn.start.expected_turn_id} is over or being stopped, and did not take the prompt."
    over = record(turn).model_copy(
        update={
            "state": TurnState.ERROR,
            "reason": Reason.PROMPT_REJECTED,
            "completed_at": now,
            "error": message,
            "next_step": STEER_WITHOUT,
        }
    )
    note = Refusal(idempotency_key=turn.start.idempotency_key, message=message)
    update = {
        "removed": (*state.removed, _plain(turn)),
        "recent": (*state.recent, over)[-MAX_RECENT_TURNS:],
        "refusals": (*state.refusals, note)[-MAX_RECENT_TURNS:],
    }
    return _bounded(state.model_copy(update=update))


def steering_records(state: ThreadState) -> tuple[TurnRecord, ...]:
    """Prompts for the active turn itself, as lists show them."""
    active = state.active
    if active is None:
        return ()
    inside = {"state": TurnState.RUNNING, "run_id": active.run_id, "steered_into": active.turn_id}
    return tuple(
        record(queued).model_copy(update=inside) if queued.steered else record(queued) for queued in state.steering
    )


def _plain(turn: QueuedTurn) -> QueuedTurn:
    return turn.model_copy(update={"steered": False})


# Taking out.


def removal_refusal(state: ThreadState, turn_id: str) -> RefusedError | None:
    """Why `turn_id` cannot be taken out, or None."""
    if any(queued.turn_id == turn_id for queued in (*state.queue, *state.removed)):
        return None
    return _not_waiting(state, turn_id, "Stop it instead: `turnkeeper interrupt`.")


def removed(state: ThreadState, turn_id: str, now: datetime) -> Removed:
    """Take a waiting turn out and hand it back. Doing it again gives the same turn.

    Raises:
        RefusedError: it does not wait (see `removal_refusal`).

    """
    if (error := removal_refusal(state, turn_id)) is not None:
        raise error
    turn = next((queued for queued in state.queue if queued.turn_id == turn_id), None)
    if turn is None:
        return Removed(state, next(queued for queued in state.removed if queued.turn_id == turn_id))
    over = record(turn).model_copy(
        update={"state": TurnState.INTERRUPTED, "reason": Reason.REMOVED, "completed_at": now}
    )
    queue = tuple(queued for queued in state.queue if queued is not turn)
    update = {
        "queue": queue,
        "held": state.held and bool(queue),
        "removed": (*state.removed, turn),
        "recent": (*state.recent, over)[-MAX_RECENT_TURNS:],
    }
    return Removed(_bounded(state.model_copy(update=update)), turn)


def send_now_refusal(state: ThreadState, turn_id: str) -> RefusedError | None:
    """Why `turn_id` cannot be sent now, or None. One that has begun is what was wanted."""
    begun = state.active is not None and state.active.turn_id == turn_id
    over = any(turn.turn_id == turn_id and turn.reason is not Reason.REMOVED for turn in state.recent)
    if begun or over or any(queued.turn_id == turn_id for queued in state.queue):
        return None
    return _not_waiting(state, turn_id, "See `turnkeeper queue`.")


def put_first(state: ThreadState, turn_id: str) -> ThreadState:
    """The waiting turn next, the others in their order behind it, nothing held; as before if it does not wait."""
    turn = next((queued for queued in state.queue if queued.turn_id == turn_id), None)
    if turn is None:
        return state
    rest = tuple(queued for queued in state.queue if queued is not turn)
    return state.model_copy(update={"queue": (turn, *rest), "held": False})


def resumed(state: ThreadState) -> ThreadState:
    """Somebody says that the queue shall go on: now, or once the stop in progress is done."""
    return state.model_copy(update={"held": False, "go_on_after_stop": state.stopping})


# Stops.


def is_meant(active: TurnRecord | None, turn_id: str | None) -> bool:
    """Does a stop of `turn_id` stop the active turn? So it does when that goes on with a turn that was lost."""
    return active is not None and turn_id in {None, active.turn_id, active.continues}


def making_way(state: ThreadState) -> ThreadState:
    """The active turn is being stopped in favour of the first in the queue."""
    if state.active is None:
        return state
    return state.model_copy(update={"stopping": True, "go_on_after_stop": True})


def stop_asked(state: ThreadState, turn_id: str, key: str | None) -> ThreadState:
    """A person stops `turn_id`; by the key a repeated stop is known."""
    stops = state.stops if key is None else (*state.stops, (key, turn_id))[-MAX_REMEMBERED_STOPS:]
    return state.model_copy(update={"stopping": True, "go_on_after_stop": False, "stops": stops})


def stopped_in_line(state: ThreadState) -> ThreadState:
    """A person stops a thread whose first prompt waits for a place: nothing runs, and nothing begins unasked."""
    return state.model_copy(update={"held": bool(state.queue)})


def session_stop_asked(state: ThreadState, turn_id: str, key: str | None) -> ThreadState:
    """A person stops the session, and `turn_id` with it."""
    return stop_asked(state, turn_id, key).model_copy(update={"stop_session": True})


def closed(state: ThreadState) -> ThreadState:
    """Nothing is taken or begun any more; what waits stays where it is, to be handed back."""
    return state.model_copy(update={"closed": True})


def stop_given_up(state: ThreadState, turn_id: str, why: str) -> ThreadState:
    """The stop failed: everything stays as it was, and the thread says why."""
    if state.active is None or state.active.turn_id != turn_id:
        return state
    update = {"stopping": False, "go_on_after_stop": False, "stop_session": False, "last_error": bounded(why)}
    return state.model_copy(update=update)


def stopped_by(state: ThreadState, key: str | None) -> str | None:
    """The turn that the stop of this key was about, if it was given before."""
    return next((turn_id for known, turn_id in reversed(state.stops) if known == key), None)


def would_hold(state: ThreadState, outcome: Outcome) -> bool:
    """Does this end of the active turn hold what waits?"""
    return bool(state.queue or state.steering) and outcome.reason is Reason.STOPPED and not state.go_on_after_stop


def after_turn(state: ThreadState, outcome: Outcome, *, hold: bool) -> ThreadState:
    """The active turn has ended: does the queue go on? `hold`: False for threads from before queues were held."""
    held = hold and would_hold(state, outcome)
    return state.model_copy(
        update={"held": held and bool(state.queue), "stopping": False, "go_on_after_stop": False, "stop_session": False}
    )


def _not_waiting(state: ThreadState, turn_id: str, next_step: str) -> RefusedError:
    if state.active is not None and state.active.turn_id == turn_id:
        message = f"Turn {turn_id} runs already."
    elif (over := next((turn for turn in state.recent if turn.turn_id == turn_id), None)) is not None:
        message, next_step = f"Turn {turn_id} is over: {over.state}, {over.reason}.", ""
    else:
        message, next_step = f"No turn {turn_id} waits in this thread.", "See `turnkeeper queue`."
    return RefusedError(message, code="not_queued", next_step=next_step)


def _bounded(state: ThreadState) -> ThreadState:
    """What was removed is remembered, newest first, as far as the queue leaves room in one payload."""
    if not state.removed:
        return state
    waiting = (*state.steering, *state.queue)
    room = MAX_QUEUED_CHARACTERS - sum(len(queued.start.prompt) for queued in waiting)
    bytes_left = MAX_WAITING_BYTES - sum(map(weight, waiting))
    kept: list[QueuedTurn] = []
    for turn in reversed(state.removed[-MAX_RECENT_TURNS:]):
        room -= len(turn.start.prompt)
        bytes_left -= weight(turn)
        if room < 0 or bytes_left < 0:
            break
        kept.append(turn)
    return state.model_copy(update={"removed": tuple(reversed(kept))})


def weight(queued: QueuedTurn) -> int:
    """Bytes of a waiting prompt and of all that was given with it, as they are sent."""
    return encoded(queued.start) + WEIGHT_OF_A_PLACE
