"""Ctrl-C and the like as a queue of presses: what they mean is decided in one place and tested without signals."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def asked_to_end() -> Iterator[asyncio.Event]:
    """Within the block the first SIGINT, SIGTERM or SIGHUP sets the event; later ones change nothing.

    For a command that has something to clean up: a second, impatient Ctrl-C must not leave servers behind.
    """
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for end in ends:
        loop.add_signal_handler(end, asked.set)
    try:
        yield asked
    finally:
        for end in ends:
            loop.remove_signal_handler(end)
