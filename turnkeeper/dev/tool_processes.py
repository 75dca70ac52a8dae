"""What OpenCode's tools leave running, and its end.

They lead sessions of their own and survive the server (measured for SIGTERM and SIGKILL alike); going on to write
into a workspace after an orderly stop would make "stopped" a lie. A variable in the server's environment, which every
tool inherits, tells them from everything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Final

MARK: Final = "TURNKEEPER_SERVER"
"""Variable that carries the server's own random id."""
GRACE: Final = 1.0
"""Seconds between SIGTERM and SIGKILL: enough for a compiler or a test runner to clean up."""
POLL: Final = 0.05
"""Seconds between two looks."""


async def end_tools(mark: str) -> int:
    """End every process that inherited the mark; returns how many there were. Only Linux shows them."""
    found = _marked(mark)
    _send(found, signal.SIGTERM)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + GRACE
    while (left := _marked(mark)) and loop.time() < deadline:  # noqa: ASYNC110 - other processes set no event of ours
        await asyncio.sleep(POLL)
    _send(left, signal.SIGKILL)
    return len(found)


def _marked(mark: str) -> list[int]:
    if sys.platform != "linux":
        return []
    entry = f"{MARK}={mark}".encode()
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with contextlib.suppress(OSError):  # gone meanwhile, or somebody else's
                if entry in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
    return found


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
