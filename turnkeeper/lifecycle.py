"""The rules of a turn. Pure: no Temporal, no I/O, no clock of its own.

The theory, in five sentences:

1. A turn is a frozen value (`turn.py`). `learn(turn, fact, now)` gives the next value; `decide(turn, now)` says what
   to do next. Nothing else changes a turn, and a decision is a value that somebody else performs.
2. Events wake, snapshots decide: an event can only make the turn look. What a look returns (an observation, weighed
   in `readings.py`) settles the turn, or a clock of ours does, never an event. The relay may have looked already: what
   it read as the session became idle counts, if it is this prompt's end.
3. Unknown is not empty: `Unreachable` ends nothing before `unreachable_timeout`; only a confirmed `NotThere` counts,
   and "nothing runs" counts only when two readings agree, because a provider is idle for a moment before it starts,
   between two writes, and before its last word is stored.
4. A prompt is sent only while it is certain that the provider does not have it, or has it stored and never ran it,
   and never once a stop was asked (`delivery.py`).
5. A stop is a bounded machine: abort, look, abort again while anything may still start, and at the latest after
   `interrupt_grace` say `unconfirmed` (`stopping.py`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final, assert_never

from turnkeeper import delivery, overload, replies, requests, steering
from turnkeeper.limits import TurnLimits, in_words
from turnkeeper.messages import PermissionRule
from turnkeeper.observations import Observation, ProviderEvent, Seen
from turnkeeper.outcomes import outcome_of
from turnkeeper.readings import observed
from turnkeeper.stopping import decide_stopping, halted, heard, learn_of_stop
from turnkeeper.turn import (
    AbortReported,
    AnswerGiven,
    AnswerRefused,
    Decision,
    Delivery,
    Dismiss,
    Dismissed,
    EventsArrived,
    Fact,
    GiveUp,
    IllegalTransitionError,
    Look,
    LookAsked,
    LookStarted,
    Observed,
    OpenSession,
    ReadingTold,
    ReplyReported,
    ReplyStarted,
    SessionReported,
    Settle,
    Settled,
    SteerAsked,
    SteerReported,
    SteerStarted,
    StopAsked,
    StopCause,
    StopGivenUp,
    Submit,
    SubmitReported,
    SubmitStarted,
    Turn,
    Wait,
)
from turnkeeper.vocabulary import ENDED, EventKind, EvidenceKind, Reason, Standing, TurnState, Wake

TERMINAL: Final = frozenset({TurnState.COMPLETED, TurnState.INTERRUPTED, TurnState.ERROR})


def begin(  # noqa: PLR0913 - what a turn may begin with, by keyword
    limits: TurnLimits,
    now: datetime,
    *,
    resume: bool,
    session_open: bool = False,
    tried_before: bool = False,
    looks_grow: bool = False,
    recovers: bool = False,
    gap_decides: bool = False,
    bound: bool = False,
    permissions: tuple[PermissionRule, ...] = (),
) -> Turn:
    """A turn that nobody has worked on.

    `resume`: the provider session was used before; `session_open`: it was just opened; `bound`: no other will do;
    `tried_before`: whoever began the turn was lost, and nobody knows what became of the prompt; `looks_grow`: looks by
    the clock become ever rarer; `recovers`: a prompt that the provider stored and never ran is sent again;
    `gap_decides`: what the provider had when it was away is soon believed lost.
    """
    return Turn(
        limits=limits,
        permissions=permissions,
        started_at=now,
        progress_at=now,
        resume=resume,
        session_open=session_open,
        tried_before=tried_before,
        looks_grow=looks_grow,
        recovers=recovers,
        gap_decides=gap_decides,
        bound=bound,
    )


def adopted(turn: Turn, now: datetime) -> Turn:
    """`turn`, just begun, for a prompt that somebody else sent: it is at the provider, to be followed from here on."""
    turn = replace(turn, resume=True, session_open=True, bound=True)
    return replace(turn, delivery=Delivery.ACCEPTED, sent_at=now, accepted_at=now, look_due=now)


def state_of(turn: Turn) -> TurnState:
    """The state that a person sees."""
    if turn.outcome is not None:
        return turn.outcome.state
    return TurnState.WAITING if requests.waits_for_person(turn) else TurnState.RUNNING


def deadline_of(turn: Turn) -> datetime:
    """When the turn is ended whatever it does; a stop's grace comes on top."""
    return turn.started_at + turn.limits.deadline


# --- learn: facts change a turn -----------------------------------------------------------------------------------


