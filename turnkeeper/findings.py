"""The part of the contract that is about looking again: `reconcile`, and sessions that somebody else began."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from turnkeeper.limits import MAX_DIRECTORY_CHARACTERS, MAX_SESSION_ID_CHARACTERS, TurnLimits
from turnkeeper.messages import Outcome
from turnkeeper.observations import Failure, Refused, SessionMissing, Unreachable
from turnkeeper.vocabulary import (
    Command,
    Directory,
    EndpointName,
    Finding,
    Id,
    Key,
    Label,
    NamespaceName,
    QueueName,
    Reason,
    Record,
    Said,
    SessionStatus,
    Standing,
    ThreadId,
    TurnState,
)


class SessionReadRequest(Record):
    """Read a provider session, and change nothing."""

    endpoint: EndpointName
    session_id: Id


class SessionFound(Record):
    """The session exists."""

    kind: Literal["found"] = "found"
    session_id: Id
    directory: Directory
    busy: bool = Field(description="it works on something, whoever asked for it")
    parent_id: Id | None = Field(default=None, description="of a child session")
    thread_id: ThreadId | None = Field(default=None, description="the thread whose mark it carries")
    namespace: NamespaceName | None = Field(default=None, description="of that thread")


SessionReading = Annotated[SessionFound | SessionMissing | Refused | Unreachable, Field(discriminator="kind")]


class Reconcile(Command):
    """Update `reconcile` of `Turn` and `Thread`, and its signal twin `request_reconcile`: look now."""

    token: Key | None = Field(default=None, description="comes back with the answer that a turn gives its thread")


class TurnFinding(Record):
    """What a look showed of a running turn. Answer of `Turn`'s update, and its signal `turn_reconciled` to `Thread`."""

    turn_id: Id
    token: Id | None = None
    finding: Finding
    standing: Standing | None = Field(default=None, description="as the latest reading shows it")
    detail: Said = ""
    before: TurnState
    state: TurnState
    looked_at: datetime | None = Field(default=None, description="the latest reading that the provider answered")
    failure: Failure | None = Field(default=None, description="why it could not be asked")
    outcome: Outcome | None = None


class ThreadFinding(Record):
    """What was found of a thread, and what changed by it."""

    thread_id: ThreadId
    session_id: Id | None
    turn_id: Id | None = Field(default=None, description="the turn that ran when it was asked")
    finding: Finding
    standing: Standing | None = None
    detail: Said = ""
    before: SessionStatus
    status: SessionStatus
    turn_state: TurnState | None = None
    reason: Reason | None = Field(default=None, description="how that turn ended, if it did")
    failure: Failure | None = None

    @property
    def checked(self) -> bool:
        """Did the provider answer, or was there nothing to ask?"""
        return self.finding is not Finding.UNKNOWN

    @property
    def changed(self) -> bool:
        """Is the thread another than before?"""
        return self.status is not self.before or self.reason is not None


# Taking over a session that somebody else began.


class Adopt(Command):
    """Update `adopt` of `Thread`, and its signal twin `request_adopt`. The thread must never have had a prompt."""

    session_id: Annotated[str, StringConstraints(min_length=1, max_length=MAX_SESSION_ID_CHARACTERS, pattern=r"^\S+$")]
    directory: Annotated[str, StringConstraints(max_length=MAX_DIRECTORY_CHARACTERS)] | None = Field(
        default=None, description="refused if the session works in another one"
    )
    limits: TurnLimits | None = Field(default=None, description="of the run that is taken over, if one is live")


class AdoptRequest(Record):
    """Check the session, mark it as the thread's, and say what it does. Safe to repeat."""

    endpoint: EndpointName
    thread_id: ThreadId
    namespace: NamespaceName
    session_id: Id
    directory: Directory | None = None
    limits: TurnLimits | None = None


class LiveRun(Record):
    """What the session works on, or is about to."""

    message_id: Id
    prompt: Label = Field(description="its beginning")


class SessionTaken(Record):
    """The session carries the thread's mark; `live` is read after that, so that no event of it is missed."""

    kind: Literal["taken"] = "taken"
    live: LiveRun | None = None


TakeReport = SessionTaken | SessionMissing | Refused | Unreachable


class Adoption(Record):
    """Yes, and this is what the thread needs to know."""

    session_id: Id
    directory: Directory
    task_queue: QueueName
    limits: TurnLimits
    live: LiveRun | None = None
    max_running_turns: int | None = Field(default=None, description="turns need a place at the endpoint; None: none")


class AdoptElsewhere(Record):
    """Other workers reach the endpoint: ask them. Nothing was checked or changed."""

    ask_at: QueueName = Field(description="their task queue")


AdoptReport = Adoption | AdoptElsewhere


class AdoptResult(Record):
    """What became of an adoption."""

    thread_id: ThreadId
    session_id: Id
    directory: Directory
    status: SessionStatus
    turn_id: Id | None = Field(default=None, description="the turn that follows the live run; None: nothing ran")
    run_id: Id | None = None
    repeated: bool = Field(default=False, description="the thread had this session already")
