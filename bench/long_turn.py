"""What a long turn's history costs by the rules alone: the relay's mailbox and the turn's clocks on a virtual clock.

For hours that no benchmark can wait for. Pure; a few minutes of it are compared with real turns by `bench.history`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from turnkeeper.coalescing import Heard, Mailbox
from turnkeeper.lifecycle import begin, decide, learn
from turnkeeper.limits import TurnLimits
from turnkeeper.observations import PerhapsSent, Seen, SessionOpened
from turnkeeper.turn import (
    EventsArrived,
    Look,
    LookStarted,
    Observed,
    SessionReported,
    SubmitReported,
    SubmitStarted,
    Turn,
    Wait,
)
from turnkeeper.vocabulary import EventKind, Standing

SIGNAL_EVENTS: Final = 4
"""The signal and the three events of the workflow task that handles it."""

LOOK_EVENTS: Final = 7
"""Three of the activity, three of the workflow task that its end makes, and the new timer."""

TIMER_EVENTS: Final = 4
"""A timer that fires, and its workflow task."""

CANCEL_EVENTS: Final = 1
"""Of a timer that is not waited for any more."""

_T0: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Growth:
    """What so many minutes bring: signals, looks, and the history events of both."""

    signals: int
    looks: int
    events: int


def growth(kind: EventKind | None, every: float, minutes: float) -> Growth:
    """Of a turn about which the stream says `kind` each `every` seconds (None: it is silent, a tool is open)."""
    return _LongTurn(kind, every).run(minutes * 60)


class _LongTurn:
    def __init__(self, kind: EventKind | None, every: float) -> None:
        self._kind = kind
        self._every = every
        self._mail = Mailbox()
        self._turn = _delivered()
        self._now = 0.0
        self._said = 0
        self._signals = self._looks = self._events = 0

    def run(self, seconds: float) -> Growth:
        while True:
            self._decide()
            self._now = min(self._timer(), self._next_event(), self._due())
            if self._now >= seconds:
                return Growth(self._signals, self._looks, self._events)
            if self._now >= self._next_event() and self._kind is not None:
                self._said += 1
                self._mail.put(Heard(f"e{self._said}", self._kind, "ses"), self._now)
            if self._now >= self._due():
                self._tell()

    def _decide(self) -> None:
        """Whatever is due now: only looks can be."""
        while isinstance(decision := decide(self._turn, self._at()), Look):
            by_clock = self._turn.wake is None
            self._events += LOOK_EVENTS + (TIMER_EVENTS if by_clock and self._looks else CANCEL_EVENTS)
            self._looks += 1
            seen = Seen(standing=Standing.RUNNING, detail="", fingerprint=f"{self._looks}", open_tools=1)
            self._turn = learn(learn(self._turn, LookStarted(), self._at()), Observed(seen), self._at())
        if not isinstance(decision, Wait):
            raise TypeError(f"a turn at work that decides {decision}")
        self._wait = decision

    def _tell(self) -> None:
        self._signals += 1
        self._events += SIGNAL_EVENTS
        self._turn = learn(self._turn, EventsArrived(self._mail.take()), self._at())

    def _at(self) -> datetime:
        return _T0 + timedelta(seconds=self._now)

    def _timer(self) -> float:
        return (self._wait.until - _T0).total_seconds()

    def _next_event(self) -> float:
        return (self._said + 1) * self._every if self._kind is not None else float("inf")

    def _due(self) -> float:
        due = self._mail.due()
        return float("inf") if due is None else max(due, self._now)


def _delivered() -> Turn:
    """As it is once OpenCode took the prompt."""
    turn = begin(TurnLimits(), _T0, resume=False, looks_grow=True, recovers=True, gap_decides=True)
    opened = SessionReported(SessionOpened(session_id="ses_1", created=True))
    for fact in (opened, SubmitStarted(), SubmitReported(PerhapsSent(taken=True))):
        turn = learn(turn, fact, _T0)
    return turn
