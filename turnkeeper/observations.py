"""What crosses the line between workflows and the provider: observations, events, and what activities take and give.

Pure data: neither Temporal nor HTTP. *Unknown is not empty*: "could not ask" (`Unreachable`) and "asked, and it is
not there" (`NotThere`) are different types, and only the second may ever end anything.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from turnkeeper.limits import (
    LATEST_TOOLS,
    MAX_ANSWER_BYTES,
    MAX_ANSWERS,
    MAX_BATCH,
    MAX_IDS,
    MAX_OPTIONS,
    MAX_PATTERN_CHARACTERS,
    MAX_PATTERNS,
    MAX_PROMPT_BYTES,
    MAX_READING_BYTES,
    MAX_REQUESTS_BYTES,
    MAX_TEXT_BYTES,
    TurnLimits,
)
from turnkeeper.vocabulary import (
    AgentName,
    AtMost,
    AtMostBytes,
    Command,
    Cut,
    Directory,
    EndpointName,
    EventKind,
    Fault,
    Id,
    Label,
    ModelName,
    NamespaceName,
    PermissionReply,
    QueueName,
    Record,
    Said,
    Standing,
    ThreadId,
)


class Failure(Record):
    """A failure in words for the person who has to act on it. Holds no secret and no address."""

    code: Id
    fault: Fault
    message: Said
    retryable: bool = False
    next_step: Said = ""
    overloaded: bool = Field(default=False, description="the server is there, did nothing, and asks to be left alone")
    retry_after: float | None = Field(default=None, description="seconds that it asks for; with `overloaded`")


class Usage(Record):
    """Tokens and money that the provider reports for a turn, all its model calls together."""

    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost: float = Field(default=0.0, description="US dollars, as the provider reckons it")
    model_calls: int = 0


class ToolUse(Record):
    """One tool call of the turn, as far as the provider stores it."""

    name: Label
    status: Label
    title: Label = ""


class Option(Record):
    """A choice that a question offers."""

    label: Label
    description: Label = ""


class Question(Record):
    """One question of a request. Its own words are an answer too: the options are offers."""

    text: Said
    header: Label = ""
    options: Annotated[tuple[Option, ...], Cut(MAX_OPTIONS)] = ()
    multiple: bool = Field(default=False, description="several answers may be given")


PatternAsked = Annotated[str, AtMost(MAX_PATTERN_CHARACTERS)]
Ids = Annotated[tuple[Id, ...], AtMost(MAX_IDS)]

RequestKind = Literal["permission", "question"]


class OpenRequest(Record):
    """A permission or a question that the agent puts to a person. Bounded in every part."""

    request_id: Id
    kind: RequestKind
    session_id: Id = Field(description="the session that asks: the turn's own, or a child's")
    title: Label
    asked_at: datetime | None = Field(default=None, description="when the turn first saw it")
    permission: Label = Field(default="", description='what a permission is about, such as "bash"; any name')
    patterns: Annotated[tuple[PatternAsked, ...], AtMost(MAX_PATTERNS)] = Field(
        default=(), description="what it is asked for: commands, paths, addresses"
    )
    patterns_cut: bool = Field(default=False, description="not all of it is here: no rule may allow it")
    questions: Annotated[tuple[Question, ...], AtMost(MAX_ANSWERS)] = ()


Requests = Annotated[tuple[OpenRequest, ...], AtMostBytes(MAX_REQUESTS_BYTES)]


class Reply(Record):
    """An answer as the provider gets it. With neither of the first two it rejects a question."""

    permission: PermissionReply | None = None
    answers: Annotated[tuple[tuple[str, ...], ...], AtMostBytes(MAX_ANSWER_BYTES)] | None = Field(
        default=None, description="one entry for each question"
    )
    message: Said = Field(default="", description="with a rejected permission: what to do instead; the turn goes on")


class Seen(Record):
    """The provider answered, and the prompt is in its message list."""

    kind: Literal["seen"] = "seen"
    standing: Standing
    detail: Said = Field(description="the facts behind the standing, in one sentence")
    fingerprint: Label = Field(default="", description="changes whenever the provider stored progress of this turn")
    message_id: Id | None = None
    text: Annotated[str, AtMostBytes(MAX_TEXT_BYTES)] = ""
    text_truncated: bool = False
    usage: Usage = Usage()
    tools: Annotated[tuple[ToolUse, ...], AtMost(LATEST_TOOLS)] = Field(
        default=(), description="the latest tool calls, newest last, bounded"
    )
    tool_calls: int = 0
    open_tools: int = Field(default=0, description="tool calls and child sessions in flight")
    open_requests: Requests = ()
    retry_at: datetime | None = None
    failure: Failure | None = None
    steered: Ids = Field(default=(), description="message ids of further prompts of the turn, if stored")
    unanswered: Ids = Field(default=(), description="those of them under which nothing stands yet")


class NotThere(Record):
    """The provider answered, and the prompt or the whole session is confirmed not to exist."""

    kind: Literal["not_there"] = "not_there"
    what: Literal["prompt", "session"]
    busy: bool = Field(default=False, description="the session works on something, so the prompt may yet appear")


class Unreachable(Record):
    """The provider could not be asked. Says nothing at all about the turn."""

    kind: Literal["unreachable"] = "unreachable"
    failure: Failure
    perhaps_done: bool = Field(default=False, description="what was asked for may have been done all the same")


Observation = Annotated[Seen | NotThere | Unreachable, Field(discriminator="kind")]


class Reading(Record):
    """What the relay read when a session became idle: the turn of its newest prompt was over.

    A turn that would ask for just this need not ask. Whatever else comes later, an ended turn of a prompt stays ended.
    """

    session_id: Id
    message_id: Id = Field(description="of the session's newest prompt")
    text_limit: int
    seen: Seen


class ProviderEvent(Record):
    """A provider event in canonical form."""

    id: Id
    kind: EventKind
    session_id: Id = ""
    at: datetime | None = None
    child: bool = Field(default=False, description="of a child session of the turn's session")
    count: int = Field(default=1, description="provider events folded into this one")
    cut_off: bool = Field(
        default=False, description="what the provider had begun may be dropped: it, or a connection to it, was gone"
    )
    detail: Said = ""


class ProviderEvents(Record):
    """Signal `provider_events`: a batch, because 25 events in one signal cost a tenth of an event of history each.

    Tolerant: the relay's worker may be newer than the turn's.
    """

    events: Annotated[tuple[ProviderEvent, ...], AtMost(MAX_BATCH)]
    reading: Annotated[Reading | None, AtMostBytes(MAX_READING_BYTES)] = Field(
        default=None, description="after the last event, where that is an end of a run"
    )

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Turns of builds that knew no readings refuse a signal that names one."""
        return {name: value for name, value in whole(self).items() if value is not None}


