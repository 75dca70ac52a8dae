"""What OpenCode 1.18 sends, as far as we read it.

Two rules. Fields that we do not need are absent here, so whatever they hold cannot fail. Fields that we show but do
not decide by (titles, tokens, cost) fall back to a default when their type is not the expected one; fields that we
decide by (ids, roles, `time.completed`, `finish`, `error`) are strict, because a guess there would settle a turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


class _Or:
    """Marks a field that is shown and never decided by: a value of a wrong type becomes an empty one."""

    def __init__(self, empty: Callable[[], object]) -> None:
        self.empty = empty

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_default_schema(handler(source), default_factory=self.empty, on_error="default")


def _nothing(_: object) -> None:
    """Drop a value unread."""


Shown = Annotated[str, _Or(str)]
Count = Annotated[int, _Or(int)]
Amount = Annotated[float, _Or(float)]
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

    type: str  # busy, retry or idle; idle entries are events only
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

    message: Shown = ""
    status: Count = Field(default=0, alias="statusCode")
    retryable: Flag = Field(default=False, alias="isRetryable")


class MessageError(Wire):
    """`info.error` of an assistant and `error` of a `session.error` event."""

    name: str
    data: Annotated[ErrorData, _Or(ErrorData)] = ErrorData()


class MessageTime(Wire):
    """Milliseconds since 1970."""

    created: float = 0
    completed: float | None = None


class MessageInfo(Wire):
    """A message without its parts. `finish`, `error` and `time.completed` carry the verdicts."""

    id: str
    role: str
    session_id: str = Field(default="", alias="sessionID")
    parent_id: str | None = Field(default=None, alias="parentID")
    time: MessageTime = MessageTime()
    finish: str | None = None
    error: MessageError | None = None
    compaction: Flag = Field(default=False, alias="summary")  # users have a record of diffs there: not a flag
    structured: Any = None
    cost: Amount = 0.0
    tokens: Annotated[Tokens, _Or(Tokens)] = Tokens()


class ToolMetadata(Wire):
    """Of a tool's state: a running command's output so far, a `task` tool's child session."""

    output: Shown = ""
    child_session: Shown = Field(default="", alias="sessionId")


class ToolState(Wire):
    """Where a tool call stands."""

    status: str
    title: Shown = ""
    error: Shown = ""
    output: Shown = ""
    metadata: Annotated[ToolMetadata, _Or(ToolMetadata)] = ToolMetadata()


class Part(Wire):
    """A part of a message; the fields of all kinds together, because we read few of them."""

    type: str
    id: Shown = ""
    text: Shown = ""
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
    parts: tuple[Part, ...] = ()


class SessionTime(Wire):
    """Milliseconds since 1970."""

    created: Amount = 0.0
    updated: Amount = 0.0


class Session(Wire):
    """`GET /session/{id}` and the `info` of session events."""

    id: str
    directory: str = ""
    parent_id: str | None = Field(default=None, alias="parentID")
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

    id: str
    session_id: str = Field(alias="sessionID")
    permission: Shown = ""
    patterns: Annotated[tuple[str, ...], _Or(tuple)] = ()
    tool: ToolReference | None = None


class QuestionOption(Wire):
    """A choice that a question offers. Its label is the answer."""

    label: Shown = ""
    description: Shown = ""


class QuestionItem(Wire):
    """One question of a question request."""

    question: Shown = ""
    header: Shown = ""
    options: Annotated[tuple[QuestionOption, ...], _Or(tuple)] = ()
    multiple: Flag = False


class QuestionRequest(Wire):
    """A pending entry of `/question`, and `question.asked`."""

    id: str
    session_id: str = Field(alias="sessionID")
    questions: Annotated[tuple[QuestionItem, ...], _Or(tuple)] = ()
    tool: ToolReference | None = None


class Provider(Wire):
    """A model provider, reduced to ids: the answer also holds its API key in clear, which is dropped here."""

    id: str
    models: dict[str, Dropped]


class Providers(Wire):
    """`GET /config/providers`."""

    providers: tuple[Provider, ...]


class Agent(Wire):
    """An entry of `GET /agent`. Hidden ones (compaction, title, summary) are OpenCode's own."""

    name: str
    mode: Shown = ""
    hidden: Flag = False
