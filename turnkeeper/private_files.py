"""Files that hold secrets: read only where nobody else can read or change them."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path
from typing import Final

from turnkeeper.errors import ConfigurationError

MAX_BYTES: Final = 64 * 1024
"""Bytes of one file of secrets: hundreds of keys. Anything longer is another file."""

OTHERS_MAY: Final = stat.S_IRWXO | stat.S_IWGRP
"""Modes that are refused. A group that may read is how a mounted secret reaches a process that is not root."""


def read_private(path: Path, setting: str) -> str:
    """The text of the file that `setting` names.

    Raises:
        ConfigurationError: no such file, no text, or one that other users can read or change. Shows nothing of it,
            nor what was given as its path if that is none: a secret may have been put there by mistake.

    """
    if not path.is_absolute():
        # Processes with the same setting start in other directories: a worker of `turnkeeper dev` does.
        raise ConfigurationError(setting, "no absolute path", "the absolute path of a file")
    named = str(path)
    try:
        # Without O_NONBLOCK a named pipe would hold the start up for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise ConfigurationError(setting, f"{named} ({type(error).__name__})", "a readable text file") from None
    try:
        _refuse_public(os.fstat(descriptor), named, setting)
        return os.read(descriptor, MAX_BYTES).decode()
    except UnicodeDecodeError:
        raise ConfigurationError(setting, f"{named}, which is no text", "a text file") from None
    finally:
        os.close(descriptor)


def _refuse_public(found: os.stat_result, named: str, setting: str) -> None:
    if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_BYTES:
        allowed = f"a text file of at most {MAX_BYTES} bytes"
        raise ConfigurationError(setting, f"{named}, no file of secrets", allowed)
    if found.st_mode & OTHERS_MAY:
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        allowed = f"one that others can neither read nor change (chmod 600 {shlex.quote(named)})"
        raise ConfigurationError(setting, f"{named} with mode {mode}", allowed)
