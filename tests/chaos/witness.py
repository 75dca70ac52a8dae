"""What really happened to a prompt, from OpenCode's own database and the workspace. Knows nothing of Turnkeeper."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

DATABASE: Final = Path("data/opencode/opencode.db")
"""Under the state directory of a hermetic OpenCode 1.18.33."""

FINAL: Final = frozenset({"stop", "length"})

PROMPTS: Final = """
    select message.id, message.session_id, message.time_created, part.data
    from message
    join part on part.message_id = message.id
    join session on session.id = message.session_id
    where message.data ->> 'role' = 'user' and session.parent_id is null
      and coalesce(part.data ->> 'synthetic', 0) = 0
    order by message.time_created
"""
"""What people wrote, part by part; a sub-agent's prompt is the agent's own."""

REPLIES: Final = """
    select session.parent_id, message.data
    from message join session on session.id = message.session_id
    where message.data ->> 'role' = 'assistant' order by message.time_created, message.id
"""


@dataclass(frozen=True)
class Reply:
    """One assistant message under the prompt: one call of the model. Times in seconds of the epoch."""

    created_at: float
    completed_at: float | None
    finish: str | None
    error: str | None


@dataclass(frozen=True)
class Truth:
    """`stored_at`: of each part of a user message that holds the prompt's word.

    `effects`: times that its command had its effect; `children`: what sub-agents of its session said; `others`: further
    prompts in its session, whoever gave them; `at_work`: was its session still busy when everything was read?
    """

    stored_at: tuple[float, ...] = ()
    replies: tuple[Reply, ...] = ()
    effects: int = 0
    children: tuple[Reply, ...] = ()
    others: int = 0
    at_work: bool = False

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

    def of(self, word: str, busy: Collection[str] = ()) -> Truth:
        """The truth about the prompt with this word; `busy`: sessions that OpenCode says are at work."""
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=10)) as database:
            prompts = database.execute(PROMPTS).fetchall()
            replies = [(parent, json.loads(data)) for parent, data in database.execute(REPLIES).fetchall()]
        mine = [prompt for prompt in prompts if word in prompt[3]]
        stored = {identity for identity, _, _, _ in mine}
        sessions = {session for _, session, _, _ in mine}
        others = {identity for identity, session, _, _ in prompts if session in sessions} - stored
        return Truth(
            stored_at=tuple(created / 1000 for _, _, created, _ in mine),
            replies=tuple(_reply(message) for _, message in replies if message.get("parentID") in stored),
            effects=self._effects(word),
            children=tuple(_reply(message) for parent, message in replies if parent in sessions),
            others=len(others),
            at_work=bool(sessions & set(busy)),
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
