"""How a command ends: exit codes, one line for an error, and the one place where the process leaves."""

from __future__ import annotations

import contextlib
import os
import sys
from enum import IntEnum
from typing import Final, NoReturn

from turnkeeper.cli.figures import printable

DEBUG_VARIABLE: Final = "TURNKEEPER_DEBUG"
"""Set to 1, an error shows its traceback. Everybody else gets one line."""


class Exit(IntEnum):
    """What the calling shell learns."""

    OK = 0  # the turn completed; or the command did what it was asked
    ENDED_OTHERWISE = 1  # the turn was interrupted or failed; or `doctor` found something
    NOT_FOLLOWED = 2  # not started, or not followed to its end: bad input, no service, detached


def complain(text: str) -> None:
    """One line on stderr, never on stdout: stdout belongs to the answer."""
    # A closed stderr must not turn a clear exit code into a crash.
    with contextlib.suppress(BrokenPipeError, ValueError):
        sys.stderr.write(f"turnkeeper: {' '.join(printable(text).split())}\n")
        sys.stderr.flush()


def leave(code: int) -> NoReturn:
    """End the process at once, everything printed.

    Not `sys.exit`: once Temporal's core has run, 4 to 5 % of ordinary interpreter exits die with SIGABRT or SIGSEGV
    (measured; temporalio/sdk-python issue 300), and a crash after success would lie to the calling shell.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError, ValueError):
            stream.flush()
    os._exit(code)