class SessionRequest(Record):
    """Make sure that the thread's provider session exists."""

    endpoint: EndpointName
    thread_id: ThreadId
    namespace: NamespaceName
    directory: Directory
    session_id: Id | None = Field(description="the session to resume; None: create one")
    creation_key: Id = Field(description="minted once a turn and kept in the session: tells one that we created")
    perhaps_created: bool = Field(
        default=False, description="an earlier try ended without an answer: look for its session before creating one"
    )
    title: Label = ""
    model: ModelName | None = None
    agent: AgentName | None = None


class SessionOpened(Record):
    """The session exists, belongs to the directory and carries our metadata."""

    kind: Literal["opened"] = "opened"
    session_id: Id
    created: bool = False


class SessionMissing(Record):
    """Confirmed: the session that was to be resumed does not exist any more."""

    kind: Literal["missing"] = "missing"


class Refused(Record):
    """The provider answered no, and asking again cannot help."""

    kind: Literal["refused"] = "refused"
    failure: Failure


class SessionBusy(Record):
    """The session works on something, and nothing of this turn was sent: OpenCode may drop what it gets now."""

    kind: Literal["busy"] = "busy"
    session_id: Id


SessionReport = Annotated[
    SessionOpened | SessionMissing | SessionBusy | Refused | Unreachable, Field(discriminator="kind")
]


class AdmitRequest(Record):
    """Is this start acceptable? Asked before anything is started."""

    endpoint: EndpointName
    directory: Directory
    model: ModelName | None = None
    agent: AgentName | None = None
    limits: TurnLimits | None = None
    session: SessionRequest | None = Field(
        default=None, description="the thread has no session yet: if the start is acceptable, try to open one for it"
    )


