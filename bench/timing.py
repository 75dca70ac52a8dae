"""One timed turn, and what many of them say: medians, p99, ratios."""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TimedTurn:
    """One turn as a waiting client saw it, in seconds, and the provider's own times within it."""

    total: float
    to_stored: float
    """From the client's call to the prompt's creation time in OpenCode."""
    provider: float
    """From there to the completion time of the answer: the work itself, and waiting for OpenCode's one thread."""
    to_seen: float
    """From there to the client knowing it."""
    to_told: float
    """From the idle event of the provider, its last word, to the client knowing it; not a number if nobody listened."""


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def p99(values: Sequence[float]) -> float:
    """The 99th percentile (nearest rank): with few values, the largest."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(0.99 * len(ordered)) - 1)]


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its waited-for children so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def machine() -> str:
    """What the figures were measured on, without naming it."""
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cpu_per_turn(before: Mapping[str, float], after: Mapping[str, float], turns: int) -> dict[str, float]:
    """Milliseconds of CPU a turn, by process."""
    return {name: (after[name] - before[name]) * 1000 / turns for name in before}
