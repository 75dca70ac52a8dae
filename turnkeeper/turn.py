"""A turn as a value: what is known of it, what may be learnt, what may be decided. The rules are in `lifecycle`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from turnkeeper.limits import TurnLimits
from turnkeeper.messages import Outcome, PermissionRule
from turnkeeper.observations import (
    AbortReport,
    Failure,
    Observation,
    OpenRequest,
    ProviderEvent,
    Reply,
    ReplyReport,
    Seen,
    SessionReport,
    SubmitReport,
)
from turnkeeper.vocabulary import AnsweredBy, AnswerState, Reason, Standing, Wake


class IllegalTransitionError(Exception):
    """A fact that cannot be true of a turn in this state: a bug of ours, never of the provider."""


class Delivery(StrEnum):
    """Where the prompt is. Only `UNSENT` is ever sent."""

    UNSENT = "unsent"
    PERHAPS_SENT = "perhaps_sent"
    ACCEPTED = "accepted"


class StopCause(StrEnum):
    """Why a running turn is being ended from our side."""

    ASKED = "asked"
    STALLED = "stalled"
    DEADLINE = "deadline"


STOP_REASONS: Final = {
    StopCause.ASKED: Reason.STOPPED,
    StopCause.STALLED: Reason.STALLED,
    StopCause.DEADLINE: Reason.DEADLINE_EXCEEDED,
}


# Facts: what may be learnt.


@dataclass(frozen=True, slots=True)
class SessionReported:
    report: SessionReport


@dataclass(frozen=True, slots=True)
class SubmitStarted:
    """The prompt is about to leave: from here on it may be at the provider whatever happens to us."""


@dataclass(frozen=True, slots=True)
class SubmitReported:
    report: SubmitReport


@dataclass(frozen=True, slots=True)
class LookStarted:
    """Events that arrive from here on are newer than what this look will say."""


@dataclass(frozen=True, slots=True)
class Observed:
    observation: Observation


@dataclass(frozen=True, slots=True)
class EventsArrived:
    events: tuple[ProviderEvent, ...]


@dataclass(frozen=True, slots=True)
class ReadingTold:
    """The relay read the session of this turn and this prompt, after its idle event."""

    seen: Seen


@dataclass(frozen=True, slots=True)
class LookAsked:
    """Somebody wants to know now: the next look, or the next try of whatever is unanswered, is due at once."""


@dataclass(frozen=True, slots=True)
class StopAsked:
    """`keep`: a stop that the provider does not confirm is given up, and the turn is watched as before."""

    cause: StopCause
    why: str = ""
    keep: bool = False


@dataclass(frozen=True, slots=True)
class StopGivenUp:
    """The stop was not confirmed, and whoever asked for it would rather keep a turn that may still run."""


@dataclass(frozen=True, slots=True)
class AbortReported:
    report: AbortReport


@dataclass(frozen=True, slots=True)
class AnswerGiven:
    """By a person."""

    request_id: str
    reply: Reply


@dataclass(frozen=True, slots=True)
class AnswerRefused:
    """One that was kept as a signal is no answer: nobody waits for the refusal, so the turn remembers it."""

    request_id: str
    failure: Failure


@dataclass(frozen=True, slots=True)
class ReplyStarted:
    """The answer is about to leave."""

    send: SendReply


@dataclass(frozen=True, slots=True)
class ReplyReported:
    request_id: str
    report: ReplyReport


@dataclass(frozen=True, slots=True)
class Dismissed:
    """The provider was asked to close what the turn had left open, and answered or did not."""


@dataclass(frozen=True, slots=True)
class SteerAsked:
    """A prompt shall go into the running turn. `turn_id` is the one it has in its thread."""

    turn_id: str
    message_id: str


@dataclass(frozen=True, slots=True)
class SteerStarted:
    """It is about to leave."""

    turn_id: str


@dataclass(frozen=True, slots=True)
class SteerReported:
    turn_id: str
    report: SubmitReport


@dataclass(frozen=True, slots=True)
class Settled:
    outcome: Outcome


Fact = (
    SessionReported
    | SubmitStarted
    | SubmitReported
    | LookStarted
    | Observed
    | EventsArrived
    | ReadingTold
    | LookAsked
    | StopAsked
    | StopGivenUp
    | AbortReported
    | SteerAsked
    | SteerStarted
    | SteerReported
    | AnswerGiven
    | AnswerRefused
    | ReplyStarted
    | ReplyReported
    | Dismissed
    | Settled
)


# Decisions: what to do next.


@dataclass(frozen=True, slots=True)
class OpenSession:
    """Create the provider session, or resume it. `again`: an earlier try was not answered."""

    resume: bool
    again: bool = False


@dataclass(frozen=True, slots=True)
class Submit:
    """Deliver the prompt, looking for it first. `anew`: it is stored and was never run, so it is taken out before."""

    anew: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    wake: Wake


@dataclass(frozen=True, slots=True)
class Abort:
    """Ask the provider to abort; children too."""


@dataclass(frozen=True, slots=True)
class SendReply:
    """Give the provider the answer to a request."""

    request: OpenRequest
    reply: Reply
    by: AnsweredBy


@dataclass(frozen=True, slots=True)
class SendSteer:
    """Deliver a further prompt into the running turn."""

    turn_id: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """A clock ran out: stop the turn as if somebody had asked."""

    cause: StopCause
    why: str


@dataclass(frozen=True, slots=True)
class GiveUpStop:
    """The grace of a stop that keeps its turn is over: say what went wrong, and go on."""

    why: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before `until`, unless something is learnt. `reason` is for the person who looks at the timer."""

    until: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Dismiss:
    """The end is decided, and the provider may still list these: close them, once."""

    requests: tuple[OpenRequest, ...]


