"""A worker's wall clock that can jump, by a preloaded library; the rest of the machine keeps its time."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final, Self

SOURCE: Final = Path(__file__).with_name("clock_shim.c")
COMPILE_SECONDS: Final = 60.0
NANOSECONDS: Final = 1_000_000_000


class JumpingClock:
    """One for each worker. Built with the machine's C compiler."""

    def __init__(self, library: Path, offset: Path) -> None:
        self._offset = offset
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_OFFSET_FILE": str(offset)}
        self.jump(0)

    @classmethod
    def built_in(cls, directory: Path) -> Self | None:
        """None where there is no C compiler."""
        compiler = shutil.which("cc")
        if compiler is None:
            return None
        directory.mkdir(parents=True, exist_ok=True)
        library = directory / "clock_shim.so"
        command = (compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl")
        subprocess.run(command, check=True, timeout=COMPILE_SECONDS)  # noqa: S603 - our own source, no shell
        return cls(library, directory / "offset")

    def jump(self, seconds: float) -> None:
        """The wall clock is off by so many seconds from now on."""
        written = struct.pack("q", round(seconds * NANOSECONDS))
        if not self._offset.exists():
            self._offset.write_bytes(written)
            return
        with self._offset.open("r+b") as file:  # in place: the worker has it mapped
            file.write(written)
