"""A stop in progress: what is learnt of it and what to do next. Pure; a part of the rules that only `lifecycle` calls.

Abort, look, abort again while anything may still start, and at the latest after `interrupt_grace` say `unconfirmed`:
the turn ends so, or goes on to be watched if whoever asked would rather keep it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import assert_never

from turnkeeper.observations import AbortReport
from turnkeeper.outcomes import outcome_of, stop_failure, unconfirmed_stop
from turnkeeper.turn import (
    STOP_REASONS,
    Abort,
    AbortReported,
    Decision,
    Delivery,
    Fact,
    GiveUpStop,
    IllegalTransitionError,
    Look,
    Settle,
    Stop,
    StopAsked,
    StopCause,
    StopGivenUp,
    Suspicion,
    Turn,
    Wait,
)
from turnkeeper.vocabulary import EvidenceKind, Standing, Wake


def heard(turn: Turn, fact: Fact) -> Turn:
    """Whatever else becomes of it: somebody asked for a stop, and nothing may follow the turn by itself."""
    asked = isinstance(fact, StopAsked) and fact.cause is StopCause.ASKED
    return replace(turn, stop_wanted=True) if asked else turn


def learn_of_stop(turn: Turn, fact: StopAsked | StopGivenUp | AbortReported, now: datetime) -> Turn:
    """The turn after a fact about its stop."""
    match fact:
        case StopAsked(cause, why, keep):
            return _stop_asked(turn, Stop(cause, why, now, keep=keep))
        case StopGivenUp():
            return replace(turn, stop=None, suspicion=None, look_due=now, look_quiet=0)
        case AbortReported(report):
            return _abort_reported(turn, report, now)
        case _:
            assert_never(fact)


def _stop_asked(turn: Turn, stop: Stop) -> Turn:
    """A second stop joins the first; one that ends the turn whatever happens outdoes one that would keep it."""
    if turn.stop is None:
        return perhaps_sent_before(replace(turn, stop=stop, suspicion=None), stop.asked_at)
    if turn.stop.keep and not stop.keep:
        return replace(turn, stop=replace(turn.stop, keep=False, cause=stop.cause, why=stop.why))
    return turn


def perhaps_sent_before(turn: Turn, now: datetime) -> Turn:
    """A stop of a turn that did not send its prompt: what a lost try sent is stopped like any prompt on its way."""
    if turn.delivery is not Delivery.UNSENT or not turn.tried_before or turn.stop is None:
        return turn
    return replace(turn, delivery=Delivery.PERHAPS_SENT, sent_at=turn.sent_at or turn.started_at, submit_ended_at=now)


def _abort_reported(turn: Turn, report: AbortReport, now: datetime) -> Turn:
    if turn.stop is None:
        raise IllegalTransitionError("an abort that nobody asked for was reported")
    failure = report.failure.message if report.failure is not None else None
    stop = replace(turn.stop, aborts=turn.stop.aborts + 1, aborted_at=now, failure=failure)
    return replace(turn, stop=stop, look_due=now, wake=Wake.STOP)


def decide_stopping(turn: Turn, stop: Stop, now: datetime) -> Decision:
    """What to do next about `stop`."""
    if turn.delivery is Delivery.UNSENT:
        return _stopped(turn, stop, EvidenceKind.COMMAND, "nothing had been sent to the provider", now, confirmed=True)
    grace_over = stop.asked_at + turn.limits.interrupt_grace
    if now >= grace_over and stop.keep:
        unconfirmed = f"The provider did not confirm the stop within {turn.limits.interrupt_grace.total_seconds():g} s."
        return GiveUpStop(stop.failure or unconfirmed)
    if now >= grace_over:
        detail = f"{stop.aborts} aborts and {turn.limits.interrupt_grace.total_seconds():g} s of grace"
        return _stopped(turn, stop, EvidenceKind.TIMER, detail, now, confirmed=False)
    if stop.aborted_at is None:
        return Abort()
    again_at = stop.aborted_at + turn.limits.abort_interval
    if now >= again_at and not halted(turn.suspicion):
        return Abort()
    if turn.wake is not None:
        return Look(turn.wake)
    if turn.look_due is None or now >= turn.look_due:
        return Look(Wake.STOP)
    ends = [grace_over, turn.look_due] if halted(turn.suspicion) else [grace_over, turn.look_due, again_at]
    return Wait(min(ends), "the provider to confirm the stop")


def halted(suspicion: Suspicion | None) -> bool:
    """Seen begun and no longer running: an abort could only hit somebody else's work."""
    return suspicion is not None and suspicion.what is Standing.HALTED


def _stopped(turn: Turn, stop: Stop, kind: EvidenceKind, detail: str, now: datetime, *, confirmed: bool) -> Settle:
    failure = stop_failure(stop) if confirmed else unconfirmed_stop(turn, stop)
    return Settle(outcome_of(turn, STOP_REASONS[stop.cause], kind, detail, now, failure=failure, confirmed=confirmed))
