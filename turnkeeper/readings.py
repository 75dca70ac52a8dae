"""What a reading of the provider means for a turn: the half of the rules that weighs what a look returned.

A reading ends a turn when it is conclusive by itself (answered, failed, aborted, gone), or when it is the second of
two that agree that nothing runs. Everything else only sets the time of the next look.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, assert_never

from turnkeeper import overload
from turnkeeper.gaps import NO_CONNECTION, confirm_delay, seen_at_work, unless_cut_off
from turnkeeper.limits import MAX_SUBMITS
from turnkeeper.observations import Failure, NotThere, Observation, Seen, Unreachable
from turnkeeper.outcomes import BUSY, DROPPED, GONE, LOST, REMOVED, stop_failure, with_verdict
from turnkeeper.turn import STOP_REASONS, Delivery, IllegalTransitionError, Stop, Suspicion, Turn
from turnkeeper.vocabulary import EvidenceKind, Fault, Reason, Standing, Wake

ABORT_SETTLE: Final = timedelta(milliseconds=400)
"""After an abort, look again this late: the last word of an aborted run is stored 20 to 330 ms after its idle."""

SUBMIT_LOOK: Final = timedelta(milliseconds=500)
"""A prompt that was perhaps sent is looked for this often: it is readable after 1.25 s at worst."""

LOOKS_WITHOUT_EVENTS: Final = 360
"""So many looks, an hour of them, follow each other at `look_interval` while the turn knows that no events come; each
costs 11 events of a history that may hold 51,200. Then their pauses grow as ever."""

_CONCLUSIVE: Final = {
    Standing.SUCCEEDED: Reason.FINISHED,
    Standing.TRUNCATED: Reason.TRUNCATED,
    Standing.REFUSED: Reason.REFUSED,
    Standing.ABSORBED: Reason.SUPERSEDED,
    Standing.FAILED: Reason.PROVIDER_ERROR,
    Standing.ABORTED: Reason.ABORTED_ELSEWHERE,
}


def observed(turn: Turn, observation: Observation, now: datetime) -> Turn:
    """The turn after a look."""
    if turn.sent_at is None:
        raise IllegalTransitionError("a look before anything was sent")
    if turn.delivery is Delivery.UNSENT:
        return turn  # meanwhile the submit was reported not sent: there was nothing to see
    turn = replace(turn, answers=turn.answers + 1)
    match observation:
        case Unreachable(failure=failure):
            gap = now if failure.code == NO_CONNECTION else turn.gap_at
            return unreachable(replace(turn, gap_at=gap), failure, now)
        case Seen(standing=Standing.UNSTARTED) if turn.dropped and turn.submitting:
            # Perhaps from before the prompt was taken out: it says nothing of the one that is on its way.
            return replace(_reached(turn, now), look_due=now + SUBMIT_LOOK)
        case NotThere(what="session"):
            return session_gone(_reached(turn, now), now)
        case NotThere(busy=busy):
            return _prompt_missing(_reached(turn, now), now, busy=busy)
        case Seen():
            return _seen(_reached(turn, now), observation, now)
        case _:
            assert_never(observation)


def unreachable(turn: Turn, failure: Failure, now: datetime) -> Turn:
    """Unknown: it only shortens the next look, up to `unreachable_timeout`; a server that asks for peace gets it."""
    if failure.overloaded and turn.stop is None:  # a stop has no time to lose, and asks for little
        pause = overload.pause_after(failure, turn.retries, f"{turn.started_at.isoformat()} {turn.retries}")
    else:
        pause = doubled(turn.limits.retry_interval, turn.retries, turn.limits.retry_interval_max)
    return replace(
        turn,
        answers=turn.answers + (turn.delivery is Delivery.UNSENT),  # a look that was not answered is counted already
        unreachable_since=turn.unreachable_since or now,
        unreachable=failure,
        overloaded_at=now if failure.overloaded else turn.overloaded_at,
        retries=turn.retries + 1,
        look_due=now + pause,
        # An attach during the look that failed: the provider is back since.
        wake=turn.wake if turn.recovers and turn.wake is Wake.ATTACH else None,
    )


def session_gone(turn: Turn, now: datetime) -> Turn:
    """The provider confirmed that the session does not exist: for a stop, that is success."""
    detail = "the provider confirms that the session does not exist"
    if turn.stop is not None:
        return _stop_confirmed(turn, turn.stop, detail, now)
    return with_verdict(turn, Reason.SESSION_GONE, EvidenceKind.SNAPSHOT, detail, now, failure=GONE)


def session_busy(turn: Turn, now: datetime) -> Turn:
    """The session works on something else: ask again, up to `session_busy_timeout`. Its idle makes the turn ask sooner.

    A prompt that is sent into another run may be dropped with it, or answered in its place.
    """
    since = turn.busy_since or now
    turn = replace(turn, busy_since=since, look_quiet=turn.look_quiet + 1, wake=None, retries=0, unreachable_since=None)
    if now >= since + turn.limits.session_busy_timeout:
        waited = f"the session was busy for {turn.limits.session_busy_timeout.total_seconds():g} s"
        return with_verdict(turn, Reason.SESSION_BUSY, EvidenceKind.COMMAND, waited, now, failure=BUSY)
    pause = doubled(turn.limits.retry_interval, turn.look_quiet - 1, turn.limits.look_interval)
    return replace(turn, look_due=min(now + pause, since + turn.limits.session_busy_timeout))


def _reached(turn: Turn, now: datetime) -> Turn:
    return replace(turn, unreachable_since=None, unreachable=None, overloaded_at=None, retries=0, looked_at=now)


def _seen(turn: Turn, seen: Seen, now: datetime) -> Turn:
    before = turn.seen
    moved = before is None or before.fingerprint != seen.fingerprint
    if before is not None and before.standing is Standing.WAITING and seen.standing is not Standing.WAITING:
        # An answered question is progress too, though the provider may store nothing of it.
        moved = True
    turn = replace(
        turn,
        delivery=Delivery.ACCEPTED,
        accepted_at=turn.accepted_at or now,
        seen=seen,
        progress_at=now if moved else turn.progress_at,
        look_quiet=0 if moved and not turn.looks_grow else turn.look_quiet + 1,
    )
    match seen.standing:
        case Standing.RUNNING | Standing.WAITING:
            return replace(seen_at_work(turn), suspicion=None, look_due=now + _look_pause(turn))
        case Standing.UNSTARTED | Standing.HALTED:
            return _nothing_runs(turn, seen, now)
        case Standing.REFUSED if turn.stop is not None and turn.stop.aborts:
            # An abort rejects what the session still asks for, and a late one may find the run asking again.
            return _stop_confirmed(turn, turn.stop, seen.detail, now)
        case Standing.ABORTED if turn.stop is not None:
            return _stop_confirmed(turn, turn.stop, seen.detail, now)
        case (
            Standing.SUCCEEDED
            | Standing.TRUNCATED
            | Standing.REFUSED
            | Standing.ABSORBED
            | Standing.FAILED
            | Standing.ABORTED
        ):
            reason = _CONCLUSIVE[seen.standing]
            return with_verdict(turn, reason, EvidenceKind.SNAPSHOT, seen.detail, now, failure=seen.failure)
        case _:
            assert_never(seen.standing)


def _prompt_missing(turn: Turn, now: datetime, *, busy: bool) -> Turn:
    turn = replace(turn, look_quiet=turn.look_quiet + 1)
    if busy:
        pause = doubled(SUBMIT_LOOK, turn.look_quiet - 1, turn.limits.look_interval_max)
        return replace(turn, suspicion=None, look_due=now + pause)
    turn = _suspecting(turn, None, "", now)
    if turn.submitting or not _agreed(turn):
        return turn  # the prompt may still be on its way
    if turn.stop is not None:
        if turn.stop.aborts and _quiet_since(turn, turn.submit_ended_at, turn.stop.asked_at) >= turn.limits.stop_quiet:
            return _stop_confirmed(turn, turn.stop, "the prompt never appeared in the provider's message list", now)
        return turn
    if turn.delivery is Delivery.ACCEPTED:
        detail = "the prompt was removed from the provider's message list"
        return with_verdict(turn, Reason.PROVIDER_LOST_TURN, EvidenceKind.SNAPSHOT, detail, now, failure=REMOVED)
    if turn.session_error is not None:
        return _rejected(turn, turn.session_error, now)
    if _quiet_since(turn, turn.submit_ended_at) < unless_cut_off(turn, turn.limits.accept_budget, turn.sent_at):
        return turn
    if turn.submits < MAX_SUBMITS:
        # Confirmed absent after the whole budget: the only case in which a prompt is sent a second time.
        return replace(turn, delivery=Delivery.UNSENT, tried_before=False, suspicion=None, look_due=None)
    return _rejected(turn, f"sent {turn.submits} times, never stored", now)


def _rejected(turn: Turn, detail: str, now: datetime) -> Turn:
    failure = Failure(
        code="prompt_rejected",
        fault=Fault.PROVIDER,
        message=detail,
        next_step="Check the agent and model names, and the provider's log.",
    )
    return with_verdict(turn, Reason.PROMPT_REJECTED, EvidenceKind.SNAPSHOT, detail, now, failure=failure)


def _nothing_runs(turn: Turn, seen: Seen, now: datetime) -> Turn:
    turn = _suspecting(turn, seen.standing, seen.fingerprint, now)
    if not _agreed(turn):
        return turn
    halted = seen.standing is Standing.HALTED
    if turn.stop is not None:
        # A run may still begin after its abort was lost: an unstarted prompt has to stay so for a while.
        if turn.stop.aborts and (halted or _quiet_since(turn, turn.stop.asked_at) >= turn.limits.stop_quiet):
            return _stop_confirmed(turn, turn.stop, seen.detail, now)
        return turn
    if halted:
        return with_verdict(turn, Reason.PROVIDER_LOST_TURN, EvidenceKind.SNAPSHOT, seen.detail, now, failure=LOST)
    if turn.session_error is not None:
        failure = Failure(
            code="provider_error",
            fault=Fault.PROVIDER,
            message=turn.session_error,
            next_step="Check the model's name and the provider's configuration.",
        )
        return with_verdict(turn, Reason.PROVIDER_ERROR, EvidenceKind.SNAPSHOT, seen.detail, now, failure=failure)
    if turn.submitting and turn.recovers:
        return turn
    if _quiet_since(turn, turn.accepted_at) < unless_cut_off(turn, turn.limits.start_budget, turn.sent_at):
        return turn
    if turn.recovers and 0 < turn.submits < MAX_SUBMITS:
        # Not what somebody else sent. Whoever delivers it finds out whether it runs after all, and then sends nothing.
        again = replace(turn, delivery=Delivery.UNSENT, dropped=True, tried_before=True)
        return replace(again, accepted_at=None, suspicion=None, look_due=None)
    return with_verdict(turn, Reason.PROMPT_DROPPED, EvidenceKind.SNAPSHOT, seen.detail, now, failure=DROPPED)


def _suspecting(turn: Turn, what: Standing | None, fingerprint: str, now: datetime) -> Turn:
    """Nothing seems to run: go on with the suspicion so far if this reading agrees with it, else begin one."""
    suspicion = turn.suspicion
    if suspicion is None or suspicion.what is not what or suspicion.fingerprint != fingerprint:
        suspicion = Suspicion(what, fingerprint, now)
    if turn.stop is not None:
        pause = _look_pause(turn)
    elif what is None:
        pause = SUBMIT_LOOK
    else:
        pause = _confirm_delay(turn, what)
    return replace(turn, suspicion=suspicion, look_due=now + pause)


def _agreed(turn: Turn) -> bool:
    """Was this reading begun long enough after the one that first said so?"""
    suspicion = turn.suspicion
    return suspicion is not None and _quiet_since(turn, suspicion.since) >= _confirm_delay(turn, suspicion.what)


def _confirm_delay(turn: Turn, what: Standing | None) -> timedelta:
    # Only of a run that had begun: a prompt may need 1.25 s to be stored, and may be on its way by another connection.
    return confirm_delay(turn) if what is Standing.HALTED else turn.limits.confirm_delay


def _quiet_since(turn: Turn, *moments: datetime | None) -> timedelta:
    """From the latest of `moments` to the begin of this reading: how old it is when it is learnt counts for nothing."""
    begun = turn.look_begun_at or turn.started_at
    return begun - max(moment for moment in (turn.started_at, *moments) if moment is not None)


def _look_pause(turn: Turn) -> timedelta:
    if turn.stop is not None:
        return ABORT_SETTLE if turn.stop.aborts <= 1 else turn.limits.abort_interval
    times = max(0, turn.look_quiet - 1) if turn.looks_grow else turn.look_quiet
    if turn.events_away:
        times = max(0, turn.look_quiet - LOOKS_WITHOUT_EVENTS)
    return doubled(turn.limits.look_interval, times, turn.limits.look_interval_max)


def doubled(first: timedelta, times: int, most: timedelta) -> timedelta:
    """`first`, doubled `times` times, at most `most`."""
    return min(first * (1 << min(times, 16)), most)


def _stop_confirmed(turn: Turn, stop: Stop, detail: str, now: datetime) -> Turn:
    reason = STOP_REASONS[stop.cause]
    failure = stop_failure(stop)
    return with_verdict(turn, reason, EvidenceKind.SNAPSHOT, detail, now, failure=failure, confirmed=True)
