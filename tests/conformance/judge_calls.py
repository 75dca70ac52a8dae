"""Judging what was asked of the provider, and what callers were told."""

from __future__ import annotations

from typing import Any, Final

from tests.conformance.opencode import Called
from tests.conformance.rows import UnknownWordError
from tests.conformance.sight import Sight, unless
from turnkeeper.vocabulary import SessionStatus, TurnState

CALLS: Final[dict[str, frozenset[str]]] = {
    "startSession": frozenset({"session.create", "session.get"}),
    "sendTurn": frozenset({"promptAsync"}),
    "interruptTurn": frozenset({"session.abort"}),
    "adapter.stopSession": frozenset({"session.abort"}),
    "opencode.session.abort": frozenset({"session.abort"}),
    "opencode.session.create": frozenset({"session.create"}),
    "opencode.session.get": frozenset({"session.get"}),
    "opencode.session.fork": frozenset({"session.fork"}),
    "opencode.session.update": frozenset({"session.update"}),
    "opencode.promptAsync": frozenset({"promptAsync"}),
    "respondToRequest": frozenset({"permission.reply"}),
    "respondToUserInput": frozenset({"question.reply"}),
}
"""The rows' names of provider calls. `adapter.x` is `x`."""

STOP: Final = "stopSession"


class CallsJudge(Sight):
    """A part of the judge."""

    def _check_calls(self, wanted: list[str]) -> list[str]:
        calls = iter(self._world.calls)
        if not wanted:
            return unless(not self._world.calls, f"{[call.verb for call in self._world.calls]} were made")
        missing = [name for name in wanted if not any(self._is_call(call, name) for call in calls)]
        found = unless(not missing, f"{missing} missing in {[call.verb for call in self._world.calls]}")
        prompts = sum("sendTurn" in name for name in wanted)
        sent = sum(call.verb == "promptAsync" for call in self._world.calls)
        return found + unless(not prompts or sent == prompts, f"{sent} prompts were sent")

    def _check_no_calls(self, wanted: list[str]) -> list[str]:
        made = [name for name in wanted if any(self._is_call(call, name) for call in self._world.calls)]
        return unless(not made, f"{made} were made")

    def _check_call_counts(self, wanted: dict[str, int]) -> list[str]:
        counted = {name: sum(self._is_call(call, name) for call in self._world.calls) for name in wanted}
        return unless(counted == wanted, f"are {counted}")

    def _is_call(self, call: Called, name: str) -> bool:
        bare, _, argument = name.removesuffix(")").partition("(")
        if bare == STOP:
            # A session is stopped by its thread, and the provider is asked to abort whatever runs there.
            stopped = self._thread is not None and self._thread.status is SessionStatus.STOPPED
            return stopped and call.verb == "session.abort"
        verbs = CALLS.get(bare) or CALLS.get(bare.removeprefix("adapter."))
        if verbs is None:
            raise UnknownWordError(self._row.id, "then.calls", name)
        if call.verb not in verbs:
            return False
        match argument:
            case "" | "permissions":
                return True
            case "fresh":
                return call.verb == "session.create"
            case "continuation":
                return True
            case "resumeCursor=c1":
                return call.verb == "session.get" and call.target == self._world.session_id
            case _ if call.verb == "promptAsync":
                return bool(call.body["parts"][0]["text"] == argument)
            case _:
                return call.target.replace("_", "") == argument.replace("_", "")

    def _check_order(self, wanted: list[str]) -> list[str]:
        if wanted != ["reconcile", "accept_commands"]:
            raise UnknownWordError(self._row.id, "then.order", wanted)
        return self._check_calls(["startSession", "sendTurn"]) + unless(
            [turn.state for turn in self._recent[-1:]] == [TurnState.INTERRUPTED], "the lost turn is not settled"
        )

    def _check_error_to_caller(self, wanted: bool | str) -> list[str]:  # noqa: FBT001 - as the row says it
        codes = [error.detail_code for error in self._world.errors]
        right = bool(codes) if wanted is True else "not_found" in codes
        return unless(right, f"errors: {codes}")

    def _check_events(self, wanted: list[str]) -> list[str]:
        if wanted != ["thread.session-stop-requested"]:
            raise UnknownWordError(self._row.id, "then.events", wanted)
        taken = bool(self._world.stops) and not self._world.errors
        stopped = self._thread is not None and self._thread.status is SessionStatus.STOPPED
        return unless(taken and stopped, f"stops: {self._world.stops}, errors: {self._world.errors}")

    def _check_rejected(self, wanted: bool) -> list[str]:  # noqa: FBT001 - as the row says it
        return unless(bool(self._world.errors) == wanted, f"errors: {self._world.errors}")

    def _check_completed(self, wanted: list[str]) -> list[str]:
        done = [status.removeprefix("completed ") for status in self._world.statuses]
        return unless(done == wanted, f"are {done}")

    def _check_resumeCursor(self, wanted: dict[str, Any]) -> list[str]:  # noqa: N802 - the row's word
        return unless(
            self._world.sessions == [wanted["sessionId"].replace("ses", "ses_", 1)], f"is {self._world.sessions}"
        )