@dataclass(frozen=True, slots=True)
class Settle:
    outcome: Outcome


Decision = OpenSession | Submit | SendSteer | Look | Abort | SendReply | GiveUp | GiveUpStop | Wait | Dismiss | Settle


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop in progress."""

    cause: StopCause
    why: str
    asked_at: datetime
    aborts: int = 0
    aborted_at: datetime | None = None
    keep: bool = False
    failure: str | None = None


class SteerStep(StrEnum):
    """How far a steer has come."""

    ASKED = "asked"
    SENDING = "sending"
    SENT = "sent"  # or perhaps sent; not yet seen stored
    STORED = "stored"


@dataclass(frozen=True, slots=True)
class Steer:
    """A prompt for the running turn, under a message id of its own."""

    turn_id: str
    message_id: str
    after_look: int  # a later reading than this one has to show the turn at work
    step: SteerStep = SteerStep.ASKED
    sent_at: datetime | None = None
    stored_at: datetime | None = None
    answered: bool = False


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Nothing seems to run. Becomes a verdict only when a later reading says the same."""

    what: Standing | None  # None: the prompt is not in the message list
    fingerprint: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Given:
    """The answer that counts."""

    reply: Reply
    by: AnsweredBy
    at: datetime
    tries: int = 0
    retry_at: datetime | None = None
    sending: bool = False  # a try was not reported (yet)
    perhaps_taken: bool = False  # a try was not answered
    ended: AnswerState | None = None  # None: the provider has not said yet
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that a reading showed. `open`: the latest one still did."""

    request: OpenRequest
    open: bool
    given: Given | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What is known about a turn."""

    limits: TurnLimits
    permissions: tuple[PermissionRule, ...] = ()
    started_at: datetime
    resume: bool = False
    recovers: bool = False  # sends again what was stored and never run; minds gaps of what it is told
    gap_decides: bool = False  # a gap makes the second reading come sooner, and gives steers back
    tried_before: bool = False  # by a try that was lost, and that may have sent the prompt into the known session
    dropped: bool = False  # the provider stored the prompt and did not run it; it is sent anew
    bound: bool = False  # to that very session: without it the prompt makes no sense, so none is begun afresh
    session_open: bool = False
    context_lost: bool = False
    delivery: Delivery = Delivery.UNSENT
    submits: int = 0
    submitting: bool = False
    sent_at: datetime | None = None
    submit_ended_at: datetime | None = None
    accepted_at: datetime | None = None
    retries: int = 0
    unreachable_since: datetime | None = None
    gap_at: datetime | None = None  # the provider was away, or cut off what it had begun, up to then
    overloaded_at: datetime | None = None  # when it said "later" last, since it was last reached
    busy_since: datetime | None = None
    unreachable: Failure | None = None
    seen: Seen | None = None
    suspicion: Suspicion | None = None
    progress_at: datetime
    look_due: datetime | None = None
    looks_grow: bool = False  # the pause after a look grows though the provider moved on; events tell of what matters
    events_away: bool = False  # the relay said that it has none to tell for now
    look_quiet: int = 0
    look_begun_at: datetime | None = None
    looked_at: datetime | None = None
    looks: int = 0
    answers: int = 0  # looks, and before there can be any tries to deliver, whatever came of them
    wake: Wake | None = None
    looking: Wake = Wake.TIMER
    events_seen: int = 0
    session_error: str | None = None
    steers: tuple[Steer, ...] = ()
    requests: tuple[Asked, ...] = ()
    refused_answers: tuple[AnswerRefused, ...] = ()
    stop: Stop | None = None
    stop_wanted: bool = False  # somebody asked to stop it, if only after its end was decided: nothing follows by itself
    verdict: Outcome | None = None
    dismissed: bool = False
    outcome: Outcome | None = None
