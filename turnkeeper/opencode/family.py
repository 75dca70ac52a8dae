"""Which messages of a session belong to one turn. Pure.

OpenCode has no turns: it has a list of messages. A *client message* is a user message that somebody posted. Compaction
adds user messages of its own (a compaction part, then one whose parts are all synthetic) and moves the answer under
them, so the turn of a prompt is a *family*: the prompt, the user messages that OpenCode itself put between it and the
next client message, and every assistant whose parent is one of those.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from turnkeeper.opencode.wire import Message, Part


@dataclass(frozen=True, slots=True)
class Family:
    """One turn's messages, oldest first."""

    prompt: Message
    assistants: tuple[Message, ...]
    followed: bool  # a later client message is stored
    overtaken: bool  # a later client message has an assistant: OpenCode has left this turn behind
    steered: tuple[str, ...] = ()  # further prompts of this turn that are stored
    unanswered: tuple[str, ...] = ()  # those of them under which, and after which, no assistant stands

    @property
    def last(self) -> Message | None:
        """The assistant that decides: OpenCode runs one model call after the other, each a message of its own."""
        return self.assistants[-1] if self.assistants else None

    def tool_parts(self) -> Iterator[Part]:
        """Tool calls, oldest first."""
        return (part for message in self.assistants for part in message.parts if part.state is not None)


def find_family(messages: Sequence[Message], prompt_id: str, steers: Collection[str] = ()) -> Family | None:
    """The family of the prompt and its steers; None when the prompt is not in the list."""
    start = next((n for n, message in enumerate(messages) if message.info.id == prompt_id), None)
    if start is None:
        return None
    users = [message for message in messages[start + 1 :] if message.info.role == "user"]
    steered = [message.info.id for message in users if message.info.id in steers]
    last_own = max((n for n, message in enumerate(users) if message.info.id in steers), default=-1)
    later_clients = (n for n, message in enumerate(users) if n > last_own and is_client_message(message))
    boundary = next(later_clients, len(users))
    family = {prompt_id, *steered} | {message.info.id for message in users[:boundary] if continues_turn(message)}
    later = {message.info.id for message in users[boundary:]}
    replies = [message for message in messages if message.info.role == "assistant"]
    return Family(
        prompt=messages[start],
        assistants=_without_foreign_shell([m for m in replies if m.info.parent_id in family], {prompt_id, *steered}),
        steered=tuple(steered),
        unanswered=_unanswered(messages, family, steered),
        followed=boundary < len(users),
        overtaken=any(message.info.parent_id in later for message in replies),
    )


def was_taken_up(messages: Sequence[Message], prompt_id: str) -> bool:
    """Has the stored prompt an answer, begun or finished, or one under a later prompt, which answers it as well?"""
    family = find_family(messages, prompt_id)
    return family is not None and (bool(family.assistants) or family.overtaken)


def _unanswered(messages: Sequence[Message], family: Collection[str], steered: Sequence[str]) -> tuple[str, ...]:
    """OpenCode answers all prompts that wait under the last of them, so an answer is one to every prompt before."""
    places = {message.info.id: n for n, message in enumerate(messages)}
    parents = [places[parent] for message in messages if (parent := message.info.parent_id) in family and parent]
    answered_up_to = max(parents, default=-1)
    return tuple(steer for steer in steered if places[steer] > answered_up_to)


def is_client_message(message: Message) -> bool:
    """Posted by somebody. A message whose parts are not stored yet is not called one: it may be OpenCode's own."""
    if not message.parts or any(part.type == "compaction" for part in message.parts):
        return False
    return not all(part.synthetic for part in message.parts)


def continues_turn(message: Message) -> bool:
    """Put there by OpenCode in the course of a turn. A compaction that somebody asked for (not `auto`) is not."""
    if any(part.type == "compaction" for part in message.parts):
        return any(part.auto for part in message.parts)
    return bool(message.parts) and all(part.synthetic for part in message.parts)


def is_shell_call(message: Message) -> bool:
    """A command that a person ran in the session: a tool without a model call, and neither finish nor error."""
    kinds = {part.type for part in message.parts}
    return kinds == {"tool"} and message.info.finish is None and message.info.error is None


def _without_foreign_shell(assistants: list[Message], prompts: Collection[str]) -> tuple[Message, ...]:
    # A shell call puts a synthetic user message in front of itself, just as a compaction does. Run after the answer,
    # it must not become the answer.
    return tuple(m for m in assistants if m.info.parent_id in prompts or not is_shell_call(m))
