"""`--json`: one object a line, for programs. The keys are a contract; new ones may come, none goes.

* `started`: thread, turn, run, key, position, repeated, kept, continues, link; once more for a turn that goes on with
  a lost one
* `queued`: at, ahead
* `state`: at, state, doing
* `tool`: at, number, name, status, title
* `request`: at, id, kind, title, session, open, permission, patterns, questions
* `answered` (of `turnkeeper answer`): thread, turn_id, request_id, state, answer, by, failure
* `usage`: at, usage, tool_calls
* `retry`: at, retry_at (the provider calls its model again by itself)
* `stop_requested`: at, why
* `notice`: at, text
* `settled` (the last line of a turn that ended): thread, turn, run, session, state, reason, confirmed, why, evidence,
  text, text_truncated, usage, tool_calls, failure, context_lost, started_at, completed_at, seconds, link
* `never_begun` (the last line of a turn that was taken back, or ended otherwise before it began): thread, turn, key,
  state, reason, text
* `detached` (the last line when the following ended first): text
* `error` (the last line when a command failed): code, message, next_step

`at` is seconds since the beginning; times are ISO 8601 in UTC; `usage` has the fields of `observations.Usage`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, TextIO, assert_never

from turnkeeper.cli.changes import (
    Change,
    RequestClosed,
    RequestOpened,
    RetryNoticed,
    StateChanged,
    StopNoticed,
    ToolChanged,
    UsageChanged,
    changes,
)
from turnkeeper.cli.endings import complain
from turnkeeper.cli.views import Subject
from turnkeeper.errors import TurnkeeperError
from turnkeeper.messages import TurnRecord, TurnResult, TurnSnapshot

Entry = Mapping[str, object]


def write_entry(out: TextIO, entry: Entry) -> None:
    """One object as one line, at once."""
    out.write(f"{json.dumps(entry)}\n")
    out.flush()


class JsonView:
    """Writes one object a line to `out`."""

    def __init__(self, out: TextIO) -> None:
        """Write to `out`, which stays open."""
        self._out = out

    def begun(self, subject: Subject) -> None:
        self._write(
            {
                "event": "started",
                "thread": subject.thread_id,
                "turn": subject.turn_id,
                "run": subject.run_id,
                "key": subject.key,
                "position": subject.position,
                "repeated": subject.repeated,
                "kept": subject.kept,
                "continues": subject.continues,
                "link": subject.link,
            }
        )

    def queued(self, at: float, ahead: int) -> None:
        self._write({"event": "queued", "at": _at(at), "ahead": ahead})

    def seen(self, at: float, before: TurnSnapshot | None, after: TurnSnapshot) -> None:
        for change in changes(before, after):
            self._write({"event": _EVENTS[type(change)], "at": _at(at), **_facts(change)})

    def notice(self, at: float, text: str) -> None:
        self._write({"event": "notice", "at": _at(at), "text": text})

    def settled(self, subject: Subject, result: TurnResult) -> None:
        self._write(settled_entry(subject, result))

    def never_begun(self, subject: Subject, turn: TurnRecord, why: str) -> None:
        self._write(
            {
                "event": "never_begun",
                "thread": subject.thread_id,
                "turn": turn.turn_id,
                "key": turn.idempotency_key,
                "state": turn.state,
                "reason": turn.reason,
                "text": why,
            }
        )

    def failed(self, error: TurnkeeperError) -> None:
        self._write(error_entry(error))
        complain(str(error))

    def detached(self, text: str) -> None:
        self._write({"event": "detached", "text": text})

    def close(self) -> None:
        self._out.flush()

    def _write(self, entry: Entry) -> None:
        write_entry(self._out, entry)


def settled_entry(subject: Subject, result: TurnResult) -> Entry:
    """The outcome as one object."""
    outcome = result.outcome
    return {
        "event": "settled",
        "thread": result.thread_id,
        "turn": result.turn_id,
        "run": subject.run_id,
        "session": result.session_id,
        "state": outcome.state,
        "reason": outcome.reason,
        "confirmed": outcome.confirmed,
        "why": outcome.why,
        "evidence": outcome.evidence.model_dump(mode="json"),
        "text": outcome.text,
        "text_truncated": outcome.text_truncated,
        "usage": outcome.usage.model_dump(mode="json"),
        "tool_calls": outcome.tool_calls,
        "failure": outcome.failure.model_dump(mode="json") if outcome.failure else None,
        "context_lost": result.context_lost,
        "started_at": outcome.started_at.isoformat(),
        "completed_at": outcome.completed_at.isoformat(),
        "seconds": round((outcome.completed_at - outcome.started_at).total_seconds(), 3),
        "link": subject.link,
    }


def error_entry(error: TurnkeeperError) -> Entry:
    """A command that failed."""
    return {
        "event": "error",
        "code": error.detail_code,
        "message": error.message,
        "next_step": error.next_step,
    }


def usage_entry(message: str) -> Entry:
    """A command line that says nothing: a wrong option or argument."""
    return {"event": "error", "code": "usage", "message": message, "next_step": ""}


_EVENTS: Final[Mapping[type[Change], str]] = {
    StateChanged: "state",
    ToolChanged: "tool",
    RequestOpened: "request",
    RequestClosed: "request",
    UsageChanged: "usage",
    RetryNoticed: "retry",
    StopNoticed: "stop_requested",
}


def _facts(change: Change) -> Entry:
    match change:
        case StateChanged(state=state, doing=doing):
            return {"state": state, "doing": doing}
        case ToolChanged(number=number, tool=tool):
            return {"number": number, "name": tool.name, "status": tool.status, "title": tool.title}
        case RequestOpened(request=request) | RequestClosed(request=request):
            is_open = isinstance(change, RequestOpened)
            facts = request.model_dump(mode="json", include={"permission", "patterns", "questions"})
            return {
                "id": request.request_id,
                "kind": request.kind,
                "title": request.title,
                "session": request.session_id,
                "open": is_open,
                **facts,
            }
        case UsageChanged(usage=usage, tool_calls=tool_calls):
            return {"usage": usage.model_dump(mode="json"), "tool_calls": tool_calls}
        case RetryNoticed(at=at):
            return {"retry_at": at.isoformat()}
        case StopNoticed(why=why):
            return {"why": why}
        case _:
            assert_never(change)


def _at(seconds: float) -> float:
    return round(seconds, 3)
