"""Judging what a turn shows: requests, warnings, failures, and what upstream's adapter emits for them."""

from __future__ import annotations

from typing import Any, Final

from tests.conformance.rows import UnknownWordError
from tests.conformance.sight import Sight, unless
from turnkeeper.messages import TurnRecord
from turnkeeper.vocabulary import AnswerState, SessionStatus, TurnState

REQUEST_TITLES: Final = {
    "command": "bash",
    "file-read": "read",
    "file-change": "edit",
    "command_execution_approval": "bash",
    "file_read_approval": "read",
    "file_change_approval": "edit",
    "unknown": "webfetch",
}


class ShownJudge(Sight):
    """A part of the judge."""

    # Activities: requests, failures and warnings that a person sees.

    def _check_activities(self, wanted: list[dict[str, Any]]) -> list[str]:
        if not wanted:
            permissions = [one for one in self._asked().values() if one == "permission"]
            return unless(not permissions and not self._world.errors, f"{permissions} {self._world.errors}")
        return [complaint for activity in wanted for complaint in self._activity(activity)]

    def _check_no_activities(self, wanted: list[str]) -> list[str]:
        return [f"{kind} is shown" for kind in wanted if not self._activity({"kind": kind})]

    def _activity(self, activity: dict[str, Any]) -> list[str]:
        world, kind = self._world, activity["kind"]
        request = activity.get("requestId", "")
        match kind:
            case "approval.requested":
                return self._requested(request, "permission", REQUEST_TITLES[activity["requestKind"]])
            case "user-input.requested":
                return self._requested(request, "question", "")
            case "approval.resolved" | "user-input.resolved":
                waiting = self._turn is not None and self._turn.state is TurnState.WAITING
                stale = any(answer.state is AnswerState.STALE for answer in world.answers)
                return unless(request not in self._open() and not waiting and not stale, f"{request} is not resolved")
            case "runtime.error":
                heard = self._turn.events_seen if self._turn else 0
                return unless(heard > world.heard_before, "the event was not heard")
            case "runtime.warning":
                doing = self._turn.doing if self._turn else ""
                return unless("own retry" in doing, f"it says {doing!r}")
            case "provider.session.stop.failed":
                failures = [stop.failure or "" for stop in world.stops if not stop.confirmed]
                return unless(any(activity.get("detail", "") in one for one in failures), f"stops: {world.stops}")
            case "provider.approval.respond.failed":
                states = [answer.state for answer in world.answers]
                return unless(states == [AnswerState.STALE], f"answers are {states}")
            case "provider.turn.start.failed":
                return unless(bool(world.errors), "the start was taken")
            case "provider.turn.interrupt.failed":
                return unless(any(not stop.confirmed for stop in world.stops), f"stops: {world.stops}")
            case _:
                raise UnknownWordError(self._row.id, "then.activities", kind)

    def _requested(self, request: str, kind: str, title: str) -> list[str]:
        shown = self._world.asked.get(request)
        found = [one for one in shown.open_requests if one.request_id == request] if shown else []
        right = [one for one in found if one.kind == kind and title in one.title]
        waiting = shown is not None and shown.state is TurnState.WAITING
        return unless(waiting and bool(right), f"{request} shows as {found}")

    def _check_pending_approvals(self, wanted: int) -> list[str]:
        return self._count("permission", wanted)

    def _check_pending_user_inputs(self, wanted: int) -> list[str]:
        return self._count("question", wanted)

    def _count(self, kind: str, wanted: int) -> list[str]:
        requests = self._turn.open_requests if self._turn else ()
        found = sum(one.kind == kind for one in requests)
        return unless(found == wanted, f"{found} are open")

    def _check_activity_order(self, wanted: list[int]) -> list[str]:
        tools = [tool.name for tool in self._turn.tools] if self._turn else []
        return unless(tools == [str(number) for number in wanted], f"tools are {tools}")

    # Emitted: what upstream's adapter says of a turn is here what the turn and its thread show.

    def _check_emitted(self, wanted: list[str]) -> list[str]:
        if not wanted:
            turn = self._turn
            quiet = turn is not None and turn.state is TurnState.RUNNING and not self._asked()
            return unless(quiet, f"the turn is {turn and turn.state}")
        return [f"{name} is not seen" for name in wanted if not self._emitted(name)]

    def _check_not_emitted(self, wanted: list[str]) -> list[str]:
        return [f"{name} is seen" for name in wanted if self._emitted(name)]

    def _check_emit_counts(self, wanted: dict[str, int]) -> list[str]:
        counted = {name: self._emitted(name) for name in wanted}
        return unless(counted == wanted, f"are {counted}")

    def _emitted(self, name: str) -> int:
        word, _, inside = name.removesuffix(")").partition("(")
        said = inside.split(",") if inside else []
        turns = [one for one in self._recent if one.idempotency_key != "turn-before"]
        match word:
            case "turn.completed" | "turn.aborted":
                return sum(self._settled_as(turn, word, said) for turn in turns)
            case "turn.started":
                active = [self._active] if self._active else []
                return len(active) if not said else sum(one.idempotency_key == said[0] for one in active)
            case "runtime.error" if not said:
                return int(self._thread is not None and self._thread.last_error is not None)
            case "runtime.error" | "session.exited":
                return int(self._thread is not None and self._thread.status is SessionStatus.STOPPED)
            case "runtime.warning":
                return int(not self._activity({"kind": "runtime.warning"}))
            case "request.opened":
                request = next(iter(self._world.asked), "")
                return int(not self._requested(request, "permission", REQUEST_TITLES[inside]))
            case "request.resolved":
                was_open = bool(self._world.asked)
                return int(was_open and not self._activity({"kind": "approval.resolved"}) and not self._open())
            case "task.started" | "task.progress" | "task.completed":
                return self._task_seen(word)
            case _:
                raise UnknownWordError(self._row.id, "then.emitted", name)

    def _settled_as(self, turn: TurnRecord, word: str, said: list[str]) -> bool:
        states = {"completed": TurnState.COMPLETED, "failed": TurnState.ERROR, "interrupted": TurnState.INTERRUPTED}
        if word == "turn.aborted" and turn.state is not TurnState.INTERRUPTED:
            return False
        named = [one for one in said if one.startswith("turn-")]
        ended = [states[one] for one in said if one in states]
        texts = [one for one in said if one not in states and one not in named]
        return (
            all(turn.idempotency_key == self._world.key_of(one) for one in named)
            and all(turn.state is state for state in ended)
            and all(one in (turn.error or "") for one in texts)
        )

    def _task_seen(self, word: str) -> bool:
        shown = self._world.asked
        match word:
            case "task.started":
                return [tool.status for tool in shown["task.running"].tools] == ["running"]
            case "task.progress":
                return shown["grep.running"].events_seen > shown["task.running"].events_seen
            case _:
                return [tool.status for tool in shown["task.completed"].tools] == ["completed"]
