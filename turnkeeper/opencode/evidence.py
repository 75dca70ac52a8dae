"""The facts of one turn in the words of our observations: text, usage, tools, fingerprint, one sentence. Pure."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from turnkeeper.errors import bounded
from turnkeeper.limits import LATEST_TOOLS
from turnkeeper.observations import OpenRequest, ToolUse, Usage
from turnkeeper.opencode.family import Family
from turnkeeper.opencode.wire import Message, Part, StatusEntry, ToolState
from turnkeeper.opencode.wording import foreign
from turnkeeper.vocabulary import Standing

MAX_TOOL_TITLE: Final = 120
"""Characters of a tool call's title: one line on a terminal."""

MAX_TOOL_NAME: Final = 100
"""Characters of a tool's name and of its status; those of MCP servers are the longest, some forty."""

SHELL_ABORTED: Final = "User aborted the command\n</shell_metadata>"
"""How the output of an aborted shell command ends (recorded: abort_in_tool)."""

OUTPUT_TAIL: Final = 64
"""Characters of a running command's output that enter the fingerprint beside its length: OpenCode keeps a bounded
tail, so that a long output changes without growing."""

MAX_DETAIL: Final = 600
"""Characters of the sentence behind a standing: it enters histories with every look."""

_CONSEQUENCE: Final = {
    Standing.UNSTARTED: "the prompt is stored and nothing runs",
    Standing.RUNNING: "the turn runs",
    Standing.WAITING: "the turn waits for a person",
    Standing.HALTED: "begun, not finished, and nothing runs",
    Standing.SUCCEEDED: "the agent answered",
    Standing.TRUNCATED: "the agent answered up to the output limit",
    Standing.FAILED: "the turn failed",
    Standing.ABORTED: "the turn was aborted",
    Standing.REFUSED: "a person said no and the agent ended there",
    Standing.ABSORBED: "a later prompt was answered in its place",
}


def answer_text(family: Family) -> str:
    """The final assistant's own words, whole."""
    if family.last is None:
        return ""
    texts = (part.text for part in family.last.parts if part.type == "text" and not part.synthetic)
    return "\n".join(text for text in texts if text)


def usage(family: Family) -> Usage:
    """Sums over the turn's model calls. An aborted or failed call reports no tokens (measured on 1.18.33)."""
    infos = [message.info for message in family.assistants]
    return Usage(
        input_tokens=sum(info.tokens.input for info in infos),
        output_tokens=sum(info.tokens.output for info in infos),
        reasoning_tokens=sum(info.tokens.reasoning for info in infos),
        cache_read_tokens=sum(info.tokens.cache.read for info in infos),
        cache_write_tokens=sum(info.tokens.cache.write for info in infos),
        cost=sum(info.cost for info in infos),
        model_calls=sum(any(part.type == "step-start" for part in message.parts) for message in family.assistants),
    )


def latest_tools(family: Family, directory: str = "") -> tuple[ToolUse, ...]:
    """The newest tool calls, newest last. Files in `directory` are named from there."""
    newest = deque(family.tool_parts(), maxlen=LATEST_TOOLS)
    return tuple(
        ToolUse(
            name=foreign(part.tool, MAX_TOOL_NAME),
            status=foreign(_tool_status(part.state), MAX_TOOL_NAME),
            title=foreign(_from_here(part.state.title, directory), MAX_TOOL_TITLE),
        )
        for part in newest
        if part.state is not None
    )


def _tool_status(state: ToolState) -> str:
    """A shell command that was cut off ends as `completed`, with a note at the end of its output."""
    cut_off = state.status == "completed" and state.output.rstrip().endswith(SHELL_ABORTED)
    return "aborted" if cut_off else state.status


def _from_here(title: str, directory: str) -> str:
    """OpenCode names files from the root of the repository; outside of one that is `/`, and no slash shows it."""
    inside = f"{directory.strip('/')}/"
    return title.removeprefix(inside) if inside != "/" else title


def describe(standing: Standing, status: StatusEntry | None, family: Family, requests: Sequence[OpenRequest]) -> str:
    """One sentence that a person can check against the provider: what was seen, then what it means."""
    facts = [
        f"session {_status_words(status)}",
        f"prompt {family.prompt.info.id}",
        f"{len(family.assistants)} assistant message{'' if len(family.assistants) == 1 else 's'}",
    ]
    if family.last is not None:
        facts.append(_message_words(family.last))
    open_tools = [part.tool for part in family.tool_parts() if part.open]
    if open_tools:
        facts.append(f"open tools: {', '.join(open_tools[:LATEST_TOOLS])}")
    if requests:
        facts.append(f"asked: {', '.join(request.request_id for request in requests[:LATEST_TOOLS])}")
    if family.followed:
        facts.append(f"a later prompt {'is answered' if family.overtaken else 'is stored'}")
    return f"{bounded('; '.join(facts), MAX_DETAIL)}: {_CONSEQUENCE[standing]}."


def fingerprint(status: StatusEntry | None, family: Family, children: Sequence[str]) -> str:
    """Changes exactly when OpenCode stored progress of this turn; sixteen hex digits.

    Text that streams is not progress here: OpenCode stores a text part when it is complete.
    """
    digest = hashlib.blake2b(digest_size=8)
    for mark in _marks(status, family, children):
        digest.update(mark.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return digest.hexdigest()


def _marks(status: StatusEntry | None, family: Family, children: Sequence[str]) -> Iterator[str]:
    if status is not None and status.type == "retry":
        yield f"retry {status.attempt}"
    for message in family.assistants:
        info = message.info
        yield f"{info.id} {info.time.completed} {info.finish} {info.error.name if info.error else ''}"
        yield from map(_part_mark, message.parts)
    yield from children


def _part_mark(part: Part) -> str:
    if part.state is None:
        return f"{part.id} {part.type} {len(part.text)}"
    output = part.state.metadata.output
    return f"{part.id} {part.state.status} {part.state.title} {len(output)} {output[-OUTPUT_TAIL:]}"


def _status_words(status: StatusEntry | None) -> str:
    if status is None:
        return "not in the status (idle, or not begun)"
    return f"{status.type} (attempt {status.attempt})" if status.type == "retry" else status.type


def _message_words(message: Message) -> str:
    info = message.info
    state = "unfinished" if info.time.completed is None else "completed"
    error = f", error={info.error.name}" if info.error else ""
    kind = "summary" if info.compaction else "assistant"
    return f"last {kind} {info.id} {state}, finish={info.finish or 'none'}{error}"
