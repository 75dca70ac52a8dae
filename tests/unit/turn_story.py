"""A turn told step by step: what was learnt, how long it took, what is decided then."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

from tests.unit.scripted_turn import SILENT, T0, event, seconds, seen
from turnkeeper.lifecycle import begin, decide, learn
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import Outcome
from turnkeeper.observations import (
    AbortReport,
    Accepted,
    NotSent,
    NotThere,
    Observation,
    PerhapsSent,
    SessionOpened,
    Unreachable,
)
from turnkeeper.turn import (
    AbortReported,
    Decision,
    Dismiss,
    Dismissed,
    Fact,
    GiveUp,
    LookStarted,
    Observed,
    SessionReported,
    Settle,
    StopAsked,
    StopCause,
    SubmitReported,
    SubmitStarted,
    Turn,
    Wait,
)
from turnkeeper.vocabulary import EventKind, Standing

OPENED: Final = SessionReported(SessionOpened(session_id="ses_1"))
ACCEPTED: Final = SubmitReported(Accepted())
STOP: Final = StopAsked(StopCause.ASKED)
ABORTED: Final = AbortReported(AbortReport(sent=True))
NO_ANSWER: Final = Unreachable(failure=SILENT)
NO_PROMPT: Final = NotThere(what="prompt")
NO_SESSION: Final = NotThere(what="session")
NOT_SENT: Final = SubmitReported(NotSent(failure=SILENT))
TAKEN: Final = SubmitReported(PerhapsSent(taken=True))
PERHAPS_SENT: Final = SubmitReported(PerhapsSent())
RUNNING: Final = seen(Standing.RUNNING)
WAITING: Final = seen(Standing.WAITING)
UNSTARTED: Final = seen(Standing.UNSTARTED)


@dataclass
class Story:
    """The clock moves by `after` alone."""

    turn: Turn
    now: datetime = T0

    def after(self, pause: float) -> Self:
        self.now += seconds(pause)
        return self

    def learns(self, *facts: Fact) -> Self:
        for fact in facts:
            self.turn = learn(self.turn, fact, self.now)
        return self

    def hears(self, kind: EventKind, **more: Any) -> Self:  # noqa: ANN401 - as `event` takes them
        return self.learns(event(kind, **more))

    def looks(self, observation: Observation) -> Self:
        return self.learns(LookStarted(), Observed(observation))

    @property
    def decision(self) -> Decision:
        return decide(self.turn, self.now)

    @property
    def waits(self) -> float:
        """For how many seconds it waits, if nothing happens."""
        decision = self.decision
        assert isinstance(decision, Wait), decision
        return (decision.until - self.now).total_seconds()

    @property
    def outcome(self) -> Outcome:
        """How it ends now."""
        decision = self.decision
        if isinstance(decision, Dismiss):  # what it had asked is closed first
            decision = decide(learn(self.turn, Dismissed(), self.now), self.now)
        assert isinstance(decision, Settle), decision
        return decision.outcome

    @property
    def is_open(self) -> bool:
        """No end was decided."""
        return not isinstance(self.decision, Settle | Dismiss | GiveUp)


def fresh(limits: TurnLimits | None = None, *, resume: bool = False, recovers: bool = True) -> Story:
    """Nobody has worked on it. `recovers`: all turns do but those that were begun long ago."""
    return Story(begin(limits or TurnLimits(), T0, resume=resume, recovers=recovers, gap_decides=recovers))


def submitting(limits: TurnLimits | None = None) -> Story:
    """The prompt is on its way."""
    return fresh(limits).learns(OPENED, SubmitStarted())


def accepted(limits: TurnLimits | None = None) -> Story:
    """The prompt is in the provider's message list."""
    return submitting(limits).learns(ACCEPTED)


def running(limits: TurnLimits | None = None) -> Story:
    """Seen at work, five seconds after it was accepted."""
    return accepted(limits).after(5).looks(RUNNING)
