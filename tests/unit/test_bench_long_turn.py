"""A long turn's history by the rules: what `bench.history` compares real minutes with, and the goal of six a minute."""

from __future__ import annotations

import pytest

from bench.long_turn import LOOK_EVENTS, TIMER_EVENTS, growth
from turnkeeper.vocabulary import EventKind

GOAL = 6.0
"""Events a minute that a long turn may grow by, whatever it says."""


@pytest.mark.parametrize("kind", [None, EventKind.PROGRESS, EventKind.TOOL])
@pytest.mark.parametrize("every", [5.0, 60.0])
def test_a_long_turn_grows_by_no_more_than_six_events_a_minute(kind: EventKind | None, every: float) -> None:
    more = growth(kind, every, 470).events - growth(kind, every, 60).events
    assert more / 410 <= GOAL


def test_ten_times_the_tokens_are_no_more_history() -> None:
    assert growth(EventKind.PROGRESS, 0.1, 10) == growth(EventKind.PROGRESS, 1.0, 10)


def test_a_silent_turn_is_looked_at_by_its_clock_alone() -> None:
    quarter, hour = growth(None, 1.0, 15), growth(None, 1.0, 60)
    assert hour.signals == 0
    assert hour.looks - quarter.looks == 15  # each 180 s
    assert hour.events - quarter.events == 15 * (LOOK_EVENTS + TIMER_EVENTS)
