"""Recorded OpenCode traffic, multiplied into what a busy endpoint sends."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

RECORDINGS: Final = Path(__file__).resolve().parent.parent / "tests/fixtures/opencode"
NAMESPACE: Final = "default"

SOCKET_READ: Final = 64 * 1024
"""Bytes that httpcore asks a socket for at once: what a reader that is behind gets."""

TOKENS: Final = 400
"""Text deltas of a turn in the mixes of tokens. The recordings have five to fifteen; answers in real life hundreds."""

AT_ONCE: Final = 100
"""Sessions at work in the mixes of many."""

TOOL_TURNS: Final = ("tool_bash", "tool_write_read", "tool_parallel", "tool_failures", "permission_once")
OTHER_TURNS: Final = ("normal", "reasoning", "subagent", "question_answered", "abort_mid_stream")

ENDLESS: Final = "one endless answer"
MANY: Final = f"{AT_ONCE} sessions at once"
NOT_OURS: Final = "sessions not ours"
"""Names of mixes that the memory is looked at with."""

_NAMES: Final = re.compile(rb"(ses|evt)_[0-9A-Za-z]+")
_DELTA: Final = b'"type":"message.part.delta"'

Turn = Sequence[bytes]


@dataclass(frozen=True)
class Mix:
    """Frames in the order of their arrival: whole lines, with `data:` and the empty line after them."""

    name: str
    frames: Turn

    @property
    def deltas(self) -> float:
        """The share of text deltas."""
        return sum(_DELTA in frame for frame in self.frames) / len(self.frames)

    def chunks(self, size: int | None) -> list[bytes]:
        """In pieces of `size` bytes; None: each frame by itself, as a reader gets them that keeps up."""
        if size is None:
            return list(self.frames)
        wire = b"".join(self.frames)
        return [wire[at : at + size] for at in range(0, len(wire), size)]


def mixes(events: int) -> list[Mix]:
    """Each of `events` events."""
    long = [_talkative(recorded("normal"), TOKENS), _talkative(recorded("reasoning"), TOKENS)]
    tools = [recorded(name) for name in TOOL_TURNS]
    all_kinds = [*long, *(recorded(name) for name in OTHER_TURNS), *tools]
    return [
        Mix(ENDLESS, _stream([_talkative(recorded("normal"), events)], events)),
        Mix(f"turns of {TOKENS} tokens", _stream(long, events)),
        Mix("turns of tools", _stream(tools, events)),
        Mix(MANY, _stream(all_kinds, events, AT_ONCE)),
        Mix(f"{AT_ONCE} sessions, 1 of 5 ours", _stream(all_kinds, events, AT_ONCE, ours=5)),
        Mix(NOT_OURS, _stream(long, events, ours=0)),
    ]


def recorded(name: str) -> Turn:
    """The frames of one recording, without what the recorder added."""
    lines = (RECORDINGS / f"{name}.sse").read_bytes().splitlines()
    return [line + b"\n\n" for line in lines if line.startswith(b"data:")]


def _talkative(turn: Turn, tokens: int) -> Turn:
    """The turn with so many deltas in place of each run of deltas."""
    longer: list[bytes] = []
    for delta, group in itertools.groupby(turn, key=lambda frame: _DELTA in frame):
        run = list(group)
        longer += itertools.islice(itertools.cycle(run), tokens) if delta else run
    return longer


def _stream(turns: Sequence[Turn], events: int, at_once: int = 1, *, ours: int = 1) -> Turn:
    """Turn after turn, so many at once, a frame of each in turns; one of `ours` sessions is ours (0: none)."""
    kinds = itertools.cycle(turns)
    numbers = itertools.count()

    def play() -> Iterator[bytes]:
        while True:
            number = next(numbers)
            yield from _renamed(next(kinds), number, ours=ours > 0 and number % ours == 0)

    players = [play() for _ in range(at_once)]
    return tuple(itertools.islice((next(player) for player in itertools.cycle(players)), events))


def _renamed(turn: Turn, number: int, *, ours: bool) -> Iterator[bytes]:
    """A copy with sessions and events of its own, and with our mark in its sessions if it is `ours`."""
    own = f"{number:06d}".encode()
    mark = f'"metadata":{{"turnkeeper":{{"thread":"bench-{number}","namespace":"{NAMESPACE}"}}}},"title":'.encode()
    for frame in turn:
        copy = _NAMES.sub(lambda found: found[0][:-6] + own, frame)
        yield copy.replace(b'"title":', mark) if ours and b'"type":"session.' in copy else copy
