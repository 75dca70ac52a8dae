"""Ctrl-C as a queue of presses, so that what they mean is decided in one place and tested without signals."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

PRESSES_TO_LEAVE: Final = 2
"""What a SIGTERM or SIGHUP counts as: leave at once, stop nothing. The terminal or its owner is going away."""


@contextmanager
def ctrl_c() -> Iterator[asyncio.Queue[None]]:
    """Within the block every SIGINT is one item of the queue, and nothing else."""
    presses: asyncio.Queue[None] = asyncio.Queue()

    def leave() -> None:
        for _ in range(PRESSES_TO_LEAVE):
            presses.put_nowait(None)

    handlers = {signal.SIGINT: lambda: presses.put_nowait(None), signal.SIGTERM: leave, signal.SIGHUP: leave}
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield presses
    finally:
        for number in handlers:
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
