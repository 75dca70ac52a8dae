"""`turnkeeper …`: the command line. `main` is the console script."""

from __future__ import annotations

import os
import signal
import sys
from typing import Final, NoReturn

LEFT: Final = 2
"""The exit code of a Ctrl-C before anything began: `endings.Exit.NOT_FOLLOWED`, which is not imported yet."""


def main() -> None:
    """Run the command line. A Ctrl-C while it is imported, which takes most of a second, is an answer too."""
    signal.signal(signal.SIGINT, _leave)
    from turnkeeper.cli.app import main as run  # noqa: PLC0415 - the imports are what is waited for

    signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


def _leave(*_: object) -> NoReturn:
    sys.stderr.write("turnkeeper: left before anything was started.\n")
    sys.stderr.flush()
    os._exit(LEFT)


__all__ = ["main"]
