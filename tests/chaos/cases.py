"""What can be asked for while things break: the kinds of prompts, each with its script, and what became of one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final

from pydantic import JsonValue

from tests.e2e.turns.prompts import DONE, Step, bash, plan, seconds, slow_text
from turnkeeper.findings import AdoptResult
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import AnswerResult, InterruptResult, TurnRecord, TurnResult

LIMITS: Final = TurnLimits(deadline=seconds(150), stall_timeout=seconds(120), tool_stall_timeout=seconds(120))
"""Production's, but for the clocks that would hide for hours what never settles."""

TOO_LONG: Final = 45
"""Seconds of work in a prompt that somebody stops: one that comes to its end was never stopped."""


class Kind(StrEnum):
    """What the prompt asks for, and what its person does."""

    WORDS = "an answer in words"
    TOOL = "a command, then words"
    SILENT_TOOL = "a long command that says nothing"
    PERMISSION = "a command that a person allows"
    REJECTED = "a command that a person rejects"
    QUESTION = "a question that a person answers"
    RETRIED = "the model fails once"
    FAILED = "the model refuses"
    SUBAGENT = "a sub-agent runs a command"
    SUBAGENT_ASKS = "a sub-agent asks, a person allows"
    STOPPED_AT_ONCE = "stopped in its first second"
    STOPPED_IN_WORDS = "stopped while it answers"
    STOPPED_IN_TOOL = "stopped while a command runs"
    STOPPED_IN_SUBAGENT = "stopped while a sub-agent works"
    QUEUED = "waits behind another prompt"
    REMOVED = "waits, and is taken out of the queue"
    SENT_NOW = "waits, and is sent now: the running one is stopped"
    INTERRUPTS = "stops the running one and takes its place"
    STEERS = "is given into a running turn"
    STARTED_TWICE = "its start is sent twice"
    ADOPTED = "begun in OpenCode itself, then taken over"
    CONTINUED = "goes on by itself if its run dies"
    MAKES_WAY = "stopped in favour of another prompt"
    LONG_WORDS = "an answer that takes up to a minute"


STOPPED: Final = frozenset(
    {Kind.STOPPED_AT_ONCE, Kind.STOPPED_IN_WORDS, Kind.STOPPED_IN_TOOL, Kind.STOPPED_IN_SUBAGENT, Kind.MAKES_WAY}
)
BEHIND: Final = frozenset({Kind.QUEUED, Kind.REMOVED, Kind.SENT_NOW, Kind.INTERRUPTS, Kind.STEERS})
"""Given while another prompt of the same thread runs."""

ANSWERED: Final = frozenset({Kind.PERMISSION, Kind.REJECTED, Kind.QUESTION, Kind.SUBAGENT_ASKS})
MARKED: Final = frozenset(Kind) - {
    Kind.WORDS, Kind.LONG_WORDS, Kind.FAILED, Kind.REJECTED, Kind.MAKES_WAY, Kind.STEERS,
    Kind.STOPPED_AT_ONCE, Kind.STOPPED_IN_WORDS, Kind.STOPPED_IN_TOOL, Kind.STOPPED_IN_SUBAGENT,
}  # fmt: skip
"""Leaves one line in a file when it comes to its end."""

STORIES: Final = tuple(kind for kind in Kind if kind not in {Kind.MAKES_WAY, Kind.LONG_WORDS})
"""What a story of a run may be about. Who makes way is in the stories of those who do not wait; the long ones
are for a soak."""


@dataclass
class Case:
    """One prompt and what became of it, as its person saw it. Times in seconds of the epoch."""

    kind: Kind
    word: str
    thread: str
    started_at: float = 0.0
    into: Case | None = None
    """Of a steer: the prompt whose run it was given into."""
    stop_asked_at: float | None = None
    stop_taken_at: float | None = None
    """When Turnkeeper answered the stop, or the command that implies one."""
    stop_refused: bool = False
    """The prompt that it should make way for had begun, so nothing had to stop."""
    stop: InterruptResult | None = None
    answer: AnswerResult | None = None
    answer_given: bool = False
    removed: bool = False
    """A person was told that it is out of the queue and has not begun."""
    adopted: AdoptResult | None = None
    adopted_at: float | None = None
    follow_ups: tuple[TurnRecord, ...] = ()
    """Turns of the thread that went on with a lost one."""
    result: TurnResult | None = None
    complaint: str = ""
    """Why there is no result."""


def one_run(case: Case, other: Case) -> bool:
    """Did one turn answer both prompts, as far as their person was told?"""
    if case.into is not other and other.into is not case:
        return False
    return case.result is not None and other.result is not None and case.result.turn_id == other.result.turn_id


def plan_of(case: Case, random: Random) -> str:
    """The prompt: its word, and the plan for the scripted model."""
    line = f"echo {case.word} >> {case.word}.txt"
    mark, ask = bash(line), bash(f"echo ask >> {case.word}.txt")
    some = random.uniform(0.2, 3)
    steps: dict[Kind, tuple[Step, ...]] = {
        Kind.WORDS: (slow_text(some + 0.5),),
        Kind.LONG_WORDS: (slow_text(20 * some + 0.5),),
        Kind.TOOL: (bash(f"{line}; sleep {some:.1f}"), DONE),
        Kind.SILENT_TOOL: (bash(f"sleep {some + 2.5:.1f}; {line}"), DONE),
        Kind.PERMISSION: (ask, DONE),
        Kind.REJECTED: (ask, DONE),
        Kind.QUESTION: (_question(), mark, DONE),
        Kind.RETRIED: ({"kind": "http", "status": 500}, mark, DONE),
        Kind.FAILED: ({"kind": "http", "status": 401, "times": "always"},),
        Kind.SUBAGENT: (_hand_over(bash(f"{line}; sleep {some:.1f}"), DONE), DONE),
        Kind.SUBAGENT_ASKS: (_hand_over(ask, DONE), DONE),
        Kind.STOPPED_AT_ONCE: (slow_text(TOO_LONG),),
        Kind.STOPPED_IN_WORDS: (slow_text(TOO_LONG),),
        Kind.STOPPED_IN_TOOL: (bash(f"sleep {TOO_LONG}; {line}"), DONE),
        Kind.STOPPED_IN_SUBAGENT: (_hand_over(bash(f"sleep {TOO_LONG}; {line}"), DONE), slow_text(TOO_LONG)),
        Kind.MAKES_WAY: (slow_text(TOO_LONG),),
        # No command: the script counts the answers since the last prompt, and an earlier one's may come after it.
        Kind.STEERS: (DONE,),
        Kind.ADOPTED: (bash(f"{line}; sleep {some + 1:.1f}"), slow_text(1)),
        Kind.CONTINUED: (bash(f"{line}; sleep {some:.1f}"), slow_text(1)),
    }
    return f"{case.word} {plan(*steps.get(case.kind, (mark, DONE)))}"


def _hand_over(*steps: Step) -> Step:
    """The sub-agent's own prompt holds no word: only its person's does."""
    arguments: dict[str, JsonValue] = {"description": "part of it", "prompt": plan(*steps), "subagent_type": "general"}
    return {"kind": "tool", "name": "task", "arguments": arguments}


def _question() -> Step:
    options: list[JsonValue] = [
        {"label": "left", "description": "that way"},
        {"label": "right", "description": "the other way"},
    ]
    question: Step = {"question": "Which way?", "header": "Way", "options": options}
    return {"kind": "tool", "name": "question", "arguments": {"questions": [question]}}
