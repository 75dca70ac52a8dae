"""The part of the contract that is about looking again: `reconcile`, and sessions that somebody else began."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from turnkeeper.messages import Outcome
from turnkeeper.observations import Failure, Refused, SessionMissing, Unreachable
from turnkeeper.vocabulary import (
    Command,
    EndpointName,
    Finding,
    Key,
    Reason,
    Record,
    SessionStatus,
    Standing,
    ThreadId,
    TurnState,
)


class SessionReadRequest(Record):
    """Read a provider session, and change nothing."""

    endpoint: EndpointName
    directory: str
    session_id: str


class SessionFound(Record):
    """The session exists."""

    kind: Literal["found"] = "found"
    session_id: str
    directory: str
    busy: bool = Field(description="it works on something, whoever asked for it")


SessionReading = Annotated[SessionFound | SessionMissing | Refused | Unreachable, Field(discriminator="kind")]


class Reconcile(Command):
    """Update `reconcile` of `Turn` and `Thread`, and its signal twin `request_reconcile`: look now."""

    token: Key | None = Field(default=None, description="comes back with the answer that a turn gives its thread")


class TurnFinding(Record):
    """What a look showed of a running turn. Answer of `Turn`'s update, and its signal `turn_reconciled` to `Thread`."""

    turn_id: str
    token: str | None = None
    finding: Finding
    standing: Standing | None = Field(default=None, description="as the latest reading shows it")
    detail: str = ""
    before: TurnState
    state: TurnState
    looked_at: datetime | None = Field(default=None, description="the latest reading that the provider answered")
    failure: Failure | None = Field(default=None, description="why it could not be asked")
    outcome: Outcome | None = None


class ThreadFinding(Record):
    """What was found of a thread, and what changed by it."""

    thread_id: ThreadId
    session_id: str | None
    turn_id: str | None = Field(default=None, description="the turn that ran when it was asked")
    finding: Finding
    standing: Standing | None = None
    detail: str = ""
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
