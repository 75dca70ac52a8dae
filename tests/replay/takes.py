"""What a scene leaves: the runs to keep."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.workflow.stage import Stage


@dataclass(frozen=True)
class Take:
    """One run to keep: its file's name, the workflow, the run (the latest without)."""

    name: str
    workflow_id: str
    run_id: str | None = None


Scene = Callable[[Stage], Awaitable[list[Take]]]
