"""The verdict on made-up figures: a leak is found, and what only looks like one is let pass."""

from __future__ import annotations

from random import Random
from typing import Final

import pytest

from tests.soak.report import LIMITS
from tests.soak.trend import FEWEST, Limit, Sample, settled, theil_sen, trend

EVERY: Final = 10.0
"""Seconds between two samples."""

HALF_AN_HOUR: Final = 180
"""Samples."""

MEMORY: Final = LIMITS["in_use_mb"]
FDS: Final = LIMITS["fds"]


def series(*, per_hour: float = 0.0, noise: float = 0.0, start: float = 100.0, seed: int = 1) -> list[Sample]:
    """Half an hour of a figure that grows so much, with noise of that width."""
    random = Random(seed)  # noqa: S311 - repeatable on purpose
    times = [EVERY * at for at in range(HALF_AN_HOUR)]
    return [(at, start + per_hour * at / 3600 + random.uniform(-noise, noise)) for at in times]


def grows(samples: list[Sample], limit: Limit) -> bool:
    measured = trend(settled(samples))
    assert measured is not None
    return measured.grows(limit)


@pytest.mark.parametrize("seed", range(5))
def test_a_steady_leak_is_found_in_the_noise(seed: int) -> None:
    assert grows(series(per_hour=60, noise=8, seed=seed), MEMORY)
    assert grows(series(per_hour=30, noise=4, start=20, seed=seed), FDS)


@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_is_no_leak(seed: int) -> None:
    assert not grows(series(noise=20, seed=seed), MEMORY)
    assert not grows(series(noise=8, start=20, seed=seed), FDS)


def test_what_a_worker_that_lives_for_weeks_can_bear_is_no_leak() -> None:
    assert not grows(series(per_hour=MEMORY.per_hour * 0.8, noise=3), MEMORY)


def test_a_rise_while_it_warms_up_is_no_leak() -> None:
    assert not grows([(at, min(150.0, 100.0 + at / 6)) for at, _ in series()], MEMORY)


def test_one_step_that_stays_small_is_no_leak_and_a_staircase_is() -> None:
    """An allocator takes memory by the arena."""
    assert not grows([(at, 100.0 + (4 if at > 900 else 0)) for at, _ in series()], MEMORY)
    assert grows([(at, 100.0 + 5 * (at // 300)) for at, _ in series()], MEMORY)


def test_spikes_hide_nothing_and_are_nothing() -> None:
    """A fault makes a figure jump for one sample in ten."""
    still = [(at, value + (500 if number % 10 == 0 else 0)) for number, (at, value) in enumerate(series())]
    leaks = [(at, value + (500 if number % 10 == 0 else 0)) for number, (at, value) in enumerate(series(per_hour=60))]
    assert not grows(still, MEMORY)
    assert grows(leaks, MEMORY)


def test_a_figure_that_shrinks_is_no_leak() -> None:
    assert not grows(series(per_hour=-200), MEMORY)


def test_too_few_samples_say_nothing() -> None:
    assert trend(series()[: FEWEST - 1]) is None
    assert trend([]) is None
    assert trend(series()[:FEWEST]) is not None


def test_the_slope_is_that_of_the_line() -> None:
    assert theil_sen(series(per_hour=36)) == pytest.approx(0.01)
