"""The contract of the workflows: every input, signal, update, query and result of `Turn` and `Endpoint`.

What only a `Thread` says and is told is in `thread_messages`, what else can be asked of one in `commands` and
`findings`; the rules here hold for all.

Pure data: this module knows neither Temporal nor HTTP. Commands (what callers and operators send) refuse unknown
fields, so that a typo is an error; everything else ignores them, so that an older worker can read what a newer one
wrote. Durations are ISO 8601 (`PT10S`) or plain seconds in JSON; times are UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Self

from pydantic import Field, StringConstraints, model_validator

from turnkeeper.limits import (
    LATEST_TOOLS,
    MAX_ANSWER_BYTES,
    MAX_ANSWER_CHARACTERS,
    MAX_ANSWERS,
    MAX_ANSWERS_SHOWN_BYTES,
    MAX_DIGEST_CHARACTERS,
    MAX_ENDPOINT_EVENTS,
    MAX_LISTED_BYTES,
    MAX_PATTERN_CHARACTERS,
    MAX_PROMPT_BYTES,
    MAX_QUOTED_CHARACTERS,
    MAX_REASON_CHARACTERS,
    MAX_RECENT_TURNS,
    MAX_REQUEST_ID_CHARACTERS,
    MAX_RULES_BYTES,
    MAX_TEXT_BYTES,
    MAX_TURN_ID_CHARACTERS,
    PROMPT_START_CHARACTERS,
    TurnLimits,
)
from turnkeeper.observations import Failure, Ids, RelayStatus, Reply, Requests, ToolUse, Usage
from turnkeeper.place_messages import Places, PlacesShown
from turnkeeper.vocabulary import (
    AgentName,
    AnsweredBy,
    AnswerState,
    AtMost,
    AtMostBytes,
    Command,
    Directory,
    EndpointName,
    EvidenceKind,
    Id,
    Key,
    Label,
    ModelName,
    PermissionReply,
    PolicyAction,
    QueueName,
    Reason,
    Record,
    Said,
    ThreadId,
    TurnState,
    Wake,
)

WORKFLOW_TASK_QUEUE: Final = "turnkeeper"


def thread_workflow_id(thread_id: str) -> str:
    """The `Thread` workflow's id."""
    return f"thread:{thread_id}"


def turn_workflow_id(thread_id: str) -> str:
    """The id that every `Turn` of a thread runs under, one run a turn: Temporal then allows one at a time."""
    return f"turn:{thread_id}"


def endpoint_workflow_id(name: str) -> str:
    """The `Endpoint` workflow's id."""
    return f"endpoint:{name}"


TurnId = Annotated[str, AtMost(MAX_TURN_ID_CHARACTERS)]
Quoted = Annotated[str, AtMost(MAX_QUOTED_CHARACTERS)]
Digest = Annotated[str, AtMost(MAX_DIGEST_CHARACTERS)]


class Evidence(Record):
    """What a settlement rests on, and when that was known."""

    kind: EvidenceKind
    woken_by: Wake | None = None
    at: datetime
    detail: Said


Pattern = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PATTERN_CHARACTERS)]


class PermissionRule(Command):
    """Answers permissions without a person. Patterns as in OpenCode's own rules; of several rules the first match wins.

    A denied request is rejected with a message, so the agent goes on without it; what no rule matches is asked.
    """

    permission: Pattern = Field(description='such as "bash", or "*" for every one')
    target: Pattern = Field(default="*", description='of what is asked for, such as "git *"')
    action: PolicyAction


Rules = Annotated[tuple[PermissionRule, ...], AtMostBytes(MAX_RULES_BYTES)]


