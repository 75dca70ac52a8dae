"""The words of the contract: closed sets, identifiers and the two kinds of value that everything else is made of.

Pure: neither Temporal nor HTTP.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, StringConstraints
from pydantic_core import CoreSchema, core_schema

from turnkeeper.limits import (
    MAX_DIRECTORY_CHARACTERS,
    MAX_ID_CHARACTERS,
    MAX_KEY_CHARACTERS,
    MAX_LABEL_CHARACTERS,
    MAX_NAMESPACE_CHARACTERS,
    MAX_SAID_CHARACTERS,
)


class SessionStatus(StrEnum):
    """What a person sees of a thread's provider session."""

    IDLE = "idle"  # no turn was ever run
    STARTING = "starting"  # a turn was taken, its workflow is not yet known to run
    RUNNING = "running"  # a turn is running or waiting for a person
    READY = "ready"  # the last turn is over and the next prompt is welcome
    INTERRUPTED = "interrupted"  # reserved for providers that must be resumed by hand
    STOPPED = "stopped"  # a person stopped the session, its run was lost, or a stop was not confirmed (`last_error`)
    ERROR = "error"  # the last turn failed; `last_error` says why; the next prompt is welcome


class TurnState(StrEnum):
    """What a person sees of one turn. The last three are terminal and absorb everything."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"  # running, with an open permission or question
    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
    ERROR = "error"


class Reason(StrEnum):
    """Why a turn ended. Closed: a new way to end is a new member, never a free text."""

    FINISHED = "finished"  # the agent answered
    TRUNCATED = "truncated"  # the agent answered and hit the model's output limit
    REFUSED = "refused"  # a person said no to a permission or question, and the agent ended there
    STOPPED = "stopped"  # somebody asked Turnkeeper to stop it (`confirmed` says if the provider agreed)
    ABORTED_ELSEWHERE = "aborted_elsewhere"  # the provider aborted it and nobody asked us
    SUPERSEDED = "superseded"  # another client's prompt took its place in the provider session
    PROVIDER_LOST_TURN = "provider_lost_turn"  # the run died inside the provider (crash, restart)
    SESSION_GONE = "session_gone"  # the provider session was deleted
    PROVIDER_ERROR = "provider_error"  # the provider reported a failure of this turn
    PROMPT_REJECTED = "prompt_rejected"  # the provider would not take the prompt
    SESSION_BUSY = "session_busy"  # the session worked on something else all the time: nothing was sent
    PROMPT_DROPPED = "prompt_dropped"  # the provider stored the prompt and never ran it
    PROVIDER_UNREACHABLE = "provider_unreachable"  # no answer for `unreachable_timeout`
    STALLED = "stalled"  # busy without progress for the stall timeout; aborted
    DEADLINE_EXCEEDED = "deadline_exceeded"  # the hard deadline passed; aborted
    REMOVED = "removed"  # a person took it out of the queue before it began: nothing was sent
    TURNKEEPER_ERROR = "turnkeeper_error"  # our own fault, or an operator's: the Turn workflow did not end by itself


class EvidenceKind(StrEnum):
    """What a settlement rests on."""

    SNAPSHOT = "snapshot"  # the provider's own state, read by a look
    TIMER = "timer"  # a clock of ours ran out
    COMMAND = "command"  # the answer to a call of ours (a refusal, or a stop before anything was sent)


class Wake(StrEnum):
    """What made a turn look: tells whether settlements are driven by events or have to wait for clocks."""

    SUBMIT = "submit"
    EVENT = "event"
    ATTACH = "attach"  # the relay (re)attached: events before that may be lost
    TIMER = "timer"
    STOP = "stop"
    STEER = "steer"  # a prompt shall go into the turn: does it run right now?
    ASKED = "asked"  # somebody asked to look now (`reconcile`)
    ANSWER = "answer"  # a request was answered: see what the agent makes of it


class Fault(StrEnum):
    """Whose fault a failure is."""

    CALLER = "caller"
    PROVIDER = "provider"
    OPERATOR = "operator"
    TURNKEEPER = "turnkeeper"


class Standing(StrEnum):
    """Where one turn stands in the provider, as one reading shows it."""

    UNSTARTED = "unstarted"  # the prompt is stored and nothing runs (yet)
    RUNNING = "running"
    WAITING = "waiting"  # running, with an open permission or question
    HALTED = "halted"  # begun, not finished, and nothing runs: lost, or between two writes
    SUCCEEDED = "succeeded"
    TRUNCATED = "truncated"
    FAILED = "failed"
    ABORTED = "aborted"
    REFUSED = "refused"
    ABSORBED = "absorbed"  # a later prompt of the same session was answered in its place


ENDED: Final = frozenset({Standing.SUCCEEDED, Standing.TRUNCATED, Standing.REFUSED, Standing.FAILED})
"""The prompt's run has ended by itself, for good: one reading is enough, and it cannot become out of date."""


