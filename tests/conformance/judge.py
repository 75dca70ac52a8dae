"""Judging a row's `then`: what a user of Turnkeeper can see, against what the row wants, word by word.

A complaint is a sentence; no complaint means that all that the row asserts is so. Nothing here is guessed: a word
without a meaning is an error that names it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tests.conformance.judge_calls import CallsJudge
from tests.conformance.judge_shown import ShownJudge
from tests.conformance.rows import Row, UnknownWordError
from tests.conformance.sight import matches, says, unless
from tests.conformance.world import World
from turnkeeper.messages import TurnRecord
from turnkeeper.thread_messages import ThreadSnapshot
from turnkeeper.vocabulary import SessionStatus, TurnState

SILENT_FIELDS: Final = {
    "sourceProposedPlan": "Turnkeeper has no plans that a turn could come from.",
    "instance": "A thread's endpoint never changes.",
    "tone": "Colours are the client's.",
    "summary": "Texts are ours.",
    "requestKind": "Judged by the request's title.",
    "thread_title": "A thread is called by its id; the provider's title stays the provider's.",
    "generation": "One Turn workflow at a time is Temporal's own guarantee.",
}
"""Fields of a row that nothing corresponds to; the rest of the row is judged."""

DROPPED: Final = "$dropped"
"""In a difference: the row's own assertion is not made, because another one takes its place."""


