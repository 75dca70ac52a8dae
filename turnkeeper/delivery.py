"""A prompt on its way to the provider: what is learnt of the session and of each submit. Pure; only `lifecycle` calls.

A prompt goes from not sent over perhaps sent to accepted. It is perhaps sent from the moment that its submit begins,
before anybody could know more; only a report that says so makes it unsent again, and only an unsent prompt is ever
sent. Whether it is there after all is then for looks to say (`readings`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, assert_never

from turnkeeper.observations import (
    Accepted,
    Failure,
    NotSent,
    NotThere,
    PerhapsSent,
    Refused,
    SessionBusy,
    SessionMissing,
    SessionOpened,
    SessionReport,
    SubmitReport,
    Unreachable,
)
from turnkeeper.outcomes import with_verdict
from turnkeeper.readings import session_busy, session_gone, unreachable
from turnkeeper.stopping import perhaps_sent_before
from turnkeeper.turn import (
    Delivery,
    IllegalTransitionError,
    SessionReported,
    SubmitReported,
    SubmitStarted,
    Turn,
)
from turnkeeper.vocabulary import EvidenceKind, Reason, Wake

TAKEN_LOOK: Final = timedelta(seconds=5)
"""A prompt that the provider took without a word is looked for no later than this. It is readable after 1.25 s at
worst and its events make the turn look sooner; a look at once is work for OpenCode when everybody arrives together."""


def learn(turn: Turn, fact: SessionReported | SubmitStarted | SubmitReported, now: datetime) -> Turn:
    """What `lifecycle.learn` leaves to this module."""
    match fact:
        case SessionReported(report):
            return _session_reported(turn, report, now)
        case SubmitStarted():
            return _submit_started(turn, now)
        case SubmitReported(report):
            return _submit_reported(turn, report, now)
        case _:
            assert_never(fact)


def _session_reported(turn: Turn, report: SessionReport, now: datetime) -> Turn:
    match report:
        case SessionOpened():
            turn = replace(turn, session_open=True, look_due=None, retries=0, unreachable_since=None)
            # What woke the turn while the session was busy is about that other run.
            return turn if turn.busy_since is None else replace(turn, busy_since=None, look_quiet=0, wake=None)
        case SessionBusy():
            return session_busy(turn, now)
        case SessionMissing():
            if not turn.resume:
                raise IllegalTransitionError("a session that was to be created was reported missing")
            if turn.bound:
                return session_gone(turn, now)
            fresh = replace(turn, resume=False, context_lost=True, tried_before=False)
            return replace(fresh, look_due=None, retries=0, unreachable_since=None)
        case Refused(failure=failure):
            return _refused(turn, failure, now)
        case Unreachable(failure=failure):
            return unreachable(turn, failure, now)
        case _:
            assert_never(report)


def _submit_started(turn: Turn, now: datetime) -> Turn:
    if turn.delivery is not Delivery.UNSENT or not turn.session_open or turn.stop is not None:
        raise IllegalTransitionError(f"submit while {turn.delivery}, stop asked: {turn.stop is not None}")
    # From here on the prompt may be at the provider, whatever happens to us.
    return replace(turn, delivery=Delivery.PERHAPS_SENT, submitting=True, sent_at=now, submits=turn.submits + 1)


def _submit_reported(turn: Turn, report: SubmitReport, now: datetime) -> Turn:
    if not turn.submitting:
        raise IllegalTransitionError("a submit that was never started was reported")
    # From here on counts how long the prompt stays unseen: it may have left at the very end of the submit.
    turn = replace(turn, submitting=False, submit_ended_at=now, suspicion=None)
    match report:
        case Accepted() | SessionBusy() if turn.dropped:
            # It runs after all, or something else does, and nothing was sent.
            turn = replace(turn, delivery=Delivery.ACCEPTED, accepted_at=now)
            return _delivered(turn, timedelta(0), now)
        case Accepted():
            turn = replace(turn, delivery=Delivery.ACCEPTED, accepted_at=turn.accepted_at or now)
            return _delivered(turn, turn.limits.look_interval, now)
        case PerhapsSent(taken=True):
            return _delivered(turn, min(TAKEN_LOOK, turn.limits.look_interval), now)
        case PerhapsSent():
            return replace(turn, look_due=now, wake=turn.wake or Wake.SUBMIT, unreachable_since=None, retries=0)
        case NotSent() if turn.delivery is Delivery.ACCEPTED:
            return turn  # an earlier submit arrived after all, and a look has seen it
        case NotSent(failure=failure):
            turn = replace(turn, delivery=Delivery.UNSENT, submits=turn.submits - 1)
            return unreachable(perhaps_sent_before(turn, now), failure, now)
        case SessionBusy():
            # Opened anew: that waits until the session is idle. A session that is busy was resumed, not created.
            turn = replace(turn, delivery=Delivery.UNSENT, submits=turn.submits - 1, session_open=not turn.resume)
            return session_busy(perhaps_sent_before(turn, now), now)
        case Refused(failure=failure):
            return _refused(turn, failure, now)
        case NotThere():
            return session_gone(turn, now)
        case _:
            assert_never(report)


def _delivered(turn: Turn, first_look: timedelta, now: datetime) -> Turn:
    look_due = turn.look_due if turn.stop is not None else now + first_look
    return replace(turn, look_due=look_due, progress_at=now, unreachable_since=None, retries=0)


def _refused(turn: Turn, failure: Failure, now: datetime) -> Turn:
    reason, kind = Reason.PROMPT_REJECTED, EvidenceKind.COMMAND
    return with_verdict(turn, reason, kind, failure.message, now, failure=failure)
