"""The words of the plain and the live view. Pure: each function gives lines."""

from __future__ import annotations

import shlex
from enum import Enum
from typing import Final, assert_never

from turnkeeper.cli.changes import (
    Change,
    RequestClosed,
    RequestOpened,
    RetryNoticed,
    StateChanged,
    StopNoticed,
    ToolChanged,
    UsageChanged,
)
from turnkeeper.cli.figures import clock, dollars, one_line, printable, span, tokens
from turnkeeper.cli.views import Subject
from turnkeeper.messages import Outcome, TurnRecord, TurnResult
from turnkeeper.observations import OpenRequest, Question

LINE_CHARACTERS: Final = 160
"""Characters of one progress line: wide terminals and logs, without wrapping on most."""

QUESTION_CHARACTERS: Final = 1000
"""Characters of a question: all that a turn keeps of it."""

EVIDENCE_CHARACTERS: Final = 600
"""Characters of the evidence: its conclusion stands at its end."""


def beginning(subject: Subject) -> tuple[str, ...]:
    """Which turn this is."""
    turn = f", turn {subject.turn_id}" if subject.turn_id else ""
    first = f"thread {subject.thread_id}{turn}"
    if subject.continues:
        first += f" (goes on with {subject.continues}, which the provider lost)"
    if subject.repeated:
        first += " (the key was used before: this is the earlier turn)"
    if subject.kept:
        return first, "No worker answered: the prompt is kept and runs once one is up."
    return (first,)


def waiting_in_line(ahead: int) -> str:
    """A queued turn."""
    return f"queued: {ahead} turn{'s' if ahead != 1 else ''} of this thread run{'' if ahead != 1 else 's'} first"


def timed(at: float, text: str) -> str:
    """A progress line."""
    return f"{clock(at)}  {one_line(text, LINE_CHARACTERS)}"


def change_line(change: Change) -> str:
    """One change in words."""
    match change:
        case StateChanged(state=state, doing=doing):
            return f"{state}: {doing}" if doing else str(state)
        case ToolChanged(number=number, tool=tool):
            return f"tool {number} {tool.name}{f' {tool.title}' if tool.title else ''}: {tool.status}"
        case RequestOpened(request=request):
            return f"waiting for you: {request.kind} {request.title}"
        case RequestClosed(request=request):
            return f"answered or withdrawn: {request.kind} {request.title}"
        case UsageChanged(usage=usage):
            return f"{tokens(usage)}, {dollars(usage)}"
        case RetryNoticed(at=at):
            return f"the model failed; the provider tries again by itself at {at:%H:%M:%S} UTC"
        case StopNoticed(why=why):
            return why or "a stop was asked for"  # a worker of an earlier version does not say why
        case _:
            assert_never(change)


def answering(thread_id: str, request: OpenRequest) -> tuple[str, ...]:
    """What is asked in full, and the command that answers it. Never cut: somebody types it."""
    command = f"turnkeeper answer {shlex.quote(thread_id)} {shlex.quote(printable(request.request_id))}"
    if request.kind == "permission":
        return (f"{command} --once", "or instead of --once: --always, --reject, --reject --message TEXT")
    found: list[str] = []
    for question in request.questions:
        found.append(one_line(question.text or question.header, QUESTION_CHARACTERS))
        found += [
            one_line(f"- {option.label}{f': {option.description}' if option.description else ''}", LINE_CHARACTERS)
            for option in question.options
        ]
    answers = " ".join(f"--answer {_example(question)}" for question in request.questions)
    return (*found, f"{command} {answers}".rstrip(), "or in words of your own, or --reject")


def _example(question: Question) -> str:
    return shlex.quote(printable(question.options[0].label)) if question.options else "TEXT"


def ending(result: TurnResult, link: str | None) -> tuple[str, ...]:
    """The outcome, after the answer."""
    outcome = result.outcome
    took = span((outcome.completed_at - outcome.started_at).total_seconds())
    evidence = outcome.evidence
    basis = f"{evidence.kind}, woken by {evidence.woken_by}" if evidence.woken_by else str(evidence.kind)
    calls = f"{outcome.tool_calls} tool call{'s' if outcome.tool_calls != 1 else ''}"
    lines = [
        f"{verdict(outcome)} after {took}",
        *([f"why: {one_line(outcome.why, LINE_CHARACTERS)}"] if outcome.why else []),
        f"evidence: {one_line(evidence.detail, EVIDENCE_CHARACTERS)} ({basis})",
        f"used: {tokens(outcome.usage)}, {calls}, {dollars(outcome.usage)}",
    ]
    if outcome.failure is not None:
        failure = outcome.failure
        lines.append(f"failure: {printable(failure.message)} {printable(failure.next_step)}".rstrip())
    if result.context_lost:
        lines.append("The thread's earlier provider session was gone: this turn began without its context.")
    if outcome.text_truncated:
        lines.append("The answer is longer than what is kept; the provider has all of it.")
    if link:
        lines.append(f"see it: {link}")
    return tuple(lines)


def never_begun(why: str, turn: TurnRecord) -> str:
    """A turn that ended, and nothing of it ran."""
    return f"{turn.state}: {turn.reason}. {why}" if turn.reason else why


def verdict(outcome: Outcome) -> str:
    """State and reason, and for a stop whether the provider confirmed it."""
    confirmed = {True: ", confirmed", False: ", unconfirmed", None: ""}[outcome.confirmed]
    return f"{outcome.state}: {outcome.reason}{confirmed}"


class Stop(Enum):
    """How far a stop has come that was asked for here."""

    NONE = "none"
    SENT = "sent"  # nobody has answered it yet
    KEPT = "kept"  # Temporal has it, and no worker
    FAILED = "failed"  # nobody has it


def leaving(subject: Subject, stop: Stop, silence: str | None) -> str:
    """What goes on without the person, and how to come back. `silence`: why nobody answers right now, if so."""
    thread_id = subject.thread_id
    back = f"Follow it again with: turnkeeper follow {thread_id}"
    match stop:
        case Stop.FAILED:
            return f"The stop was not accepted. Once Temporal answers: turnkeeper interrupt {thread_id}"
        case Stop.KEPT:
            return f"The stop is kept, and done once a worker is up. {back}"
        case Stop.SENT if silence:
            return (
                f"It is not known whether the stop was accepted: {silence} Ask again: turnkeeper interrupt {thread_id}"
            )
        case Stop.SENT:
            return f"The stop goes on without this terminal. {back}"
        case Stop.NONE if silence:
            return f"It is not known whether the turn goes on: {silence} {back}"
        case Stop.NONE if subject.waits:
            return f"The prompt stays where it is and runs when it is its turn. {back}"
        case Stop.NONE:
            return f"The turn goes on. {back}"
        case _:
            assert_never(stop)
