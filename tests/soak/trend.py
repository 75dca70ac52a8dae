"""Does a figure grow? Pure: from samples to a verdict.

A figure of a process under a mixed load jumps about, so no single sample decides. It grows if two things hold: the
Theil-Sen slope (the median of the slopes between all pairs of samples; a third of them may be nonsense) is above the
limit, and the last third of the samples lies above the first third by more than the figure's own noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Final

WARM_UP: Final = 0.2
"""Share of the time that is not judged: caches, pools and allocators fill."""

FEWEST: Final = 12
"""Samples after the warm-up that a verdict needs: four in each third."""

SECONDS_PER_HOUR: Final = 3600.0

Sample = tuple[float, float]
"""Seconds, value."""


@dataclass(frozen=True)
class Limit:
    """`per_hour`: growth that is let pass; `noise`: a difference between two thirds that says nothing; `why` so."""

    per_hour: float
    noise: float
    why: str


@dataclass(frozen=True)
class Trend:
    """What became of a figure. `first` and `last`: medians of those thirds; `slope` in units per hour."""

    samples: int
    first: float
    last: float
    highest: float
    slope: float

    def grows(self, limit: Limit) -> bool:
        return self.slope > limit.per_hour and self.last - self.first > limit.noise


def settled(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Those after the warm-up."""
    if not samples:
        return samples
    begin, end = samples[0][0], samples[-1][0]
    return [sample for sample in samples if sample[0] >= begin + WARM_UP * (end - begin)]


def trend(samples: Sequence[Sample]) -> Trend | None:
    """Of these samples, oldest first; None when they are too few to say anything."""
    if len(samples) < FEWEST:
        return None
    values = [value for _, value in samples]
    third = len(values) // 3
    return Trend(
        samples=len(values),
        first=median(values[:third]),
        last=median(values[-third:]),
        highest=max(values),
        slope=theil_sen(samples) * SECONDS_PER_HOUR,
    )


def theil_sen(samples: Sequence[Sample]) -> float:
    """Units a second."""
    pairs = combinations(samples, 2)
    return median((later - value) / (after - at) for (at, value), (after, later) in pairs if after > at)
