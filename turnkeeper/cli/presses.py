"""Ctrl-C and the like as a queue of presses: what they mean is decided in one place and tested without signals."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Final


class Press(Enum):
    """What the outside asks of a command that follows a turn."""

    CTRL_C = "ctrl-c"
    LEAVE = "leave"
    """The terminal or its owner is going away: leave at once, stop nothing."""


Presses = asyncio.Queue[Press]

_MEANINGS: Final = {signal.SIGINT: Press.CTRL_C, signal.SIGTERM: Press.LEAVE, signal.SIGHUP: Press.LEAVE}


@contextmanager
def ctrl_c() -> Iterator[Presses]:
    """Within the block every such signal is one item of the queue, and nothing else."""
    presses = Presses()
    loop = asyncio.get_running_loop()
    for number, press in _MEANINGS.items():
        loop.add_signal_handler(number, presses.put_nowait, press)
    try:
        yield presses
    finally:
        for number in _MEANINGS:
            loop.remove_signal_handler(number)


@dataclass(frozen=True, slots=True)
class Asked:
    """Whether a command with something to clean up was asked to end, and whether impatiently."""

    once: asyncio.Event = field(default_factory=asyncio.Event)
    again: asyncio.Event = field(default_factory=asyncio.Event)

    def ask(self) -> None:
        """One more signal."""
        (self.again if self.once.is_set() else self.once).set()


@contextmanager
def asked_to_end() -> Iterator[Asked]:
    """Within the block the first SIGINT, SIGTERM or SIGHUP asks to end, a second one to end at once.

    Neither ends this process: servers must not be left behind.
    """
    asked = Asked()
    loop = asyncio.get_running_loop()
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for end in ends:
        loop.add_signal_handler(end, asked.ask)
    try:
        yield asked
    finally:
        for end in ends:
            loop.remove_signal_handler(end)