class TurnInput(Record):
    """All that a `Turn` needs to know; nothing is read from configuration while it runs."""

    thread_id: ThreadId
    turn_id: Id
    endpoint: EndpointName
    task_queue: QueueName
    local_calls: bool = Field(
        default=False,
        description="quick calls run inside the workflow task. Only turns that were begun so: what the SDK says of the "
        "end of such a call may differ in a replay, and the turn is then stuck",
    )
    looks_grow: bool = Field(
        default=False, description="looks by the clock become ever rarer; not in turns that were begun before that"
    )
    recovers: bool = Field(
        default=False,
        description="a prompt that the provider stored and never ran is sent again, and gaps in what the turn is told "
        "are looked into; not in turns that were begun before that",
    )
    gap_decides: bool = Field(
        default=False,
        description="a run that the provider had when it was away is believed lost after a second, and what went into "
        "it is given back as soon; not in turns that were begun before that",
    )
    takes_readings: bool = Field(
        default=False,
        description="what the relay read as the session became idle counts as a look; not in turns that were begun "
        "before that",
    )
    directory: Directory
    session_id: Id | None = None
    session_is_new: bool = Field(default=False, description="created for this turn: nothing was ever sent to it")
    creation_key: Id | None = Field(
        default=None, description="of a session that was perhaps created at the door: look for it before creating one"
    )
    prompt: Annotated[str, AtMostBytes(MAX_PROMPT_BYTES)]
    model: ModelName | None = None
    agent: AgentName | None = None
    limits: TurnLimits = TurnLimits()
    permissions: Rules = ()
    continues: Id | None = Field(
        default=None, description="the turn whose run was lost and that this one goes on with, in its session only"
    )
    adopted_message_id: Id | None = Field(
        default=None, description="a prompt that somebody else sent and that runs: follow it, send nothing"
    )
    steer_message_id: Id | None = Field(
        default=None, description="the prompt was given to an earlier turn under it: it keeps it, and is stored once"
    )
    withdraw: Ids = Field(
        default=(), description="message ids of prompts that an earlier turn gave back: out of the session first"
    )


class Outcome(Record):
    """How a turn ended."""

    state: TurnState
    reason: Reason
    evidence: Evidence
    started_at: datetime
    completed_at: datetime
    confirmed: bool | None = Field(default=None, description="for stops: did the provider confirm that nothing runs?")
    why: Said = Field(default="", description="for stops: what was said when it was asked for")
    text: Annotated[str, AtMostBytes(MAX_TEXT_BYTES)] = ""
    text_truncated: bool = False
    message_id: Id | None = None
    usage: Usage = Usage()
    tool_calls: int = 0
    failure: Failure | None = None


class TurnRecord(Record):
    """A turn in a thread's memory: small, because threads carry it when they continue as new."""

    turn_id: TurnId
    idempotency_key: Id
    state: TurnState
    prompt_start: Annotated[str, AtMost(PROMPT_START_CHARACTERS)]
    run_id: Id | None = None
    reason: Reason | None = None
    confirmed: bool | None = None
    why: Annotated[str, AtMost(MAX_REASON_CHARACTERS)] = Field(
        default="", description="for stops: what was said when it was asked for"
    )
    started_at: datetime | None = None
    completed_at: datetime | None = None
    error: Quoted | None = None
    next_step: Quoted | None = Field(default=None, description="what to do about the error")
    context_lost: bool = Field(default=False, description="the earlier session was gone; this turn began a fresh one")
    continues: TurnId | None = Field(default=None, description="the lost turn that this one goes on with")
    adopted: bool = Field(default=False, description="somebody else sent its prompt, and it was taken over")
    steered_into: TurnId | None = Field(default=None, description="the turn whose run this prompt is a part of")
    prompt_digest: Digest = Field(default="", description="of the whole prompt, to know it again; see `keys`")


Waiting = Annotated[tuple[TurnRecord, ...], AtMostBytes(MAX_LISTED_BYTES)]

Latest = Annotated[tuple[TurnRecord, ...], AtMost(MAX_RECENT_TURNS)]


class TurnResult(Record):
    """Result of the `Turn` workflow."""

    thread_id: ThreadId
    turn_id: Id
    session_id: Id | None
    client_message_id: Id | None
    context_lost: bool = Field(default=False, description="the earlier session was gone; this turn began a fresh one")
    outcome: Outcome
    steered: Ids = Field(default=(), description="turn ids of further prompts that this turn answered")
    stop_asked: bool = Field(default=False, description="by somebody, if only after the end was decided")


class SteerTurn(Record):
    """Signal `steer` to a `Turn`: this prompt shall go into it."""

    turn_id: Id
    prompt: Annotated[str, AtMostBytes(MAX_PROMPT_BYTES)]
    model: ModelName | None = None
    agent: AgentName | None = None
    message_id: Id | None = Field(
        default=None, description="minted by the thread, so that the prompt has it for life; None: of an older thread"
    )


class SteerNews(Record):
    """Signal `steer_news` of a `Turn` to its `Thread`: the prompt was sent into the turn, or could not be."""

    turn_id: Id
    sent: bool


class Interrupt(Command):
    """Signal `interrupt` and update `interrupt_and_wait` of `Turn`; update `interrupt` of `Thread`."""

    turn_id: Key | None = Field(default=None, description="refused if another turn is the active one; None: whichever")
    why: Annotated[str, StringConstraints(max_length=MAX_REASON_CHARACTERS)] = ""
    idempotency_key: Key | None = Field(
        default=None, description="given again, it is the same stop: it never stops the turn after it"
    )
    keep: bool = Field(default=False, description="an unconfirmed stop is given up and the turn watched as before")


