"""Which events go to a turn, and when: decisive ones at once, progress rarely. Pure, with the clock passed in.

A signal costs a turn about four history events, and the look that it may cause nine more, so progress (thousands of
tokens) is folded into one event, sent after a while and then ever more rarely. It only has to keep the stall clock
(minutes) and a person's view alive. A decisive event takes the waiting progress along.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from turnkeeper.limits import MAX_BATCH
from turnkeeper.observations import ProviderEvent
from turnkeeper.vocabulary import EventKind

TOOLS_FIRST: Final = 4.0
"""Seconds until a turn's first tool is told of: soon enough for a person who watches, and short turns end before."""

TOKENS_FIRST: Final = 10.0
"""Seconds until tokens alone are told of: they say nothing but that it goes on, and the stall clock counts minutes."""

PROGRESS_LAST: Final = 150.0
"""Seconds between tellings in a long turn: the interval grows up to this. A telling that makes the turn look costs 13
history events, and a long turn shall grow by no more than 6 a minute; less than `look_interval_max`, so that the
clock makes no look beside it."""

GROWTH: Final = 3
"""Each telling waits so many times as long as the one before."""

MAX_WAITING: Final = 10 * MAX_BATCH
"""Events that wait for one turn. A provider that says more than Temporal takes is counted in the last one: each event
only makes the turn look, and it looks once for all of them."""

_QUIET: Final = {EventKind.BUSY: 0, EventKind.PROGRESS: 1, EventKind.TOOL: 2}
"""What is folded, by how much it says: the whole is of the kind that says most. A tool is worth a look, and tokens
count as progress although their step began with `busy`."""


@dataclass(slots=True)
class Heard:
    """A provider event on its way to a turn; the fields are those of `ProviderEvent`.

    Unchecked and cheap, as one is made for every token: a checked record costs as much as all the rest of the way.
    """

    id: str
    kind: EventKind
    session_id: str
    detail: str = ""
    count: int = 1
    cut_off: bool = False
    at: datetime | None = None
    child: bool = False

    def told(self) -> ProviderEvent:
        """As it is told to a turn."""
        return ProviderEvent(
            id=self.id,
            kind=self.kind,
            session_id=self.session_id,
            at=self.at,
            child=self.child,
            count=self.count,
            cut_off=self.cut_off,
            detail=self.detail,
        )


@dataclass(slots=True)
class Mailbox:
    """What waits to be told to one turn."""

    _urgent: list[Heard] = field(default_factory=list)
    _last: Heard | None = None
    """The newest progress that waits; what it stands for follows."""
    _kind: EventKind = EventKind.PROGRESS
    _count: int = 0
    _interval: float = TOOLS_FIRST
    _progress_due: float = 0.0

    def put(self, event: Heard, now: float) -> bool:
        """Take an event at `now` (seconds of a monotonic clock). True: something is due sooner than before."""
        if event.kind in _QUIET:
            return self._fold(event, now)
        sooner = not self._urgent
        if len(self._urgent) < MAX_WAITING:
            self._urgent.append(event)
        else:
            self._urgent[-1] = replace(event, count=self._urgent[-1].count + event.count)
        if _ends_a_turn(event):
            self._interval = TOOLS_FIRST  # the next turn of the session starts afresh
        return sooner

    def _fold(self, event: Heard, now: float) -> bool:
        kind = event.kind
        due = now + (self._interval if kind is EventKind.TOOL else max(self._interval, TOKENS_FIRST))
        first = self._last is None
        self._last = event
        if first:
            self._kind, self._count, self._progress_due = kind, event.count, due
            return not self._urgent
        self._count += event.count
        if _QUIET[kind] > _QUIET[self._kind]:
            self._kind = kind
        if due >= self._progress_due:
            return False
        self._progress_due = due
        return not self._urgent

    @property
    def fresh(self) -> bool:
        """Nothing waits and nothing is remembered: a new mailbox would do as well."""
        return self.due() is None and self._interval == TOOLS_FIRST

    def due(self) -> float | None:
        """When something is to be told: 0 for at once, None for never as things are."""
        if self._urgent:
            return 0.0
        return self._progress_due if self._last is not None else None

    def take(self) -> tuple[ProviderEvent, ...]:
        """Everything that waits, oldest first, at most `MAX_BATCH`."""
        progress: tuple[Heard, ...] = ()
        if self._last is not None:
            if not any(_ends_a_turn(event) for event in self._urgent):
                self._interval = min(self._interval * GROWTH, PROGRESS_LAST)
            progress, self._last = (replace(self._last, kind=self._kind, count=self._count),), None
        urgent, self._urgent = self._urgent[: MAX_BATCH - 1], self._urgent[MAX_BATCH - 1 :]
        return tuple(event.told() for event in (*progress, *urgent))


def _ends_a_turn(event: Heard) -> bool:
    return event.kind is EventKind.IDLE and not event.child