def learn(turn: Turn, fact: Fact, now: datetime) -> Turn:
    """The turn after `fact` became known at `now`. A settled turn absorbs everything, one with a verdict all but that.

    What it never absorbs is that a person wants it stopped.

    Raises:
        IllegalTransitionError: the fact contradicts the turn (submitting twice, settling as running).

    """
    turn = heard(turn, fact)
    if turn.outcome is not None or (turn.verdict is not None and not isinstance(fact, Settled | Dismissed)):
        return turn
    match fact:
        case SessionReported() | SubmitStarted() | SubmitReported():
            return delivery.learn(turn, fact, now)
        case LookStarted():
            looking = turn.wake or (Wake.STOP if turn.stop is not None else Wake.TIMER)
            return replace(turn, looking=looking, wake=None, looks=turn.looks + 1, look_begun_at=now)
        case Observed(observation):
            return _observed(turn, observation, now)
        case ReadingTold(seen):
            return _told(turn, seen, now)
        case EventsArrived() | LookAsked():
            return _woken(turn, fact, now)
        case StopAsked() | StopGivenUp() | AbortReported():
            return learn_of_stop(turn, fact, now)
        case SteerAsked() | SteerStarted() | SteerReported():
            return steering.learn(turn, fact, now)
        case AnswerGiven() | AnswerRefused() | ReplyStarted() | ReplyReported() | Dismissed():
            return replies.learn(turn, fact, now)
        case Settled(outcome):
            if outcome.state not in TERMINAL:
                raise IllegalTransitionError(f"settled as {outcome.state}")
            return replace(turn, outcome=outcome)
        case _:
            assert_never(fact)


def _observed(turn: Turn, observation: Observation, now: datetime) -> Turn:
    return steering.noticed(requests.noticed(observed(turn, observation, now), observation, now), observation, now)


def _told(turn: Turn, seen: Seen, now: datetime) -> Turn:
    """The end of the prompt's run, read by the relay. It counts where no look could find anything else.

    Not during a stop, which is confirmed by its own readings; nor where a further prompt went into the turn, of which
    the relay does not know; nor while an answer is on its way, which a settled turn would not hear of any more. The
    event that it came with makes the turn look all the same.
    """
    under_way = turn.delivery is Delivery.UNSENT or steering.sent_ids(turn) or replies.on_its_way(turn)
    if turn.stop is not None or under_way or seen.standing not in ENDED:
        return turn
    return _observed(replace(turn, looking=Wake.EVENT, wake=None, looks=turn.looks + 1, look_begun_at=now), seen, now)


def _woken(turn: Turn, fact: EventsArrived | LookAsked, now: datetime) -> Turn:
    if isinstance(fact, LookAsked):
        return _at_once(turn, Wake.ASKED, now)
    for event in fact.events:
        turn = replace(_event(turn, event, now), events_seen=turn.events_seen + event.count)
    return turn


def _at_once(turn: Turn, wake: Wake, now: datetime) -> Turn:
    """The next look, or the next try of whatever is unanswered, is due."""
    if turn.delivery is Delivery.UNSENT:
        return replace(turn, look_due=None if turn.look_due is None else now)
    return replace(turn, wake=turn.wake or wake)


def _event(turn: Turn, event: ProviderEvent, now: datetime) -> Turn:
    if event.cut_off and turn.recovers:
        turn = replace(turn, gap_at=event.at or now)
    match event.kind:
        case EventKind.PROGRESS:
            return replace(turn, progress_at=now)
        case EventKind.TOOL:
            return replace(turn, progress_at=now, wake=Wake.EVENT)
        case EventKind.BUSY:
            return turn
        case EventKind.SESSION_ERROR | EventKind.IDLE | EventKind.RETRYING | EventKind.SESSION_DELETED if event.child:
            # A child's end is the parent's tool result: the parent goes on, and its own events follow.
            return turn
        case EventKind.SESSION_ERROR:
            return replace(turn, session_error=_own_error(turn, event), wake=Wake.EVENT)
        case EventKind.IDLE | EventKind.RETRYING | EventKind.SESSION_DELETED:
            return replace(turn, wake=Wake.EVENT)
        case EventKind.REQUEST_OPENED | EventKind.REQUEST_CLOSED:
            return replace(turn, wake=Wake.EVENT)
        case EventKind.ATTACHED if turn.recovers:
            return _at_once(replace(turn, events_away=False), Wake.ATTACH, now)
        case EventKind.ATTACHED:
            return replace(turn, wake=turn.wake or Wake.ATTACH)
        case EventKind.DETACHED:
            return _unheard(turn, now)
        case _:
            assert_never(event.kind)


def _unheard(turn: Turn, now: datetime) -> Turn:
    """No event will tell of the end: looks come by the short interval, from now on."""
    if not turn.recovers or turn.events_away:
        return turn
    turn = replace(turn, events_away=True, look_quiet=0)
    if turn.look_due is None or turn.delivery is Delivery.UNSENT or turn.stop is not None:
        return turn
    return replace(turn, look_due=min(turn.look_due, now + turn.limits.look_interval))


def _own_error(turn: Turn, event: ProviderEvent) -> str | None:
    """The error to blame: an event names no prompt, so one from before ours left can only be an earlier turn's."""
    earlier = turn.sent_at is None or (event.at is not None and event.at < turn.sent_at)
    return turn.session_error if earlier else event.detail