class InterruptResult(Record):
    """What a stop did."""

    turn_id: Id | None
    was_running: bool
    outcome: Outcome | None = None
    failure: Said | None = Field(default=None, description="why a stop that keeps everything as it was failed")
    queued: Waiting = Field(default=(), description="prompts that wait, untouched, in their order")
    held: bool = Field(default=False, description="they wait until somebody says that they shall go on")

    @property
    def confirmed(self) -> bool:
        """Is it known that nothing runs any more? True as well when nothing was running."""
        return self.failure is None and (self.outcome is None or self.outcome.confirmed is not False)


Choices = Annotated[
    tuple[Annotated[str, StringConstraints(max_length=MAX_ANSWER_CHARACTERS)], ...], Field(max_length=MAX_ANSWERS)
]


class Answer(Command):
    """Update `answer` of `Turn`, and its signal twin `request_answer`. Exactly one of permission, answers and reject.

    The first answer to a request wins; the same one again gets the same result.
    """

    request_id: Annotated[str, StringConstraints(min_length=1, max_length=MAX_REQUEST_ID_CHARACTERS)]
    permission: PermissionReply | None = None
    answers: Annotated[tuple[Choices, ...], Field(max_length=MAX_ANSWERS), AtMostBytes(MAX_ANSWER_BYTES)] | None = (
        Field(default=None, description="for each question its answers: one, or several where that is allowed")
    )
    reject: bool = Field(default=False, description="a permission or a question")
    message: Annotated[str, StringConstraints(max_length=MAX_REASON_CHARACTERS)] = Field(
        default="", description="with a rejected permission: what to do instead; without one the turn ends"
    )

    @model_validator(mode="after")
    def _one_answer(self) -> Self:
        if (self.permission is not None) + (self.answers is not None) + self.reject != 1:
            raise ValueError("give exactly one of permission, answers and reject")
        rejects = self.reject or self.permission is PermissionReply.REJECT
        if self.message and not rejects:
            raise ValueError("only a rejection carries a message")
        return self


class AnswerResult(Record):
    """What became of an answer, and the answer that won."""

    turn_id: Id | None
    request_id: Id
    state: AnswerState
    answer: Reply | None = Field(default=None, description="the one that won; None: not given through Turnkeeper")
    by: AnsweredBy | None = None
    failure: Failure | None = None


class TurnSnapshot(Record):
    """Query `snapshot` of `Turn`."""

    thread_id: ThreadId
    turn_id: Id
    state: TurnState
    session_id: Id | None
    client_message_id: Id | None
    context_lost: bool = Field(default=False, description="the earlier session was gone; this turn began a fresh one")
    continues: Id | None = Field(default=None, description="the lost turn that this one goes on with")
    delivery: Label
    doing: Said = Field(description="what the turn waits for, in words")
    started_at: datetime
    last_progress_at: datetime
    next_check_at: datetime | None
    deadline_at: datetime
    stop_requested_at: datetime | None = None
    retry_at: datetime | None = Field(default=None, description="when the provider calls its model again by itself")
    stop: Said = Field(default="", description="who or what stops it, in words")
    looks: int = 0
    events_seen: int = 0
    open_requests: Requests = ()
    answers: Annotated[tuple[AnswerResult, ...], AtMostBytes(MAX_ANSWERS_SHOWN_BYTES)] = Field(
        default=(), description="to this turn's requests, newest last, bounded"
    )
    tools: Annotated[tuple[ToolUse, ...], AtMost(LATEST_TOOLS)] = ()
    tool_calls: int = 0
    usage: Usage = Usage()
    text: Annotated[str, AtMostBytes(MAX_TEXT_BYTES)] = ""
    outcome: Outcome | None = None


class StopFailed(Record):
    """Signal `stop_failed` of a `Turn` to its `Thread`: a stop that keeps its turn was not confirmed."""

    turn_id: Id
    why: Said


class EndpointInput(Record):
    """Input of `Endpoint`."""

    endpoint: EndpointName
    task_queue: QueueName
    relay_status: RelayStatus | None = Field(default=None, description="carried by continue-as-new")
    continue_after_events: int = Field(
        default=MAX_ENDPOINT_EVENTS, gt=20, description="history events after which the endpoint continues as new"
    )
    places: Places = Field(default=Places(), description="carried by continue-as-new")


class EndpointSnapshot(Record):
    """Query `snapshot` of `Endpoint`."""

    endpoint: EndpointName
    relay: RelayStatus | None
    since: datetime
    places: PlacesShown | None = Field(default=None, description="None: no turn ever needed one")
