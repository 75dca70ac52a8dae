"""What a gap does to waiting: the provider was away after something was given to it, or its connection was cut.

Pure; a part of the rules that only `lifecycle` and its parts call. What was with the provider then is lost or done, and
another reading soon says which: there is no need to wait as long as for one that is only slow.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from turnkeeper.turn import Turn

CONFIRM_CUT_OFF: Final = timedelta(seconds=1)
"""Between the two readings that a run was lost with its provider: three times the 0.35 s that OpenCode is idle before
its last word is stored. With a relay that tries every second, and OpenCode's first answer in a directory after 1 to
2 s, such a turn is settled within 5 s."""

NO_CONNECTION: Final = "provider_unreachable"
"""Code of a provider that takes no connections, as while it restarts: what it had begun may be dropped."""

BROKEN_CONNECTION: Final = "delivery_unknown"
"""Code of one that took a request and closed before it answered."""


def may_be_starting(turn: Turn) -> bool:
    """Away when it was asked last, or without a stream? What it gets in the middle of its start it may never answer.

    Not one that was merely slow: it has to be given the time that it takes.
    """
    if turn.unreachable is None:
        return turn.events_away
    return turn.unreachable.code in {NO_CONNECTION, BROKEN_CONNECTION}


def cut_off(turn: Turn, sent_at: datetime | None) -> bool:
    """Was there a gap since, as far as the turn minds gaps?"""
    return turn.recovers and turn.gap_at is not None and sent_at is not None and turn.gap_at >= sent_at


def unless_cut_off(turn: Turn, budget: timedelta, sent_at: datetime | None) -> timedelta:
    """How long to wait for what the provider was given: what died with it, or with its connection, never comes."""
    return min(turn.limits.confirm_delay, budget) if cut_off(turn, sent_at) else budget


def confirm_delay(turn: Turn) -> timedelta:
    """Between two readings that a run which had begun is no more."""
    sooner = turn.gap_decides and cut_off(turn, turn.sent_at)
    return min(turn.limits.confirm_delay, CONFIRM_CUT_OFF) if sooner else turn.limits.confirm_delay


def seen_at_work(turn: Turn) -> Turn:
    """A reading shows the run at work. If it was begun after the gap, the run outlived that: it is minded no more."""
    if not turn.gap_decides or turn.gap_at is None or turn.look_begun_at is None or turn.look_begun_at <= turn.gap_at:
        return turn
    return replace(turn, gap_at=None)