# --- decide: what to do next --------------------------------------------------------------------------------------


def decide(turn: Turn, now: datetime) -> Decision:
    """What to do about `turn` at `now`.

    Raises:
        IllegalTransitionError: the turn is settled; nobody may work on it.

    """
    if turn.outcome is not None:
        raise IllegalTransitionError("nothing is to be decided about a settled turn")
    if turn.verdict is not None:
        left = requests.left_open(turn)
        return Dismiss(left) if left else Settle(turn.verdict)
    if turn.stop is not None:
        return decide_stopping(turn, turn.stop, now)
    if now >= deadline_of(turn):
        return GiveUp(StopCause.DEADLINE, f"{in_words(turn.limits.deadline)} after its start")
    if (given_up_at := overload.gives_up_at(turn)) is not None and now >= given_up_at:
        return _provider_unreachable(turn, now)
    if turn.delivery is Delivery.UNSENT:
        return _decide_delivery(turn, now)
    return _decide_running(turn, now)


def _decide_delivery(turn: Turn, now: datetime) -> Decision:
    busy = turn.busy_since is not None and turn.unreachable_since is None
    if turn.look_due is not None and now < turn.look_due and not (busy and turn.wake is not None):
        what = "the session to end what is not this turn's" if busy else "the provider to answer"
        if overload.overloaded(turn):
            what = _answer(turn)  # what it says is why nothing happens
        return _wait(turn, what, turn.look_due)
    return Submit(anew=turn.dropped) if turn.session_open else OpenSession(resume=turn.resume, again=turn.retries > 0)


def _decide_running(turn: Turn, now: datetime) -> Decision:
    if (reply := replies.due_reply(turn, now)) is not None:
        return reply
    if (steer := steering.due(turn)) is not None:
        return steer
    if turn.wake is not None and not overload.left_alone(turn, now):
        return Look(turn.wake)
    if turn.look_due is None or now >= turn.look_due:
        return Look(Wake.TIMER)
    stalled_at = _stalled_at(turn)
    if stalled_at is None or now < stalled_at:
        return _wait(turn, _waiting_for(turn), turn.look_due, stalled_at, replies.next_reply_at(turn))
    if turn.looked_at is None or turn.looked_at < stalled_at:
        return Look(Wake.TIMER)
    return GiveUp(StopCause.STALLED, f"nothing new since {turn.progress_at:%H:%M:%S} UTC")


def _stalled_at(turn: Turn) -> datetime | None:
    """When silence becomes a stall; None while there is a reason for silence that is not the provider's."""
    seen = turn.seen
    if turn.unreachable_since is not None or seen is None or requests.waits_for_person(turn):
        return None
    if seen.standing not in {Standing.RUNNING, Standing.WAITING}:
        return None
    allowed = turn.limits.tool_stall_timeout if seen.open_tools else turn.limits.stall_timeout
    since = turn.progress_at if seen.retry_at is None else max(turn.progress_at, seen.retry_at)
    return since + allowed


def _waiting_for(turn: Turn) -> str:
    if halted(turn.suspicion):
        return "a second reading: nothing seems to run"
    if turn.suspicion is not None:
        return "the provider to begin"
    seen = turn.seen
    if turn.unreachable_since is not None:
        return _answer(turn)
    if seen is None:
        return "the provider, which was given the prompt"  # it may be at work: nobody has looked yet
    if requests.waits_for_person(turn):
        return f"a person: {len(requests.open_requests(turn))} open"
    if seen.retry_at is not None:
        return f"the provider's own retry at {seen.retry_at:%H:%M:%S} UTC"
    return "a tool" if seen.open_tools else "the provider"


def _answer(turn: Turn) -> str:
    why = f" ({turn.unreachable.message})" if turn.unreachable is not None else ""
    return f"the provider to answer{why}"


def _wait(turn: Turn, reason: str, *until: datetime | None) -> Wait:
    ends = [moment for moment in until if moment is not None]
    if (given_up_at := overload.gives_up_at(turn)) is not None:
        ends.append(given_up_at)
    return Wait(min(*ends, deadline_of(turn)), reason)


def _provider_unreachable(turn: Turn, now: datetime) -> Settle:
    unsent = turn.delivery is Delivery.UNSENT and not turn.tried_before
    sent = "the prompt was not sent" if unsent else "the agent may still be at work"
    since = turn.unreachable_since or now
    said = 'nothing but "later"' if overload.overloaded(turn) else "no answer"
    detail = f"{said} for {(now - since).total_seconds():.0f} s; {sent}"
    reason, kind = Reason.PROVIDER_UNREACHABLE, EvidenceKind.TIMER
    return Settle(outcome_of(turn, reason, kind, detail, now, failure=turn.unreachable))
