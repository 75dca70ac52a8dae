"""What changed between two looks at a turn: the lines of the plain view and the objects of `--json`. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from turnkeeper.messages import TurnSnapshot
from turnkeeper.observations import OpenRequest, ToolUse, Usage
from turnkeeper.vocabulary import TurnState


@dataclass(frozen=True, slots=True)
class StateChanged:
    state: TurnState
    doing: str


@dataclass(frozen=True, slots=True)
class ToolChanged:
    """A tool call appeared or moved on; `number` counts the turn's calls from 1."""

    number: int
    tool: ToolUse


@dataclass(frozen=True, slots=True)
class RequestOpened:
    request: OpenRequest


@dataclass(frozen=True, slots=True)
class RequestClosed:
    request: OpenRequest


@dataclass(frozen=True, slots=True)
class UsageChanged:
    usage: Usage
    tool_calls: int


@dataclass(frozen=True, slots=True)
class RetryNoticed:
    """The provider's model failed, and the provider tries again by itself."""

    at: datetime


@dataclass(frozen=True, slots=True)
class StopNoticed:
    """Somebody (perhaps another terminal) asked for a stop, or a clock ran out."""

    why: str


Change = StateChanged | ToolChanged | RequestOpened | RequestClosed | UsageChanged | RetryNoticed | StopNoticed


def changes(before: TurnSnapshot | None, after: TurnSnapshot) -> tuple[Change, ...]:
    """What `after` says that `before` did not, in the order a person wants to read it."""
    return tuple(_changes(before, after))


def _changes(before: TurnSnapshot | None, after: TurnSnapshot) -> Iterator[Change]:
    yield from (ToolChanged(number, tool) for number, tool in _moved(before, after))
    if after.retry_at is not None and (before is None or before.retry_at != after.retry_at):
        yield RetryNoticed(after.retry_at)
    if after.stop_requested_at is not None and (before is None or before.stop_requested_at is None):
        yield StopNoticed(after.stop)
    # Not `doing`: it alternates with every look. The live view shows it, lines would drown in it.
    if before is None or (before.state, before.delivery) != (after.state, after.delivery):
        yield StateChanged(after.state, after.doing)
    known = {request.request_id: request for request in before.open_requests} if before else {}
    now_open = {request.request_id: request for request in after.open_requests}
    yield from (RequestOpened(request) for key, request in now_open.items() if key not in known)
    yield from (RequestClosed(request) for key, request in known.items() if key not in now_open)
    if after.usage != (before.usage if before else Usage()):
        yield UsageChanged(after.usage, after.tool_calls)


def _moved(before: TurnSnapshot | None, after: TurnSnapshot) -> Iterator[tuple[int, ToolUse]]:
    known = dict(numbered(before)) if before else {}
    yield from ((number, tool) for number, tool in numbered(after) if known.get(number) != tool)


def numbered(snapshot: TurnSnapshot) -> Iterator[tuple[int, ToolUse]]:
    """The tool calls with their numbers in the turn: a snapshot holds the latest only, and they carry no id."""
    first = max(snapshot.tool_calls - len(snapshot.tools), 0) + 1
    return enumerate(snapshot.tools, start=first)
