"""What one request to the scripted model means: which session, which prompt, which call of its turn. Pure.

Facts about OpenCode 1.18.33, read from its requests: the headers `x-session-id` and `x-parent-session-id` name the
session; the system prompt of an agent states `Working directory: …`; title and compaction calls carry no tools and
begin with their own system prompt; the turn's earlier model calls follow the user message as assistant messages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue

SESSION_HEADER: Final = "x-session-id"
PARENT_HEADER: Final = "x-parent-session-id"
_TITLE_PROMPT: Final = "You are a title generator"
_COMPACTION_PROMPT: Final = "You are a context summarization agent"
_DIRECTORY: Final = re.compile(r"^\s*Working directory: (.+?)\s*$", re.MULTILINE)


class Purpose(StrEnum):
    """Why OpenCode calls the model."""

    TURN = "turn"  # a step of an agent, the only one that follows a plan
    TITLE = "title"  # naming the session, beside the first turn
    COMPACTION = "compaction"  # summing up before the context is full


class ContentPart(BaseModel):
    """A piece of a message; only text matters here."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: str = "text"
    text: str = ""


class ChatMessage(BaseModel):
    """One message of the history."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    role: str
    content: str | tuple[ContentPart, ...] | None = None

    @property
    def text(self) -> str:
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "\n".join(part.text for part in self.content if part.text)


class ChatRequest(BaseModel):
    """The body of `POST /v1/chat/completions`, as far as we read it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model: str = "scripted"
    messages: tuple[ChatMessage, ...] = Field(min_length=1)
    stream: bool = False
    tools: tuple[JsonValue, ...] = ()


class Call(NamedTuple):
    """One model call, understood."""

    purpose: Purpose
    session: str  # empty for a client that names none
    parent: str  # empty unless a sub-agent
    directory: str  # the agent's working directory; empty when the system prompt names none
    prompt: str  # the last user message: it alone decides, so an aborted plan never comes back
    turn: int  # user messages so far; tells two equal prompts of one session apart
    rounds: int  # assistant messages since that user message
    result: str  # what the last tool call gave back


def understand(request: ChatRequest, headers: Mapping[str, str]) -> Call:
    """Headers by lower-case name."""
    messages = request.messages
    system = "\n".join(message.text for message in messages if message.role == "system")
    asked = [index for index, message in enumerate(messages) if message.role == "user"]
    since = messages[asked[-1] + 1 :] if asked else messages
    found = _DIRECTORY.search(system)
    return Call(
        purpose=_purpose(system),
        session=headers.get(SESSION_HEADER, ""),
        parent=headers.get(PARENT_HEADER, ""),
        directory=found.group(1) if found else "",
        prompt=messages[asked[-1]].text if asked else "",
        turn=len(asked),
        rounds=sum(message.role == "assistant" for message in since),
        result=next((message.text for message in reversed(since) if message.role == "tool"), ""),
    )


def _purpose(system: str) -> Purpose:
    opening = system.lstrip()
    if opening.startswith(_TITLE_PROMPT):
        return Purpose.TITLE
    if opening.startswith(_COMPACTION_PROMPT):
        return Purpose.COMPACTION
    return Purpose.TURN
