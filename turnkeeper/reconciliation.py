"""What looking again means, for a turn and for a thread at rest. Pure.

Looking again settles nothing by a rule of its own: a turn that is asked looks now and is judged by the same readings
as ever. A thread without a turn learns only whether its session exists, and unknown is not gone.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final, assert_never

from turnkeeper import threads
from turnkeeper.errors import bounded
from turnkeeper.findings import SessionFound, SessionReading, ThreadFinding, TurnFinding
from turnkeeper.lifecycle import state_of
from turnkeeper.observations import Refused, SessionMissing, Unreachable
from turnkeeper.thread_messages import ThreadState
from turnkeeper.turn import Delivery, Turn
from turnkeeper.vocabulary import Finding, SessionStatus, TurnState

TURN_PATIENCE: Final = timedelta(seconds=15)
"""How long a turn that was asked may take to be sure: one look (10 s at worst), and the second one of a suspicion."""

THREAD_PATIENCE: Final = timedelta(seconds=20)
"""How long a thread waits for its turn's answer: the turn's own patience, and two signals."""

SESSION_GONE: Final = "The provider session does not exist any more."
PROMPT_AGAIN: Final = "The next prompt begins a fresh session, without the conversation so far."


def is_sure(turn: Turn, answers: int) -> bool:
    """Has `turn` an answer newer than its first `answers`, and one that needs no second reading?"""
    if turn.outcome is not None:
        return True
    unsure = turn.suspicion is not None and turn.unreachable_since is None
    return turn.answers > answers and turn.verdict is None and not unsure


def turn_finding(turn: Turn, turn_id: str, before: TurnState, token: str | None) -> TurnFinding:
    """What is known of the turn now, in words for who asked."""
    return TurnFinding(
        turn_id=turn_id,
        token=token,
        finding=_finding(turn),
        standing=turn.seen.standing if turn.seen is not None else None,
        detail=_detail(turn),
        before=before,
        state=state_of(turn),
        looked_at=turn.looked_at,
        failure=turn.unreachable if turn.outcome is None else None,
        outcome=turn.outcome,
    )


def _finding(turn: Turn) -> Finding:
    if turn.outcome is not None:
        return Finding.SETTLED
    if turn.unreachable_since is not None:
        return Finding.UNKNOWN
    if turn.delivery is Delivery.UNSENT:
        return Finding.UNSENT
    if turn.suspicion is not None:
        return Finding.UNSURE
    return Finding.LIVE if turn.seen is not None else Finding.UNSURE


def _detail(turn: Turn) -> str:
    if turn.outcome is not None:
        return turn.outcome.evidence.detail
    if turn.unreachable is not None:
        return turn.unreachable.message
    if turn.suspicion is not None and turn.suspicion.what is None:
        return "the prompt is not in the provider's message list"
    return turn.seen.detail if turn.seen is not None else ""


def session_checked(state: ThreadState, session_id: str | None, reading: SessionReading | None) -> ThreadState:
    """A thread after its session was read: only a confirmed not-found changes it, only once, and only at rest."""
    moved_on = state.active is not None or state.session_id != session_id
    if not isinstance(reading, SessionMissing) or moved_on or state.status is SessionStatus.STOPPED:
        return state
    error = bounded(f"{SESSION_GONE} {PROMPT_AGAIN}")
    return threads.check(state.model_copy(update={"status": SessionStatus.STOPPED, "last_error": error}))


def rest_finding(
    thread_id: str, before: ThreadState, after: ThreadState, reading: SessionReading | None
) -> ThreadFinding:
    """What was found of a thread without a turn. `reading`: None when it has no session yet."""
    finding, detail = _session_finding(reading)
    return ThreadFinding(
        thread_id=thread_id,
        session_id=before.session_id,
        finding=finding,
        detail=detail,
        before=before.status,
        status=after.status,
        failure=reading.failure if isinstance(reading, Unreachable | Refused) else None,
    )


def _session_finding(reading: SessionReading | None) -> tuple[Finding, str]:
    match reading:
        case None:
            return Finding.NO_SESSION, "nothing was ever sent to the provider"
        case SessionFound(busy=True):
            return Finding.BUSY, "the session works on something that is no turn of this thread"
        case SessionFound():
            return Finding.READY, "the session exists and nothing runs in it"
        case SessionMissing():
            return Finding.GONE, f"{SESSION_GONE} {PROMPT_AGAIN}"
        case Refused(failure=failure) | Unreachable(failure=failure):
            return Finding.UNKNOWN, failure.message
        case _:
            assert_never(reading)


def run_finding(
    thread_id: str, turn_id: str, before: ThreadState, after: ThreadState, answer: TurnFinding | None
) -> ThreadFinding:
    """What was found of a thread with a turn. `answer`: None when the turn did not give one in time."""
    turn = threads.describe(after, turn_id)
    over = turn is not None and turn.completed_at is not None
    unanswered = Finding.SETTLED if over else Finding.UNKNOWN
    return ThreadFinding(
        thread_id=thread_id,
        session_id=after.session_id,
        turn_id=turn_id,
        finding=answer.finding if answer is not None else unanswered,
        standing=answer.standing if answer is not None else None,
        detail=answer.detail if answer is not None else "" if over else "the turn gave no answer in time",
        before=before.status,
        status=after.status,
        # The thread does not know whether its turn waits for a person.
        turn_state=answer.state if answer is not None and not over else turn.state if turn is not None else None,
        reason=turn.reason if turn is not None else None,
        failure=answer.failure if answer is not None else None,
    )
