"""The thread's half of the contract: what starts a turn, what becomes of it, and all that a thread knows and shows.

A thread is a queue in front of turns: what it says of a turn is a `TurnRecord`, and what it gives to one is a
`TurnInput`; both are the turn's half, in `messages`, and so are the rules that hold for either half. `ThreadState` is
carried through continue-as-new, for years: a field is only ever added, with a default. Pure data.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Final, Self

from pydantic import Field, StringConstraints, model_validator

from turnkeeper.limits import (
    MAX_DIRECTORY_CHARACTERS,
    MAX_FOLLOW_UP_BYTES,
    MAX_PERMISSION_RULES,
    MAX_PROMPT_BYTES,
    MAX_PROMPT_CHARACTERS,
    MAX_RECENT_TURNS,
    MAX_REMEMBERED_KEYS,
    MAX_REMEMBERED_STOPS,
    MAX_RULES_BYTES,
    MAX_THREAD_EVENTS,
    MAX_WAITING_BYTES,
    TurnLimits,
)
from turnkeeper.messages import (
    WORKFLOW_TASK_QUEUE,
    Digest,
    Latest,
    PermissionRule,
    Quoted,
    Rules,
    TurnId,
    TurnRecord,
    Waiting,
)
from turnkeeper.place_messages import OwnPlace
from turnkeeper.vocabulary import (
    AgentName,
    AtMost,
    AtMostBytes,
    Command,
    Directory,
    EndpointName,
    Id,
    Key,
    ModelName,
    OnBusy,
    OnLost,
    QueueName,
    Record,
    Said,
    SessionStatus,
    ThreadId,
    TurnState,
)

THREAD_TASK_TIMEOUT: Final = timedelta(seconds=6)
"""A worker that dies with a thread's workflow task in its hands is replaced after this long; 10 s by default, and no
question to the thread is answered meanwhile."""

PermissionRules = Annotated[
    tuple[PermissionRule, ...], Field(max_length=MAX_PERMISSION_RULES), AtMostBytes(MAX_RULES_BYTES)
]


class StartTurn(Command):
    """Update `start_turn` of `Thread`, and its signal twin `request_turn`."""

    prompt: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_PROMPT_CHARACTERS, pattern=r"\S"),
        AtMostBytes(MAX_PROMPT_BYTES),
    ]
    idempotency_key: Key
    model: ModelName | None = None
    agent: AgentName | None = None
    on_busy: OnBusy = OnBusy.QUEUE
    on_lost: OnLost = OnLost.SETTLE
    limits: TurnLimits | None = Field(default=None, description="those set override the endpoint's own")
    permissions: PermissionRules | None = Field(
        default=None, description="stay with the thread until given again; None keeps those it has"
    )
    endpoint: EndpointName | None = Field(default=None, description="refused if the thread belongs to another one")
    directory: Annotated[str, StringConstraints(min_length=1, max_length=MAX_DIRECTORY_CHARACTERS)] | None = Field(
        default=None, description="refused if the thread works in another one"
    )
    expected_turn_id: Key | None = Field(
        default=None, description="of a steer: into this turn or refused, never into or behind another"
    )

    @model_validator(mode="after")
    def _only_a_steer_expects(self) -> Self:
        if self.expected_turn_id is not None and self.on_busy is not OnBusy.STEER:
            raise ValueError("only a prompt that steers expects a turn: on_busy must be steer")
        return self


class StartTurnResult(Record):
    """What became of a start."""

    thread_id: ThreadId
    turn_id: Id
    state: TurnState | None = Field(description="None: settled so long ago that the thread has forgotten how")
    run_id: Id | None = Field(default=None, description="the Turn workflow's run, once it is started")
    position: int = Field(default=0, description="turns to run before this one")
    steered: bool | None = Field(
        default=None,
        description="into the running turn (its run is this one's), or not (it waits); None: not known yet",
    )
    repeated: bool = Field(default=False, description="the idempotency key was known: this is the earlier turn")


class QueuedTurn(Record):
    """An accepted prompt that has not begun."""

    turn_id: Id
    start: StartTurn
    limits: TurnLimits
    accepted_at: datetime
    new_session_id: Id | None = Field(default=None, description="opened for it at the door")
    creation_key: Id | None = Field(default=None, description="of a session that was perhaps created at the door")
    continues: Id | None = Field(default=None, description="the lost turn that this one goes on with")
    steered: bool = Field(default=False, description="sent into the running turn; what became of it shows at its end")
    continued: int = Field(default=0, description="lost turns in a row before this one")
    adopted_message_id: Id | None = Field(default=None, description="a prompt that runs already: follow it")
    steer_message_id: Id | None = Field(default=None, description="under which it was given to a running turn")


Prompts = Annotated[tuple[QueuedTurn, ...], AtMostBytes(MAX_WAITING_BYTES + MAX_FOLLOW_UP_BYTES, together="waiting")]


class Refusal(Record):
    """A start that was kept while no worker was up and could then not be taken."""

    idempotency_key: Id
    message: Quoted


class ThreadState(Record):
    """Everything a thread knows; one value, so that continue-as-new is one argument."""

    status: SessionStatus = SessionStatus.IDLE
    session_id: Id | None = None
    directory: Directory | None = Field(default=None, description="as admitted: absolute, links resolved")
    task_queue: QueueName = WORKFLOW_TASK_QUEUE
    permissions: Rules = ()
    active: TurnRecord | None = None
    queue: Prompts = ()
    steering: Prompts = Field(default=(), description="prompts for the active turn itself")
    held: bool = Field(default=False, description="after a person's stop the queue waits for a word")
    removed: Prompts = Field(default=(), description="taken out of the queue, newest last, bounded")
    stopping: bool = Field(default=False, description="a stop of the active turn was asked for")
    stop_session: bool = Field(default=False, description="and the session shall be stopped then")
    closed: bool = Field(default=False, description="nothing is taken or begun any more")
    go_on_after_stop: bool = Field(default=False, description="and the queue shall go on when it is done")
    stops: Annotated[tuple[tuple[Id, TurnId], ...], AtMost(MAX_REMEMBERED_STOPS)] = Field(
        default=(), description="(key, turn id), newest last, bounded"
    )
    recent: Latest = ()
    last_error: Said | None = None
    refusals: Annotated[tuple[Refusal, ...], AtMost(MAX_RECENT_TURNS)] = Field(
        default=(), description="of kept starts, newest last, bounded"
    )
    max_running_turns: int | None = Field(
        default=None, description="of the endpoint, as last admitted; None: turns begin without a place"
    )
    places_asked: int = 0
    place: OwnPlace | None = Field(default=None, description="asked for before a turn begins, given back after it")
    turns_accepted: int = 0
    counts_bytes: bool = Field(default=False, description="its queue is bounded in bytes, too; not in older runs")
    idempotency: Annotated[tuple[tuple[Id, TurnId] | tuple[Id, TurnId, Digest], ...], AtMost(MAX_REMEMBERED_KEYS)] = (
        Field(
            default=(), description="(key, turn id, digest of the prompt), newest last, bounded; the digest came later"
        )
    )


class ThreadInput(Record):
    """Input of `Thread`. `carried` is set by continue-as-new alone."""

    thread_id: ThreadId
    endpoint: EndpointName
    directory: Annotated[str, StringConstraints(max_length=MAX_DIRECTORY_CHARACTERS)] = Field(
        description="empty: that of the session which it adopts"
    )
    continue_after_events: int = Field(
        default=MAX_THREAD_EVENTS, gt=50, description="history events after which the thread continues as new"
    )
    carried: ThreadState | None = None
    counts_bytes: bool = Field(
        default=False, description="see `ThreadState`; set by every client since it exists, as the next one"
    )
    admits_beside: bool = Field(
        default=False,
        description="starts beside anything else are checked by plain activities; set by every client since it exists, "
        "which saves each thread a patch marker and a visibility record",
    )


class ThreadSnapshot(Record):
    """Query `snapshot` of `Thread`."""

    thread_id: ThreadId
    endpoint: EndpointName
    directory: Directory
    status: SessionStatus
    session_id: Id | None
    active: TurnRecord | None
    queued: Waiting = ()
    steering: Waiting = Field(default=(), description="prompts for the active turn itself")
    closed: bool = False
    held: bool = Field(default=False, description="what waits does so until somebody says that it shall go on")
    recent: Latest = ()
    permissions: Rules = Field(default=(), description="of the running turn, and of those to come")
    last_error: Said | None = None
    refusals: Annotated[tuple[Refusal, ...], AtMost(MAX_RECENT_TURNS)] = ()
    place: OwnPlace | None = Field(
        default=None, description="at an endpoint with `max_running_turns`; not granted: the first prompt waits for it"
    )
