"""What OpenCode 1.18 sends, as far as we read it.

Two rules. Fields that we do not need are absent here, so whatever they hold cannot fail. Fields that we show but do
not decide by (titles, tokens, cost) fall back to a default when their type is not the expected one; fields that we
decide by (ids, roles, `time.completed`, `finish`, `error`) are strict, because a guess there would settle a turn.

And nothing here grows with what is sent: a list ends at its first wrong entry (each of eight million would be an error
of its own: 900 MB and 10 s, measured with pydantic 2.14), and of long outputs only what is looked at is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    GetCoreSchemaHandler,
    StringConstraints,
)
from pydantic_core import CoreSchema, core_schema

from turnkeeper.limits import MAX_DIRECTORY_CHARACTERS, MAX_TEXT_LIMIT

MAX_ID: Final = 200
"""Characters of an id or another word that we decide by. OpenCode's ids have 30, its longest word 24."""

MAX_TEXT: Final = MAX_TEXT_LIMIT + 1
"""Characters kept of one text: what an outcome may hold at most, and one that tells that there is more."""

MAX_OUTPUT: Final = 64 * 1024
"""Characters kept of a tool's output, its end. OpenCode itself keeps some 50 KB."""

MAX_ERROR: Final = 4096
"""Characters kept of an error's text, its beginning: more than anything shows."""

MAX_ENTRIES: Final = 10_000
"""Entries of a table: sessions at work, models of a provider. The biggest provider known lists some 500 models."""


class _Or:
    """Marks a field that is shown and never decided by: a value of a wrong type becomes an empty one."""

    def __init__(self, empty: Callable[[], object]) -> None:
        self.empty = empty

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_default_schema(handler(source), default_factory=self.empty, on_error="default")


def _nothing(_: object) -> None:
    """Drop a value unread."""


def _first(length: int) -> AfterValidator:
    return AfterValidator(lambda text: text[:length])


def _last(length: int) -> AfterValidator:
    return AfterValidator(lambda text: text[-length:])


T = TypeVar("T")
Many = Annotated[tuple[T, ...], FailFast()]
Table = Annotated[dict[str, T], Field(max_length=MAX_ENTRIES)]
Word = Annotated[str, StringConstraints(max_length=MAX_ID)]
Shown = Annotated[str, _Or(str)]
Count = Annotated[int, _Or(int)]
Amount = Annotated[float, Field(allow_inf_nan=False), _Or(float)]
Flag = Annotated[bool, _Or(bool)]
Dropped = Annotated[None, BeforeValidator(_nothing)]


class Wire(BaseModel):
    """Base: immutable, deaf to everything undeclared."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Health(Wire):
    """`GET /global/health`."""

    version: str


class StatusEntry(Wire):
    """A session's entry in `/session/status`. Only sessions that work have one."""

    type: Word  # busy, retry or idle; idle entries are events only
    attempt: Count = 0
    message: Shown = ""
    next: Amount = 0.0  # milliseconds since 1970, when the next try begins

    @property
    def active(self) -> bool:
        """Does the session work on something?"""
        return self.type != "idle"


class CacheTokens(Wire):
    """Tokens of the model's prompt cache."""

    read: Count = 0
    write: Count = 0


class Tokens(Wire):
    """Tokens of one assistant message, which is one model call."""

    input: Count = 0
    output: Count = 0
    reasoning: Count = 0
    cache: Annotated[CacheTokens, _Or(CacheTokens)] = CacheTokens()


class ErrorData(Wire):
    """What OpenCode says about a failed model call. Addresses and headers are left out on purpose."""

    message: Annotated[str, _first(MAX_ERROR), _Or(str)] = ""
    status: Count = Field(default=0, alias="statusCode")
    retryable: Flag = Field(default=False, alias="isRetryable")


class MessageError(Wire):
    """`info.error` of an assistant and `error` of a `session.error` event."""

    name: Word
    data: Annotated[ErrorData, _Or(ErrorData)] = ErrorData()


class MessageTime(Wire):
    """Milliseconds since 1970."""

    created: float = 0
    completed: float | None = None