class Admission(Record):
    """Yes, and this is what the endpoint's configuration says about it."""

    task_queue: QueueName
    directory: Directory = Field(description="absolute, links resolved, inside the endpoint's roots")
    limits: TurnLimits
    session_id: Id | None = Field(default=None, description="the session, if it was to be opened and is")
    creation_key: Id | None = Field(default=None, description="of a session of which nobody knows if it was created")
    max_running_turns: int | None = Field(default=None, description="turns need a place at the endpoint; None: none")


class PromptRequest(Record):
    """Deliver the prompt, unless it is there already."""

    endpoint: EndpointName
    directory: Directory
    session_id: Id
    message_id: Id
    prompt: Annotated[str, AtMostBytes(MAX_PROMPT_BYTES)]
    fresh_session: bool = Field(
        default=False, description="the session was created for this prompt and nothing was ever sent to it: no look"
    )
    withdraw: Ids = Field(
        default=(), description="message ids that an earlier turn left unanswered: out of the session first"
    )
    model: ModelName | None = None
    agent: AgentName | None = None


class Accepted(Record):
    """The prompt was in the provider's message list already: nothing was sent."""

    kind: Literal["accepted"] = "accepted"


class NotSent(Record):
    """The prompt certainly did not reach the provider: sending it again is safe."""

    kind: Literal["not_sent"] = "not_sent"
    failure: Failure


class PerhapsSent(Record):
    """The prompt left us and was not yet seen in the message list: look, never send."""

    kind: Literal["perhaps_sent"] = "perhaps_sent"
    taken: bool = Field(default=False, description="the provider said that it took it, which proves nothing stored")
    detail: Said = ""


SubmitReport = Annotated[
    Accepted | NotSent | PerhapsSent | Refused | NotThere | SessionBusy, Field(discriminator="kind")
]
"""`SessionBusy`: what was to be withdrawn first cannot be while the session works; nothing was sent."""


class LookRequest(Record):
    """Read status, then messages, then open requests; give one observation."""

    endpoint: EndpointName
    directory: Directory
    session_id: Id
    message_id: Id
    text_limit: int
    steers: Ids = Field(default=(), description="message ids of further prompts of this turn, oldest first")
    knock: bool = Field(
        default=False, description="it may be starting: learn by a call that it may let hang whether it is up"
    )


class AbortRequest(Record):
    """Ask the provider to abort what the session runs, child sessions included."""

    endpoint: EndpointName
    directory: Directory
    session_id: Id


class AbortReport(Record):
    """The provider's answer. Even `sent` proves nothing: an abort can be lost in a prompt's first second."""

    sent: bool
    failure: Failure | None = None


class ReplyRequest(Record):
    """Give the provider the answer to a request."""

    endpoint: EndpointName
    directory: Directory
    session_id: Id = Field(description="the session that asks")
    request_id: Id
    kind: RequestKind
    reply: Reply


class Replied(Record):
    """The provider took the answer."""

    kind: Literal["replied"] = "replied"


class Gone(Record):
    """Confirmed: the request is not open any more. No error: somebody else answered it, or it was withdrawn."""

    kind: Literal["gone"] = "gone"


ReplyReport = Annotated[Replied | Gone | Refused | Unreachable, Field(discriminator="kind")]


class RelayRequest(Record):
    """Keep reading an endpoint's event stream and wake the turns that its events are about."""

    endpoint: EndpointName
    namespace: NamespaceName


class RelayStatus(Command):
    """Signal `relay_status` to `Endpoint`: sent on changes only."""

    attached: bool
    at: datetime
    attempt: int = 0
    version: Label = ""
    failure: Failure | None = None
    relay_since: datetime | None = Field(
        default=None, description="when Temporal gave this try to a worker, by the server's clock: workers' may jump"
    )
    number: int = Field(default=0, description="of the reports of one try, from 1")

    def replaces(self, other: RelayStatus | None) -> bool:
        """Is this the newer one? A relay that was replaced may still say something late."""
        if other is None:
            return True
        if self.relay_since is None or other.relay_since is None:  # one of a worker from before there were such
            return self.at >= other.at
        return (self.relay_since, self.number) >= (other.relay_since, other.number)
