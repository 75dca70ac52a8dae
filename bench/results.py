"""What a benchmark leaves behind: one JSON file, enough for every table and plot of docs/performance.md."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Self

RESULTS: Final = Path(__file__).parent / "results"
"""Kept in the repository: docs/performance.md is written from it."""


@dataclass(frozen=True)
class Place:
    """What it was measured on. `load`: of the machine, one minute's average at the end, its own part included."""

    python: str = field(default_factory=platform.python_version)
    system: str = field(default_factory=lambda: f"{platform.system()} {platform.machine()}")
    cores: int = field(default_factory=lambda: os.cpu_count() or 0)
    load: float = field(default_factory=lambda: round(os.getloadavg()[0], 2))
    temporalio: str = field(default_factory=lambda: version("temporalio"))


@dataclass(frozen=True)
class Results:
    """One run of one benchmark. `settings`: what it was run with; `rows`: what it found, each beside its baseline."""

    bench: str
    settings: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    place: Place = field(default_factory=Place)
    taken_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def keep(self, file: Path | None) -> None:
        """Write it to `file`, if one is given."""
        if file is not None:
            file.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, file: Path) -> Self:
        """What `keep` wrote."""
        entry = json.loads(file.read_text())
        return cls(**(entry | {"place": Place(**entry["place"])}))