class Judge(CallsJudge, ShownJudge):
    """One row's judgement of one world."""

    async def complaints(self, then: dict[str, Any]) -> list[str]:
        """What is not as the row wants it."""
        found: list[str] = []
        for word, wanted in then.items():
            if word in SILENT_FIELDS or wanted == DROPPED:
                continue
            check: Callable[[Any], list[str]] | None = getattr(self, f"_check_{word}", None)
            if check is None:
                raise UnknownWordError(self._row.id, "then", word)
            if word == "messages":
                await self._read_results(wanted)
            found += [f"{word}: {complaint}" for complaint in check(wanted)]
        return found

    # The session and its turns.

    def _check_session(self, wanted: dict[str, Any] | None) -> list[str]:
        thread = self._thread
        if wanted is None or thread is None:
            return [] if wanted is None and thread is None else [f"is {thread}"]
        found = []
        for word, value in wanted.items():
            match word:
                case "status":
                    status = self._status(thread)
                    found += unless(matches(value, status), f"status is {status}")
                case "activeTurnId":
                    found += self._active_turn(thread, value)
                case "lastError":
                    found += unless(says(value, thread.last_error), f"last error is {thread.last_error!r}")
                case _ if word not in SILENT_FIELDS:
                    raise UnknownWordError(self._row.id, "then.session", word)
        return found

    def _check_adapter_session(self, wanted: dict[str, Any] | None) -> list[str]:
        world = self._world
        if world.reports:
            # The adapter alone was asked, and its session is what the provider says of it.
            busy = world.session_id in world.opencode.statuses
            return unless(busy == (wanted is not None and wanted["status"] == "running"), f"busy is {busy}")
        if wanted is None:
            stopped = self._thread is not None and self._thread.status is SessionStatus.STOPPED
            return unless(stopped and self._active is None, f"is {self._thread}")
        return self._check_session(wanted)

    def _check_binding(self, wanted: dict[str, Any]) -> list[str]:
        thread = self._thread
        cursor = wanted.get("resumeCursor")
        kept = thread is not None and (cursor is None or thread.session_id is not None)
        rest = {word: value for word, value in wanted.items() if word != "resumeCursor"}
        return unless(kept, "the provider session is forgotten") + self._check_session(rest)

    def _check_turns(self, wanted: dict[str, dict[str, Any]]) -> list[str]:
        found = []
        for name, fields in wanted.items():
            record = self._record(name)
            if record is None:
                found.append(f"{name} is unknown")
                continue
            for word, value in fields.items():
                found += [f"{name}: {complaint}" for complaint in self._turn_field(record, word, value)]
        return found

    def _turn_field(self, record: TurnRecord, word: str, value: object) -> list[str]:
        match word:
            case "state":
                state = TurnState.RUNNING if record.state is TurnState.WAITING else record.state
                return unless(matches(value, state.value), f"is {state}")
            case "completedAt":
                settled = record.completed_at is not None and record.reason is not None
                return unless(settled == (value is not None), f"completed at {record.completed_at}")
            case "requestedAt":
                return unless(record.started_at is not None, "has no start")
            case "userMessageId":
                return unless(record.idempotency_key == value, f"is of {record.idempotency_key}")
            case "assistantMessageId":
                return unless(record.state is TurnState.COMPLETED, f"is {record.state}")
            case _ if word in SILENT_FIELDS:
                return []
            case _:
                raise UnknownWordError(self._row.id, "then.turns", word)

    def _check_latestTurnId(self, wanted: str) -> list[str]:  # noqa: N802 - the row's word
        turns = (*self._recent, *([self._active] if self._active else []))
        latest = turns[-1].idempotency_key if turns else None
        return unless(latest == self._world.key_of(wanted), f"is {latest}")

    def _check_pending_turn_start(self, wanted: dict[str, Any] | None) -> list[str]:
        pending = self._undelivered()
        if wanted is None:
            return unless(not pending, f"{pending} wait")
        return unless(wanted["messageId"] in pending, f"{pending} wait")

    def _check_delivery_marker(self, wanted: dict[str, Any]) -> list[str]:
        turn, stored = self._turn, self._prompts().count(wanted["messageId"])
        accepted = turn is not None and turn.delivery == "accepted"
        return unless(stored == 1 and accepted, f"stored {stored} times, accepted: {accepted}")

    def _check_delivered_or_queued(self, wanted: list[str]) -> list[str]:
        queued = [turn.idempotency_key for turn in self._thread.queued] if self._thread else []
        lost = [key for key in wanted if key not in {*queued, *self._prompts()}]
        return unless(not lost, f"{lost} are neither")

    def _check_session_sequence(self, wanted: list[str]) -> list[str]:
        return unless(self._world.statuses == wanted, f"was {self._world.statuses}")

    def _check_settle_allowed(self, wanted: bool) -> list[str]:  # noqa: FBT001 - as the row says it
        return unless((self._active is None) == wanted, "a turn is active")

    def _check_lastError(self, wanted: object) -> list[str]:  # noqa: N802 - the row's word
        error = self._thread.last_error if self._thread else None
        return unless(says(wanted, error) and error is not None, f"is {error!r}")

    def _check_messages(self, wanted: list[dict[str, Any]]) -> list[str]:
        found = unless(bool(wanted) or self._record("turn-before") is None, "an earlier thread's turn is remembered")
        for message in wanted:
            result = self._results.get(message["turnId"])
            text = result.outcome.text if result else None
            found += unless(text == message["text"], f"{message['turnId']} says {text!r}")
        return found

    def _check_client(self, wanted: dict[str, Any]) -> list[str]:
        found = []
        for word, value in wanted.items():
            match word:
                case "working":
                    found += unless((self._active is not None) == value, f"active is {self._active}")
                case "canSend":
                    idle = self._thread is not None and self._active is None
                    found += unless(idle == value, f"status is {self._thread and self._thread.status}")
                case "timerFrom":
                    found += self._active_turn(self._thread, value)
                case _:
                    raise UnknownWordError(self._row.id, "then.client", word)
        return found

    async def _read_results(self, wanted: list[dict[str, Any]]) -> None:
        for message in wanted:
            record = self._record(message["turnId"])
            if record is not None and record.run_id is not None:
                result = await self._world.keeper.result(self._world.thread_id, record.run_id)
                self._results[message["turnId"]] = result


async def look_and_judge(row: Row, world: World, then: dict[str, Any]) -> list[str]:
    """Complaints about what is to be seen now."""
    thread = await world.thread()
    if thread is not None and world.elapsed is not None:
        thread = _as_of(thread, world)
    active = thread is not None and thread.active is not None and thread.active.run_id and world.elapsed is None
    turn = await world.turn() if active else None
    return await Judge(row, world, thread, turn).complaints(then)


def _as_of(thread: ThreadSnapshot, world: World) -> ThreadSnapshot:
    """The thread at the row's moment of a skipped clock: a turn that ended later was still running."""
    [turn] = thread.recent
    if turn.started_at is None or turn.completed_at is None or world.elapsed is None:
        return thread
    if turn.completed_at - turn.started_at <= world.elapsed:
        return thread
    running = turn.model_copy(update={"state": TurnState.RUNNING, "completed_at": None, "reason": None})
    return thread.model_copy(
        update={"status": SessionStatus.RUNNING, "active": running, "recent": (), "last_error": None}
    )