class EventKind(StrEnum):
    """The canonical provider events. Anything else that a provider says is counted and skipped."""

    PROGRESS = "progress"  # tokens: moves the inactivity clock without a look
    TOOL = "tool"  # a tool call began, said something or ended: progress that is worth a look, now and then
    BUSY = "busy"
    IDLE = "idle"
    RETRYING = "retrying"  # the provider waits before it calls its model again
    SESSION_ERROR = "session_error"
    REQUEST_OPENED = "request_opened"
    REQUEST_CLOSED = "request_closed"
    SESSION_DELETED = "session_deleted"
    ATTACHED = "attached"  # said by the relay itself
    DETACHED = "detached"  # by the relay too: no events for now


class OnBusy(StrEnum):
    """What becomes of a prompt that is given while a turn runs."""

    QUEUE = "queue"  # it runs after those that wait already
    STEER = "steer"  # it goes into the running turn, or waits first in line if that cannot be
    INTERRUPT = "interrupt"  # the running turn is stopped and this one is next; the queue stays behind it
    REJECT = "reject"  # it is refused


class PermissionReply(StrEnum):
    """What a person says to a permission. A rejection without a message ends the turn, one with a message does not."""

    ONCE = "once"
    ALWAYS = "always"  # of like requests too, in every session of the directory, until the provider restarts
    REJECT = "reject"


class PolicyAction(StrEnum):
    """What a thread's permission rule does with a request."""

    ASK = "ask"  # a person
    ALLOW = "allow"
    DENY = "deny"


class AnsweredBy(StrEnum):
    """Who gave an answer."""

    PERSON = "person"
    POLICY = "policy"  # a permission rule of the thread
    TIMEOUT = "timeout"  # nobody answered within `request_timeout`


class AnswerState(StrEnum):
    """What became of an answer."""

    DELIVERED = "delivered"  # the provider took it
    STALE = "stale"  # the request is gone: answered elsewhere, withdrawn, or over with its turn
    ALREADY_ANSWERED = "already_answered"  # another answer came first
    REFUSED = "refused"  # the provider would not take it, or did not answer for too long: answer again


class Finding(StrEnum):
    """What looking again found."""

    LIVE = "live"  # the turn runs, or waits for a person, and is followed
    SETTLED = "settled"  # the turn is over
    UNSENT = "unsent"  # the prompt has not left us
    UNSURE = "unsure"  # nothing seems to run: a second reading decides soon
    READY = "ready"  # no turn, and the session exists
    BUSY = "busy"  # no turn, and the session works on something that is not ours
    GONE = "gone"  # confirmed: the session does not exist
    NO_SESSION = "no_session"  # none was ever opened
    UNKNOWN = "unknown"  # the provider could not be asked: nothing is concluded


class OnLost(StrEnum):
    """What follows a turn whose run died inside the provider."""

    SETTLE = "settle"  # a person decides
    CONTINUE = "continue"  # a follow-up prompt in the same session, at most `max_continues` times in a row


class AtMost:
    """Marks how long a text or a list of the contract gets, in characters or entries.

    Reading a longer one never fails: every later version must read what a running workflow has in its history.
    """

    def __init__(self, limit: int) -> None:
        """Declare the limit; whoever makes the value keeps it."""
        self.limit = limit


class Cut(AtMost):
    """The same of what may be shorter than it was: it is cut to that when the record is made."""

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._cut, handler(source))

    def _cut(self, value: Any) -> Any:  # noqa: ANN401 - a text or a tuple
        return value[: self.limit] if len(value) > self.limit else value


class AtMostBytes:
    """Marks how big a value gets as JSON. Fields with the same `together` are so big together."""

    def __init__(self, limit: int, together: str = "") -> None:
        """Declare the limit; whoever makes the value keeps it."""
        self.limit = limit
        self.together = together


class Record(BaseModel):
    """Base of everything we write: immutable, tolerant of fields from a newer version."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Command(BaseModel):
    """Base of everything a caller sends: immutable, strict, so that a mistyped field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


THREAD_ID_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"

Id = Annotated[str, AtMost(MAX_ID_CHARACTERS)]
Directory = Annotated[str, AtMost(MAX_DIRECTORY_CHARACTERS)]
QueueName = Annotated[str, AtMost(MAX_ID_CHARACTERS)]
NamespaceName = Annotated[str, AtMost(MAX_NAMESPACE_CHARACTERS)]
Label = Annotated[str, Cut(MAX_LABEL_CHARACTERS)]
Said = Annotated[str, Cut(MAX_SAID_CHARACTERS)]
ThreadId = Annotated[str, StringConstraints(pattern=THREAD_ID_PATTERN)]
EndpointName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Key = Annotated[str, StringConstraints(min_length=1, max_length=MAX_KEY_CHARACTERS, pattern=r"\S")]
ModelName = Annotated[str, StringConstraints(pattern=r"^[^/\s]+/\S+$", max_length=200)]
AgentName = Annotated[str, StringConstraints(pattern=r"^\S+$", max_length=100)]
