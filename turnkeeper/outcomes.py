"""How a turn can end, and what a person is then told: every outcome is made here.

A reason decides how the turn and its session are left (`SETTLEMENTS`), and of a stop its confirmation
(`session_after`); whoever finds that a turn is over names the reason and the evidence, and adds a `Failure` that says
whose fault it is and what to do next. A verdict is an outcome that is decided and not yet settled: nothing but the
settling is learnt after it. Pure.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final, assert_never

from turnkeeper.messages import Evidence, Outcome
from turnkeeper.observations import Failure
from turnkeeper.turn import Stop, StopCause, Turn
from turnkeeper.vocabulary import EvidenceKind, Fault, Reason, SessionStatus, TurnState

SETTLEMENTS: Final[dict[Reason, tuple[TurnState, SessionStatus]]] = {
    Reason.FINISHED: (TurnState.COMPLETED, SessionStatus.READY),
    Reason.TRUNCATED: (TurnState.COMPLETED, SessionStatus.READY),
    Reason.REFUSED: (TurnState.INTERRUPTED, SessionStatus.READY),
    Reason.STOPPED: (TurnState.INTERRUPTED, SessionStatus.READY),
    Reason.ABORTED_ELSEWHERE: (TurnState.INTERRUPTED, SessionStatus.READY),
    Reason.SUPERSEDED: (TurnState.INTERRUPTED, SessionStatus.READY),
    Reason.REMOVED: (TurnState.INTERRUPTED, SessionStatus.READY),
    Reason.PROVIDER_LOST_TURN: (TurnState.INTERRUPTED, SessionStatus.STOPPED),
    Reason.SESSION_GONE: (TurnState.INTERRUPTED, SessionStatus.STOPPED),
    Reason.PROVIDER_ERROR: (TurnState.ERROR, SessionStatus.ERROR),
    Reason.PROMPT_REJECTED: (TurnState.ERROR, SessionStatus.ERROR),
    Reason.SESSION_BUSY: (TurnState.ERROR, SessionStatus.ERROR),
    Reason.PROMPT_DROPPED: (TurnState.ERROR, SessionStatus.ERROR),
    Reason.PROVIDER_UNREACHABLE: (TurnState.ERROR, SessionStatus.ERROR),
    Reason.STALLED: (TurnState.ERROR, SessionStatus.ERROR),
    Reason.DEADLINE_EXCEEDED: (TurnState.ERROR, SessionStatus.ERROR),
    Reason.TURNKEEPER_ERROR: (TurnState.ERROR, SessionStatus.ERROR),
}
"""How each reason leaves the turn and its session; an unconfirmed stop leaves that otherwise (`session_after`)."""

UNCONFIRMED_STOP: Final = SessionStatus.STOPPED
"""How a stop leaves the session that somebody asked for and the provider did not confirm: who asks next has to know."""

PROMPT_REMOVED: Final = "prompt_removed"
"""Code of a turn whose prompt somebody took out of the provider session (a revert): nothing died there."""

REMOVED: Final = Failure(
    code=PROMPT_REMOVED,
    fault=Fault.CALLER,
    message="The prompt was removed from the provider session while the turn ran, as by a revert.",
    next_step="Prompt again if that was not what you wanted.",
)

LOST: Final = Failure(
    code="provider_lost_turn",
    fault=Fault.PROVIDER,
    message="The provider no longer runs this turn and never finished it, as after a crash or restart.",
    next_step="What its tools did is done: check the directory, then prompt again to go on.",
)

GONE: Final = Failure(
    code="session_gone",
    fault=Fault.CALLER,
    message="The provider session was deleted while the turn ran.",
    next_step="The next prompt begins a fresh session; its tools may still run on the provider's machine.",
)

DROPPED: Final = Failure(
    code="prompt_dropped",
    fault=Fault.PROVIDER,
    message="The provider stored the prompt and never ran it.",
    retryable=True,
    next_step="Prompt again: nothing was done. If that is dropped too, restart the provider.",
)

BUSY: Final = Failure(
    code="session_busy",
    fault=Fault.CALLER,
    message="The provider session works on something that is not this turn's; the prompt was not sent.",
    retryable=True,
    next_step="Let it end or abort it in the provider, then prompt again; or use another thread.",
)


def session_after(outcome: Outcome) -> SessionStatus:
    """How this end leaves the session."""
    if outcome.reason is Reason.STOPPED and outcome.confirmed is False:
        return UNCONFIRMED_STOP
    return SETTLEMENTS[outcome.reason][1]


def with_verdict(
    turn: Turn,
    reason: Reason,
    kind: EvidenceKind,
    detail: str,
    now: datetime,
    *,
    failure: Failure | None = None,
    confirmed: bool | None = None,
) -> Turn:
    """The turn with its end decided; whoever performs decisions settles it."""
    return replace(turn, verdict=outcome_of(turn, reason, kind, detail, now, failure=failure, confirmed=confirmed))


def outcome_of(
    turn: Turn,
    reason: Reason,
    kind: EvidenceKind,
    detail: str,
    now: datetime,
    *,
    failure: Failure | None = None,
    confirmed: bool | None = None,
) -> Outcome:
    """How the turn ends now, with all that was seen of it."""
    evidence = Evidence(
        kind=kind, woken_by=turn.looking if kind is EvidenceKind.SNAPSHOT else None, at=now, detail=detail
    )
    outcome = Outcome(
        state=SETTLEMENTS[reason][0],
        reason=reason,
        evidence=evidence,
        started_at=turn.started_at,
        completed_at=now,
        confirmed=confirmed,
        why=turn.stop.why if turn.stop is not None and turn.stop.cause is StopCause.ASKED else "",
        failure=failure,
    )
    if (seen := turn.seen) is None:
        return outcome
    return outcome.model_copy(
        update={
            "text": seen.text,
            "text_truncated": seen.text_truncated,
            "message_id": seen.message_id,
            "usage": seen.usage,
            "tool_calls": seen.tool_calls,
        }
    )


def stop_words(stop: Stop) -> str:
    """Who or what stops the turn, for a person who did not."""
    match stop.cause:
        case StopCause.ASKED:
            return f"a stop was asked for: {stop.why}" if stop.why else "a stop was asked for"
        case StopCause.STALLED:
            return f"given up, the provider makes no progress: {stop.why}"
        case StopCause.DEADLINE:
            return f"the deadline has passed: {stop.why}"
        case _:
            assert_never(stop.cause)


def stop_failure(stop: Stop) -> Failure | None:
    """What to tell a person about a turn that our own clocks ended; nothing when somebody asked for it."""
    match stop.cause:
        case StopCause.ASKED:
            return None
        case StopCause.STALLED:
            return Failure(
                code="stalled",
                fault=Fault.PROVIDER,
                message=f"The provider stayed busy without progress: {stop.why}.",
                retryable=True,
                next_step="Check the model behind the provider, then prompt again.",
            )
        case StopCause.DEADLINE:
            return Failure(
                code="deadline_exceeded",
                fault=Fault.CALLER,
                message=f"The turn reached its hard deadline: {stop.why}.",
                next_step="Split the work, or give the turn a longer `deadline`.",
            )
        case _:
            assert_never(stop.cause)


def unconfirmed_stop(turn: Turn, stop: Stop) -> Failure:
    """What to tell a person about a turn that was ended and may run on, in the provider's own words if it gave any."""
    words = stop.failure or (turn.unreachable.message if turn.unreachable is not None else "")
    because = f" ({words.removesuffix('.')})" if words else ""
    text = f"The provider did not confirm the stop{because}: the agent may still be at work."
    if (clock := stop_failure(stop)) is not None:
        return clock.model_copy(update={"message": f"{clock.message} {text}"})
    return Failure(
        code="stop_unconfirmed",
        fault=Fault.PROVIDER,
        message=text,
        next_step="Stop the session once the provider answers; the next prompt waits until nothing else runs in it.",
    )


def workflow_lost(started_at: datetime, now: datetime, cause: str) -> Outcome:
    """The outcome of a turn whose workflow could not give one: terminated by an operator, or failed by our fault."""
    failure = Failure(
        code="turn_workflow_lost",
        fault=Fault.TURNKEEPER,
        message=f"The turn's workflow did not end by itself ({cause}); the agent may still be at work.",
        next_step="See the Turn workflow in the Temporal UI, and the provider session.",
    )
    return Outcome(
        state=SETTLEMENTS[Reason.TURNKEEPER_ERROR][0],
        reason=Reason.TURNKEEPER_ERROR,
        evidence=Evidence(kind=EvidenceKind.COMMAND, at=now, detail=failure.message),
        started_at=started_at,
        completed_at=now,
        failure=failure,
    )
