"""What a user of Turnkeeper can see of a row's world, and how that is compared with what the row says."""

from __future__ import annotations

import re
from typing import Final

from tests.conformance.rows import Row
from tests.conformance.world import World
from turnkeeper.messages import TurnRecord, TurnResult, TurnSnapshot
from turnkeeper.thread_messages import ThreadSnapshot

WORDS: Final = {
    "Turn failed": ".",  # upstream's text for a failure without one: any words will do
    "Could not continue this thread after the server restart": "it will not",  # the provider's own refusal
}
"""Upstream's own texts, and what ours must say in their place. Other literal texts must stand in ours as they are."""

PLACEHOLDERS: Final = frozenset({"$any", "$session.updatedAt", "$event.createdAt", "$eventId", "$new"})


class Sight:
    """One look at one world: its thread, and the turn that runs."""

    def __init__(self, row: Row, world: World, thread: ThreadSnapshot | None, turn: TurnSnapshot | None) -> None:
        self._row = row
        self._world = world
        self._thread = thread
        self._turn = turn
        self._results: dict[str, TurnResult] = {}

    @property
    def _active(self) -> TurnRecord | None:
        return self._thread.active if self._thread else None

    @property
    def _recent(self) -> tuple[TurnRecord, ...]:
        return self._thread.recent if self._thread else ()

    def _status(self, thread: ThreadSnapshot) -> str:
        """`starting` is a turn that the provider has not begun; upstream's session starts as long as that."""
        turn = self._turn
        if thread.active is None or turn is None:
            return thread.status.value
        begins = turn.delivery != "accepted" or turn.doing.endswith("to begin")
        return "starting" if begins else thread.status.value

    def _active_turn(self, thread: ThreadSnapshot | None, wanted: object) -> list[str]:
        active = thread.active if thread else None
        if wanted is None and active is not None and thread is not None:
            # A turn whose prompt the provider does not work on is upstream's pending start, not its active turn.
            return unless(self._status(thread) == "starting", f"active is {active.turn_id}")
        key = active.idempotency_key if active else None
        right = key == (self._world.key_of(wanted) if isinstance(wanted, str) else None)
        return unless(right or (wanted == "$new" and key is not None), f"active is {key}")

    def _record(self, name: str) -> TurnRecord | None:
        key = self._world.key_of(name)
        queued = self._thread.queued if self._thread else ()
        known = (*self._recent, *([self._active] if self._active else []), *queued)
        return next((turn for turn in known if turn.idempotency_key == key), None)

    def _prompts(self) -> list[str]:
        listed = self._world.opencode.messages.get(self._world.session_id, [])
        return [one["parts"][0]["text"] for one in listed if one["info"]["role"] == "user"]

    def _undelivered(self) -> list[str]:
        thread = self._thread
        if thread is None:
            return []
        waiting = [turn.idempotency_key for turn in thread.queued]
        if thread.active is not None and self._status(thread) == "starting":
            waiting.append(thread.active.idempotency_key)
        return waiting

    def _open(self) -> set[str]:
        return {one.request_id for one in self._turn.open_requests} if self._turn else set()

    def _asked(self) -> dict[str, str]:
        requests = [one for shown in self._world.asked.values() for one in shown.open_requests]
        return {one.request_id: one.kind for one in requests}


def unless(holds: bool, complaint: str) -> list[str]:  # noqa: FBT001 - it reads as a sentence
    return [] if holds else [complaint]


def matches(wanted: object, found: str | None) -> bool:
    if isinstance(wanted, str) and wanted.startswith("$in:"):
        return found in wanted.removeprefix("$in:").split(",")
    return wanted in PLACEHOLDERS or wanted == found


def says(wanted: object, found: str | None) -> bool:
    """Our text says what the row's does; whose fault and what to do next may stand around it."""
    if wanted is None or wanted in PLACEHOLDERS:
        return wanted is not None or found is None
    text = str(wanted).removeprefix("$contains:")
    pattern = WORDS.get(text, re.escape(text))
    return found is not None and re.search(pattern, found) is not None
