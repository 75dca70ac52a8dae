"""A small disk of its own for OpenCode's database, so that it can be full."""

from __future__ import annotations

import errno
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SIZE: Final = "96m"
"""OpenCode's data takes 7 MB after thirty runs."""
MOUNT_SECONDS: Final = 10.0
BLOCK: Final = 64 * 1024


class SmallDisk:
    """A mounted one."""

    def __init__(self, directory: Path) -> None:
        self._filler = directory / "filler"

    def fill(self) -> None:
        """Until not one more byte fits."""
        block = BLOCK
        with self._filler.open("ab", buffering=0) as file:
            while block:
                try:
                    file.write(bytes(block))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    block //= 2

    def free(self) -> None:
        self._filler.unlink(missing_ok=True)


@contextmanager
def small_disk(directory: Path, size: str = SIZE) -> Iterator[SmallDisk | None]:
    """Mounted at `directory`; None where that is not permitted."""
    directory.mkdir(parents=True, exist_ok=True)
    if not _done("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)):
        yield None
        return
    try:
        yield SmallDisk(directory)
    finally:
        # Lazily: a tool that OpenCode left running may still hold a file open.
        _done("umount", "-l", str(directory))


def _done(program: str, *arguments: str) -> bool:
    """Was it there, permitted and successful?"""
    found = shutil.which(program)
    if found is None:
        return False
    ended = subprocess.run((found, *arguments), check=False, capture_output=True, timeout=MOUNT_SECONDS)  # noqa: S603 - no shell, no foreign input
    return ended.returncode == 0
