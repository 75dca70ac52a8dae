"""The verdict on a soak, and its table in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from tests.soak.probe import Line
from tests.soak.soak import Soak
from tests.soak.trend import Limit, Sample, Trend, settled, trend
from tests.soak.watching import View
from turnkeeper.limits import MAX_ENDPOINT_EVENTS, MAX_THREAD_EVENTS

LIMITS: Final = {
    "rss_mb": Limit(60, 15, "coarse: arenas of some thirty threads fill with free space in the first half hour"),
    "in_use_mb": Limit(
        20, 3, "a worker that is restarted once a week stays below 4 GB; an old thread's history counts"
    ),
    "fds": Limit(12, 6, "connections come and go with the load; one lost with every tenth turn is ten times as much"),
    "blocks": Limit(150, 30, "thousands; a leak of 200 bytes in each is then as much memory as is allowed above"),
    "tasks": Limit(12, 8, "six a running turn at most; one lost with every tenth turn is ten times as much"),
    "cached": Limit(60, 10, "a run that the other worker took over leaves its copy behind until the cache is full"),
    "lag_p50": Limit(2, 0.5, "milliseconds; half of the time the loop has nothing to do"),
    "lag_p99": Limit(60, 40, "milliseconds; garbage collection, and other work on the machine"),
    "lag_max": Limit(600, 400, "milliseconds; the worst of ten seconds, so the noisiest of all"),
}
"""Of the worker that lived through the soak, each with its reason (docs/reliability.md has what was measured)."""

UNJUDGED: Final = ("opencode_rss_mb", "opencode_fds", "temporal_rss_mb", "threads_open", "threads_running")
"""Shown only: the faults restart these processes, and the load decides how many threads are open."""

HISTORY_SLACK: Final = 300
"""Events over the limit that a thread may have: it continues as new between turns."""

COLUMNS: Final = ("figure", "samples", "first third", "last third", "highest", "slope per hour", "limit", "verdict")


def problems(seen: Soak) -> list[str]:
    """Everything that must not be; empty: it passed."""
    found = [f"{name} grows" for name, measured in _trends(seen).items() if measured and measured.grows(LIMITS[name])]
    for case, verdict in seen.verdicts:
        found += [f"{case.thread}, {case.kind.name.lower()}: {name}: {words}" for name, words in verdict.failings]
    for name, value, most in (
        ("a thread's history", longest(seen, "longest_thread"), MAX_THREAD_EVENTS + HISTORY_SLACK),
        ("the endpoint's history", longest(seen, "endpoint_history"), MAX_ENDPOINT_EVENTS + HISTORY_SLACK),
    ):
        if value > most:
            found.append(f"{name} had {value:.0f} events, {most} are allowed")
    return found + seen.left


def table(seen: Soak) -> str:
    """One row a figure: medians of the first and last third after the warm-up."""
    rows = []
    for name, measured in _trends(seen).items():
        limit = LIMITS[name]
        verdict = "too few" if measured is None else "GROWS" if measured.grows(limit) else "ok"
        rows.append(_row(name, measured, f"{limit.per_hour:g} (and {limit.noise:g})", verdict))
    rows += [_row(name, trend(settled(_samples(seen.views, name))), "", "not judged") for name in UNJUDGED]
    lines = [" | ".join(COLUMNS), " | ".join("---:" if 0 < at < 6 else "---" for at in range(len(COLUMNS)))]
    return "\n".join(f"| {line} |" for line in (*lines, *rows))


def summary(seen: Soak) -> list[str]:
    """What was played, in lines."""
    ends = Counter(str(case.result.outcome.reason) if case.result else "no result" for case, _ in seen.verdicts)
    turns = Counter(case.thread for case, _ in seen.verdicts)
    late = sorted(verdict.late for _, verdict in seen.verdicts if verdict.late is not None)
    most = max(turns.values(), default=0)
    thread, endpoint = longest(seen, "longest_thread"), longest(seen, "endpoint_history")
    return [
        f"{seen.seconds / 60:.0f} minutes, {len(seen.verdicts)} turns on {len(turns)} threads (at most {most} on one)",
        f"{len(seen.struck)} faults, {len(seen.lives)} lives of the other worker",
        "ends: " + ", ".join(f"{count} {name}" for name, count in ends.most_common()),
        f"longest history: thread {thread:.0f}, endpoint {endpoint:.0f} events",
        *([f"latest settlement {late[-1]:.1f} s after the truth, median {late[len(late) // 2]:.2f} s"] if late else []),
    ]


def longest(seen: Soak, name: str) -> float:
    return max((value for _, value in _samples(seen.views, name)), default=0.0)


def _trends(seen: Soak) -> dict[str, Trend | None]:
    return {name: trend(settled(_samples(seen.lines, name))) for name in LIMITS}


def _samples(seen: Sequence[Line] | Sequence[View], name: str) -> Sequence[Sample]:
    """What could be asked."""
    found = [(entry.at, getattr(entry, name)) for entry in seen]
    return [(at, float(value)) for at, value in found if value is not None]


def _row(name: str, measured: Trend | None, limit: str, verdict: str) -> str:
    if measured is None:
        return f"{name} |  |  |  |  |  | {limit} | {verdict}"
    figures = [measured.first, measured.last, measured.highest, measured.slope]
    return " | ".join([name, str(measured.samples), *(f"{value:.1f}" for value in figures), limit, verdict])
