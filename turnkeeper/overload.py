"""What a turn makes of a provider that is there and says "later" (429, or 503 with a retry-after). Pure.

It did nothing, so a prompt that it answered so was certainly not sent. It is asked again when it says, or ever less
often when it names no time, and no two turns at the same moment. It is there, so it is given up later than one that is
silent.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from turnkeeper.observations import Failure
from turnkeeper.turn import Turn
from turnkeeper.vocabulary import Wake

OVERLOAD_TIMEOUT: Final = timedelta(hours=1)
"""How long it may say nothing but "later" before the turn gives up. Longer than for silence: quotas last an hour."""

FIRST_PAUSE: Final = timedelta(seconds=2)
"""After an answer that names no time; doubles up to `LONGEST_PAUSE`."""

LONGEST_PAUSE: Final = timedelta(seconds=60)
"""The longest that we choose by ourselves: rates are counted by the minute."""

RETRY_AFTER_MAX: Final = timedelta(minutes=10)
"""The longest that a server's own word is kept to: one that says a day would outlast every clock."""


def pause_after(failure: Failure, times: int, seed: str) -> timedelta:
    """What the server asks for, else ever longer; and up to half as long again, so that not all come back at once.

    `seed` makes the chance: the same turn comes to the same pause in a replay.
    """
    chance = int.from_bytes(sha256(seed.encode()).digest()[:4]) / 2**32
    if failure.retry_after is None:
        asked = min(FIRST_PAUSE * (1 << min(times, 16)), LONGEST_PAUSE)
    else:
        asked = min(timedelta(seconds=failure.retry_after), RETRY_AFTER_MAX)
    return max(asked, FIRST_PAUSE / 2) * (1 + chance / 2)


def overloaded(turn: Turn) -> bool:
    """Was "later" the last word of a provider that was not reached since?"""
    return turn.unreachable_since is not None and turn.unreachable is not None and turn.unreachable.overloaded


def left_alone(turn: Turn, now: datetime) -> bool:
    """Does it ask for peace just now? Only a person makes the turn look before that is over, events do not."""
    return overloaded(turn) and turn.wake is not Wake.ASKED and turn.look_due is not None and now < turn.look_due


def gives_up_at(turn: Turn) -> datetime | None:
    """When a provider that is not reached is given up; None while it is."""
    since = turn.unreachable_since
    if since is None:
        return None
    if overloaded(turn):
        return since + OVERLOAD_TIMEOUT
    if turn.overloaded_at is None:
        return since + turn.limits.unreachable_timeout
    silent_since = max(since, turn.overloaded_at)
    return min(silent_since + turn.limits.unreachable_timeout, since + OVERLOAD_TIMEOUT)
