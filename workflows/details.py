"""The live text that the Temporal UI shows of a turn and a thread."""

from __future__ import annotations

from typing import Final

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from turnkeeper import own_place
    from turnkeeper.messages import AnswerResult, TurnRecord, TurnSnapshot
    from turnkeeper.observations import OpenRequest
    from turnkeeper.thread_messages import ThreadSnapshot
    from turnkeeper.threads import next_step, notes

ANSWERS_SHOWN: Final = 5
"""Latest answers in a turn's table: a person looks for the last one."""


def describe_turn(turn: TurnSnapshot) -> str:
    """Markdown: what the turn does, since when, and what comes next. Holds no text of the conversation."""
    rows = [
        ("state", f"**{turn.state}**"),
        ("doing", turn.doing),
        ("started", f"{turn.started_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("last progress", f"{turn.last_progress_at:%H:%M:%S} UTC"),
        ("deadline", f"{turn.deadline_at:%Y-%m-%d %H:%M} UTC"),
        ("looks, events", f"{turn.looks}, {turn.events_seen}"),
    ]
    if turn.continues is not None:
        rows.append(("continues", f"{turn.continues}, which the provider lost"))
    if turn.context_lost:
        rows.append(("context", "**lost**: the earlier provider session was gone, this turn began a fresh one"))
    if turn.next_check_at is not None:
        rows.append(("next check", f"{turn.next_check_at:%H:%M:%S} UTC"))
    if turn.retry_at is not None:
        rows.append(("provider's own retry", f"{turn.retry_at:%H:%M:%S} UTC"))
    if turn.stop_requested_at is not None:
        rows.append(("stop", f"{turn.stop_requested_at:%H:%M:%S} UTC, {turn.stop}"))
    rows += [(f"open {request.kind}", _asked(request, turn.session_id)) for request in turn.open_requests]
    rows += [(f"answer to {answer.request_id}", _answered(answer)) for answer in turn.answers[-ANSWERS_SHOWN:]]
    if (outcome := turn.outcome) is not None:
        rows += [
            ("reason", f"**{outcome.reason}**"),
            ("evidence", f"{outcome.evidence.kind}: {outcome.evidence.detail}"),
        ]
        if outcome.failure is not None:
            rows.append(("what to do", f"{outcome.failure.message} {outcome.failure.next_step}"))
    return _table(rows)


def _asked(request: OpenRequest, session_id: str | None) -> str:
    """Who asks what, and what can be chosen; the id is what an answer names."""
    child = "" if request.session_id == session_id else f", a sub-agent in {request.session_id}"
    options = [option.label for question in request.questions for option in question.options]
    choice = f" ({', '.join(options)})" if options else ""
    return f"{request.title}{choice}: `{request.request_id}`{child}"


def _answered(answer: AnswerResult) -> str:
    if answer.failure is None:
        return f"{answer.state}, by {answer.by or 'nobody here'}"
    return f"{answer.state}: {answer.failure.message} {answer.failure.next_step}"


def describe_thread(thread: ThreadSnapshot) -> str:
    """Markdown: what runs, what waits, what went wrong last."""
    active = thread.active
    rows = [
        ("session", f"**{thread.status}**"),
        ("endpoint", thread.endpoint),
        ("directory", thread.directory),
        ("active turn", f"{active.turn_id}: {active.prompt_start}" if active else "none"),
        ("waiting", str(len(thread.queued))),
    ]
    if thread.place is not None and not thread.place.granted:
        rows.append(("place", own_place.words(thread.place, thread.endpoint)))
    if thread.last_error is not None:
        rows.append(("last error", thread.last_error))
    if (what_to_do := next_step(thread)) is not None:
        rows.append(("what to do", what_to_do))
    rows += [(f"turn {turn.turn_id}", _recent_words(turn)) for turn in reversed(thread.recent)]
    if thread.permissions:
        rules = (f"{rule.action} {rule.permission}:{rule.target}" for rule in thread.permissions)
        rows.append(("permission rules", ", ".join(rules)))
    return _table(rows)


def _recent_words(turn: TurnRecord) -> str:
    return ", ".join([str(turn.state), str(turn.reason), *notes(turn)])


def _table(rows: list[tuple[str, str]]) -> str:
    # A pipe or a line break in a provider's text would break the table.
    lines = [f"| {name} | {' '.join(value.split()).replace('|', chr(0x2758))} |" for name, value in rows]
    return "\n".join(["| | |", "|---|---|", *lines])
