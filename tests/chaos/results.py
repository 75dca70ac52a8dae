"""What a series leaves behind: one JSON line for each run, enough for every figure of the report."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from tests.chaos.judge import Failing


@dataclass(frozen=True)
class Turn:
    """One judged prompt. `late` and `stop_told` are seconds; the latter of a stop, from the person's word to its end.

    `confirmed`: of a stop, whether the provider was seen to have stopped.
    """

    kind: str
    reason: str | None
    late: float | None
    failings: tuple[tuple[str, str], ...] = ()
    stop_told: float | None = None
    confirmed: bool | None = None


@dataclass(frozen=True)
class Place:
    """What it was played on. `load`: of the machine, one minute's average when the run ended."""

    temporalio: str
    temporal: str
    opencode: str
    python: str = field(default_factory=platform.python_version)
    cores: int = field(default_factory=lambda: os.cpu_count() or 0)
    load: float = field(default_factory=lambda: round(os.getloadavg()[0], 2))
    turnkeeper: str = field(default_factory=lambda: version("turnkeeper"))


@dataclass(frozen=True)
class Run:
    """`faults`: one name, or two that overlapped. `bound`: seconds that a settlement may be late; of two both added.

    `poisoned`: OpenCode answered nothing in its directory afterwards, and was started anew.
    """

    seed: int
    faults: tuple[str, ...]
    turns: tuple[Turn, ...]
    seconds: float
    bound: float
    at: str
    place: Place
    poisoned: bool = False

    @property
    def fault(self) -> str:
        """For a line of output."""
        return " + ".join(self.faults)

    @property
    def failed(self) -> bool:
        return any(turn.failings for turn in self.turns)

    @classmethod
    def of(cls, entry: dict[str, Any]) -> Self:
        turns = tuple(Turn(**(turn | {"failings": tuple(map(tuple, turn["failings"]))})) for turn in entry["turns"])
        place = Place(**entry["place"])
        return cls(**(entry | {"turns": turns, "faults": tuple(entry["faults"]), "place": place}))


def read(file: Path | None) -> list[Run]:
    """Of a series that may have been played in parts."""
    if file is None or not file.exists():
        return []
    return [Run.of(json.loads(line)) for line in file.read_text().splitlines()]


def append(file: Path | None, run: Run) -> None:
    if file is not None:
        with file.open("a") as lines:
            lines.write(json.dumps(asdict(run)) + "\n")


def counted(turns: Iterable[Turn], *failings: Failing) -> int:
    """Turns with one of these failings."""
    return sum(any(name in failings for name, _ in turn.failings) for turn in turns)


def failures(runs: Iterable[Run]) -> list[str]:
    """A line for each failing, with the seed that plays it again."""
    return [
        f"seed {run.seed} ({run.fault}), {turn.kind}: {name}: {words}"
        for run in runs
        for turn in run.turns
        for name, words in turn.failings
    ]
