"""Become another program that dies with its parent: `die_with_parent.py PARENT_PID PROGRAM [ARGUMENT ...]`.

Linux forgets the parent-death signal on fork but keeps it over exec, so it is set here, in the child, and not by a
`preexec_fn`, which may deadlock in a program with threads. A script and not a module: `python -I -S` starts it in
about 20 ms without reading site-packages.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1
"""From `linux/prctl.h`."""


def main() -> None:
    parent, program = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above: nobody would ever end us
        os._exit(1)
    try:
        os.execv(program[0], program)  # noqa: S606 - becoming the program we were given is all this file does
    except OSError as error:
        sys.exit(f"{program[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
