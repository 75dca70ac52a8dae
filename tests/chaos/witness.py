"""What really happened to a prompt, from OpenCode's own database and the workspace. Knows nothing of Turnkeeper."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

DATABASE: Final = Path("data/opencode/opencode.db")
"""Under the state directory of a hermetic OpenCode 1.18.33."""

FINAL: Final = frozenset({"stop", "length"})


@dataclass(frozen=True)
class Reply:
    """One assistant message under the prompt: one call of the model. Times in seconds of the epoch."""

    created_at: float
    completed_at: float | None
    finish: str | None
    error: str | None


@dataclass(frozen=True)
class Truth:
    """`stored`: user messages that hold the prompt's word; `effects`: times that its command had its effect."""

    stored_at: tuple[float, ...] = ()
    replies: tuple[Reply, ...] = ()
    effects: int = 0

    @property
    def last(self) -> Reply | None:
        return self.replies[-1] if self.replies else None

    @property
    def answered(self) -> int:
        """Times that the prompt was answered to the end."""
        return sum(reply.finish in FINAL and reply.error is None for reply in self.replies)


class Witness:
    """Reads one OpenCode's database, whether that runs or not, and the files that commands left."""

    def __init__(self, state: Path, workspace: Path) -> None:
        self._database = state / DATABASE
        self._workspace = workspace

    def of(self, word: str) -> Truth:
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=10)) as database:
            prompts = [
                (identity, created / 1000)
                for identity, created, data, text in database.execute(
                    "select m.id, m.time_created, m.data, p.data from message m"
                    " join part p on p.message_id = m.id where instr(p.data, ?) order by m.time_created",
                    (word,),
                )
                if json.loads(data)["role"] == "user" and not json.loads(text).get("synthetic")
            ]
            stored = dict(prompts)
            messages = [
                json.loads(data) for (data,) in database.execute("select data from message order by time_created, id")
            ]
        return Truth(
            stored_at=tuple(sorted(stored.values())),
            replies=tuple(_reply(message) for message in messages if message.get("parentID") in stored),
            effects=self._effects(word),
        )

    def _effects(self, word: str) -> int:
        file = self._workspace / f"{word}.txt"
        return len(file.read_text().splitlines()) if file.exists() else 0


def _reply(data: dict[str, Any]) -> Reply:
    completed = data["time"].get("completed")
    return Reply(
        created_at=data["time"]["created"] / 1000,
        completed_at=None if completed is None else completed / 1000,
        finish=data.get("finish"),
        error=(data.get("error") or {}).get("name"),
    )