class MessageInfo(Wire):
    """A message without its parts. `finish`, `error` and `time.completed` carry the verdicts."""

    id: Word
    role: Word
    session_id: Word = Field(default="", alias="sessionID")
    parent_id: Word | None = Field(default=None, alias="parentID")
    time: MessageTime = MessageTime()
    finish: Word | None = None
    error: MessageError | None = None
    compaction: Flag = Field(default=False, alias="summary")  # users have a record of diffs there: not a flag
    structured: Any = None
    cost: Amount = 0.0
    tokens: Annotated[Tokens, _Or(Tokens)] = Tokens()


class ToolMetadata(Wire):
    """Of a tool's state: a running command's output so far, a `task` tool's child session."""

    output: Annotated[str, _last(MAX_OUTPUT), _Or(str)] = ""
    child_session: Shown = Field(default="", alias="sessionId")


class ToolState(Wire):
    """Where a tool call stands."""

    status: Word
    title: Annotated[str, _first(MAX_ERROR), _Or(str)] = ""
    error: Annotated[str, _first(MAX_ERROR), _Or(str)] = ""
    output: Annotated[str, _last(MAX_OUTPUT), _Or(str)] = ""
    metadata: Annotated[ToolMetadata, _Or(ToolMetadata)] = ToolMetadata()


class Part(Wire):
    """A part of a message; the fields of all kinds together, because we read few of them."""

    type: Word
    id: Shown = ""
    text: Annotated[str, _first(MAX_TEXT), _Or(str)] = ""
    synthetic: bool = False
    auto: bool = False  # of a compaction part: begun by OpenCode itself
    tool: Shown = ""
    call_id: Shown = Field(default="", alias="callID")
    state: ToolState | None = None

    @property
    def open(self) -> bool:
        """Is this a tool call in flight?"""
        return self.state is not None and self.state.status in {"pending", "running"}


class Message(Wire):
    """An entry of the message list."""

    info: MessageInfo
    parts: Many[Part] = ()


class SessionTime(Wire):
    """Milliseconds since 1970."""

    created: Amount = 0.0
    updated: Amount = 0.0


class Session(Wire):
    """`GET /session/{id}` and the `info` of session events."""

    id: Word
    directory: Annotated[str, StringConstraints(max_length=MAX_DIRECTORY_CHARACTERS)] = ""
    parent_id: Word | None = Field(default=None, alias="parentID")
    title: Shown = ""
    metadata: Annotated[dict[str, Any], _Or(dict)] = Field(default_factory=dict)
    time: Annotated[SessionTime, _Or(SessionTime)] = SessionTime()
    tokens: Annotated[Tokens, _Or(Tokens)] = Tokens()


class Location(Wire):
    """Where a session of the `/api` surface works."""

    directory: str


class ToolReference(Wire):
    """The tool call that a request belongs to."""

    message_id: Shown = Field(default="", alias="messageID")
    call_id: Shown = Field(default="", alias="callID")


class PermissionRequest(Wire):
    """A pending entry of `/permission`, and `permission.asked`."""

    id: Word
    session_id: Word = Field(alias="sessionID")
    permission: Shown = ""
    patterns: Annotated[tuple[str, ...], FailFast(), _Or(tuple)] = ()
    tool: ToolReference | None = None


class QuestionOption(Wire):
    """A choice that a question offers. Its label is the answer."""

    label: Shown = ""
    description: Shown = ""


class QuestionItem(Wire):
    """One question of a question request."""

    question: Shown = ""
    header: Shown = ""
    options: Annotated[tuple[QuestionOption, ...], FailFast(), _Or(tuple)] = ()
    multiple: Flag = False


class QuestionRequest(Wire):
    """A pending entry of `/question`, and `question.asked`."""

    id: Word
    session_id: Word = Field(alias="sessionID")
    questions: Annotated[tuple[QuestionItem, ...], FailFast(), _Or(tuple)] = ()
    tool: ToolReference | None = None


class Provider(Wire):
    """A model provider, reduced to ids: the answer also holds its API key in clear, which is dropped here."""

    id: str
    models: Table[Dropped]


class Providers(Wire):
    """`GET /config/providers`."""

    providers: Many[Provider]


class Agent(Wire):
    """An entry of `GET /agent`. Hidden ones (compaction, title, summary) are OpenCode's own."""

    name: str
    mode: Shown = ""
    hidden: Flag = False
