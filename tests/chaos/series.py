"""Which fault a seed strikes: each of the catalogue in turn, then some pairs of them that overlap."""

from __future__ import annotations

from random import Random
from typing import Final

from tests.chaos.faults import BY_NAME, CATALOGUE, Fault

PAIRS: Final = 7
"""Of so many runs after the catalogue's: in a series of 330 as many as 57 strike twice."""

ROUND: Final = len(CATALOGUE) + PAIRS

WHERE: Final = {
    "worker-killed": "workers",
    "worker-terminated": "workers",
    "workers-killed": "workers",
    "worker-frozen": "workers",
    "opencode-killed": "opencode",
    "opencode-terminated": "opencode",
    "opencode-frozen": "opencode",
    "temporal-killed": "temporal",
    "temporal-terminated": "temporal",
    "temporal-frozen": "temporal",
    "clock-jump": "workers",
}
"""What a fault ends, freezes or tells another time: two of a pair never have the same process in their hands."""


def faults_of(seed: int, names: tuple[str, ...] = ()) -> tuple[Fault, ...]:
    """Seed n strikes with the n-th of a round, round and round, unless some are named."""
    if names:
        return tuple(BY_NAME[name] for name in names)
    place = seed % ROUND
    if place < len(CATALOGUE):
        return (CATALOGUE[place],)
    random = Random(seed)  # noqa: S311 - repeatable on purpose
    striking = [fault for fault in CATALOGUE if fault.name != "none"]
    first = random.choice(striking)
    second = random.choice([fault for fault in striking if _apart(first, fault)])
    return first, second


def _apart(one: Fault, other: Fault) -> bool:
    """May they overlap? Not two on one process or one kind of wire: the one would heal the other."""
    return _part(one) != _part(other)


def _part(fault: Fault) -> str:
    if fault.name in WHERE:
        return WHERE[fault.name]
    kind = fault.name.split("-")[0]
    # Answers, events and the stream all go through the gates.
    return "gate" if kind in {"answers", "events", "stream"} else f"{kind} wire"
