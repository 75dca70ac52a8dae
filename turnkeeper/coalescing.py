"""Which events go to a turn, and when: decisive ones at once, progress rarely. Pure, with the clock passed in.

A signal costs a turn about four history events, and the look that it may cause nine more, so progress (thousands of
tokens) is folded into one event, sent after a while and then ever more rarely. It only has to keep the stall clock
(minutes) and a person's view alive. A decisive event takes the waiting progress along.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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

_QUIET: Final = frozenset({EventKind.PROGRESS, EventKind.TOOL, EventKind.BUSY})


@dataclass
class Mailbox:
    """What waits to be told to one turn."""

    _urgent: list[ProviderEvent] = field(default_factory=list)
    _progress: ProviderEvent | None = None
    _interval: float = TOOLS_FIRST
    _progress_due: float = 0.0

    def put(self, event: ProviderEvent, now: float) -> None:
        """Take an event at `now` (seconds of a monotonic clock)."""
        if event.kind not in _QUIET:
            if len(self._urgent) < MAX_WAITING:
                self._urgent.append(event)
            else:
                self._urgent[-1] = event.model_copy(update={"count": self._urgent[-1].count + event.count})
            if _ends_a_turn(event):
                self._interval = TOOLS_FIRST  # the next turn of the session starts afresh
        else:
            self._fold(event, now)

    def _fold(self, event: ProviderEvent, now: float) -> None:
        tool = event.kind is EventKind.TOOL
        due = now + (self._interval if tool else max(self._interval, TOKENS_FIRST))
        if self._progress is None:
            self._progress, self._progress_due = event, due
            return
        self._progress_due = min(self._progress_due, due)
        update: dict[str, object] = {"count": self._progress.count + event.count, "id": event.id, "at": event.at}
        if tool:
            update["kind"] = event.kind  # the whole of it is then worth a look
        self._progress = self._progress.model_copy(update=update)

    @property
    def fresh(self) -> bool:
        """Nothing waits and nothing is remembered: a new mailbox would do as well."""
        return self.due() is None and self._interval == TOOLS_FIRST

    def due(self) -> float | None:
        """When something is to be told: 0 for at once, None for never as things are."""
        if self._urgent:
            return 0.0
        return self._progress_due if self._progress is not None else None

    def take(self) -> tuple[ProviderEvent, ...]:
        """Everything that waits, oldest first, at most `MAX_BATCH`."""
        progress: tuple[ProviderEvent, ...] = ()
        if self._progress is not None:
            if not any(_ends_a_turn(event) for event in self._urgent):
                self._interval = min(self._interval * GROWTH, PROGRESS_LAST)
            progress, self._progress = (self._progress,), None
        urgent, self._urgent = self._urgent[: MAX_BATCH - 1], self._urgent[MAX_BATCH - 1 :]
        return (*progress, *urgent)


def _ends_a_turn(event: ProviderEvent) -> bool:
    return event.kind is EventKind.IDLE and not event.child
