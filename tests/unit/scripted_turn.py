"""A turn performed on a virtual clock, against a provider that exists on paper only.

`Play` does what the `Turn` workflow does (perform each decision, learn whatever arrives meanwhile), without Temporal
and without waiting. The providers themselves are in `paper_providers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count, cycle
from typing import Any, Final, Protocol

from turnkeeper.lifecycle import decide, learn
from turnkeeper.messages import Outcome
from turnkeeper.observations import (
    AbortReport,
    Failure,
    Observation,
    ProviderEvent,
    ReplyReport,
    Seen,
    SessionReport,
    SubmitReport,
)
from turnkeeper.turn import (
    Abort,
    AbortReported,
    Decision,
    Dismiss,
    Dismissed,
    EventsArrived,
    Fact,
    GiveUp,
    GiveUpStop,
    Look,
    LookStarted,
    Observed,
    OpenSession,
    ReadingTold,
    ReplyReported,
    ReplyStarted,
    SendReply,
    SessionReported,
    Settle,
    Settled,
    StopAsked,
    StopGivenUp,
    Submit,
    SubmitReported,
    SubmitStarted,
    Turn,
    Wait,
)
from turnkeeper.vocabulary import EventKind, Fault, Standing

T0: Final = datetime(2026, 1, 1, tzinfo=UTC)
SILENT: Final = Failure(code="provider_unreachable", fault=Fault.PROVIDER, message="no answer", retryable=True)


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def event(kind: EventKind, **more: Any) -> EventsArrived:  # noqa: ANN401 - as the model takes them
    """One provider event, as a fact; `at` is when it was said, if that is known."""
    return EventsArrived((ProviderEvent(id="e", kind=kind, **more),))


def seen(standing: Standing, fingerprint: str = "", *, tools: int = 0, retry_at: datetime | None = None) -> Seen:
    """A reading of the provider in which the prompt is stored."""
    return Seen(
        standing=standing, detail=f"it is {standing}", fingerprint=fingerprint, open_tools=tools, retry_at=retry_at
    )


class Provider(Protocol):
    """What a turn asks of a provider. `at` is when the request arrives there."""

    def open(self, *, resume: bool, at: datetime) -> SessionReport: ...

    def submit(self, at: datetime, *, anew: bool) -> SubmitReport: ...

    def look(self, at: datetime) -> Observation: ...

    def abort(self, at: datetime) -> AbortReport: ...

    def reply(self, at: datetime) -> ReplyReport: ...


@dataclass
class Play:
    """One turn, played to its end. `inputs` are what the outside says and when: events and stops.

    `ages`: how long before it told of an idle session the relay had read it, one after the other; without any it only
    tells. It tells of whatever it read: only ends may count.
    """

    turn: Turn
    provider: Provider
    inputs: Sequence[tuple[timedelta, Fact]] = ()
    call_times: Sequence[timedelta] = (timedelta(0),)
    submit_time: timedelta = timedelta(0)
    ages: Sequence[timedelta] = ()
    patience: int = 20_000
    now: datetime = T0
    decisions: list[tuple[datetime, Turn, Decision]] = field(default_factory=list)
    log: list[tuple[datetime, Decision | Fact]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._order = count()
        self._call_time = cycle(self.call_times)
        self._age = cycle(self.ages)
        self._coming = sorted((T0 + after, next(self._order), fact) for after, fact in self.inputs)

    def run(self) -> Outcome:
        """Perform decisions until the turn is settled."""
        for _ in range(self.patience):
            if self.turn.outcome is not None:
                return self.turn.outcome
            self._step()
        raise AssertionError(f"no end after {self.patience} decisions, {self.now - T0} after the start")

    def times(self, kind: type[Decision]) -> int:
        """How often one kind of decision was made."""
        return sum(isinstance(decision, kind) for _, _, decision in self.decisions)

    def _step(self) -> None:
        decision = decide(self.turn, self.now)
        self.decisions.append((self.now, self.turn, decision))
        self.log.append((self.now, decision))
        match decision:
            case Dismiss():
                self._learn(Dismissed())
            case Settle(outcome):
                self._learn(Settled(outcome))
            case GiveUp(cause, why):
                self._learn(StopAsked(cause, why))
            case GiveUpStop():
                self._learn(StopGivenUp())
            case Wait(until):
                self._sleep(until)
            case OpenSession(resume):
                report = self.provider.open(resume=resume, at=self.now)
                self._call(SessionReported(report))
            case Submit(anew=anew):
                self._submit(anew=anew)
            case Look():
                self._learn(LookStarted())
                self._call(Observed(self.provider.look(self.now)))
            case Abort():
                self._call(AbortReported(self.provider.abort(self.now)))
            case SendReply(request=request):
                self._learn(ReplyStarted(decision))
                self._call(ReplyReported(request.request_id, self.provider.reply(self.now)))

    def _submit(self, *, anew: bool) -> None:
        """The only call that other decisions may overtake: neither a stop nor an event waits for it."""
        self._learn(SubmitStarted())
        report = SubmitReported(self.provider.submit(self.now, anew=anew))
        self._coming = sorted([*self._coming, (self.now + self.submit_time, next(self._order), report)])
        while self.turn.submitting and not (self.turn.stop or self.turn.wake or self.turn.verdict):
            self._sleep(self._coming[0][0])

    def _sleep(self, until: datetime) -> None:
        """Let time pass until `until` or the first thing that comes in."""
        if self._coming and self._coming[0][0] <= until:
            self.now, _, fact = self._coming.pop(0)
            self._learn(fact)
            self._learn_what_was_read(fact)
        else:
            self.now = until

    def _call(self, answer: Fact) -> None:
        """Let the call's time pass, then learn its answer.

        As in the workflow, a call is abandoned when a stop comes in, and one made for a stop when its grace is over.
        """
        end = self.now + next(self._call_time)
        stopping = self.turn.stop
        limit = end if stopping is None else min(end, stopping.asked_at + self.turn.limits.interrupt_grace)
        while self._coming and self._coming[0][0] <= limit:
            self._sleep(limit)
            if stopping is None and self.turn.stop is not None:
                return
        self.now = limit
        if limit == end:
            self._learn(answer)

    def _learn_what_was_read(self, fact: Fact) -> None:
        """With the end of a run, unless the turn is looking itself."""
        if not (self.ages and isinstance(fact, EventsArrived)) or isinstance(self.decisions[-1][2], Look):
            return
        last = fact.events[-1]
        if last.kind is EventKind.IDLE and not (last.child or last.cut_off):
            reading = self.provider.look(self.now - next(self._age))
            if isinstance(reading, Seen):
                self._learn(ReadingTold(reading))

    def _learn(self, fact: Fact) -> None:
        self.log.append((self.now, fact))
        self.turn = learn(self.turn, fact, self.now)
