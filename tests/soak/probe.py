"""`python -m tests.soak.probe`: worker.py itself, and every ten seconds a line about its process while it lives.

Linux only: memory and descriptors are read from /proc. Times are of the monotonic clock, which all processes of the
machine share and which no fault makes jump.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from temporalio.worker import Worker

import worker as composition

FILE_VARIABLE: Final = "SOAK_PROBE"
"""Where the lines go; a worker that is started again appends."""

WINDOW: Final = 10.0
"""Seconds of a line."""

TICK: Final = 0.05
"""Seconds that the loop is asked to sleep; what it sleeps longer is its lag."""

MEGABYTE: Final = 1024 * 1024


@dataclass(frozen=True)
class Line:
    """One window of one process. Lags in milliseconds; `cached`: workflows in the sticky cache.

    `in_use_mb`: what the C allocator has given away, to Python and to the SDK's core, and `blocks`: thousands of memory
    blocks that Python holds. A leak shows there long before it shows in `rss_mb`, most of whose growth is free space in
    the arenas of the core's threads.
    """

    pid: int
    at: float
    rss_mb: float
    in_use_mb: float | None
    fds: int
    tasks: int
    blocks: float
    cached: int
    lag_p50: float
    lag_p99: float
    lag_max: float


def resident_mb(pid: int) -> float:
    """Memory of a process. Raises `OSError` when it is gone."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE


def open_files(pid: int) -> int:
    """Its descriptors. Raises `OSError` when it is gone."""
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - a count of names, no paths are needed


class _Mallinfo(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()  # noqa: SIM905
    )


def in_use_mb() -> float | None:
    """Of this process, over all arenas; None where the C library does not tell (glibc does since 2.33)."""
    ask = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if ask is None:
        return None
    ask.restype = _Mallinfo
    found = ask()
    in_use: int = found.uordblks + found.hblkhd
    return in_use / MEGABYTE


def percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Probe:
    """Lives in the worker's event loop."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.workers: list[Worker] = []

    async def watch(self) -> None:
        """A line for each window, until cancelled."""
        while True:
            lags = sorted(await self._lags())
            line = json.dumps(asdict(self._line(lags)))
            with self._file.open("a") as file:
                file.write(f"{line}\n")

    async def _lags(self) -> list[float]:
        lags = []
        end = time.monotonic() + WINDOW
        while (before := time.monotonic()) < end:
            await asyncio.sleep(TICK)
            lags.append((time.monotonic() - before - TICK) * 1000)
        return lags

    def _line(self, lags: list[float]) -> Line:
        pid = os.getpid()
        return Line(
            pid=pid,
            at=time.monotonic(),
            rss_mb=resident_mb(pid),
            in_use_mb=in_use_mb(),
            fds=open_files(pid),
            tasks=len(asyncio.all_tasks()),
            blocks=sys.getallocatedblocks() / 1000,
            cached=sum(map(_cached, self.workers)),
            lag_p50=percentile(lags, 0.5),
            lag_p99=percentile(lags, 0.99),
            lag_max=lags[-1],
        )


def _cached(worker: Worker) -> int:
    """The SDK shows it only to a metrics exporter, which would be one more thing that may leak."""
    inner = worker._workflow_worker  # noqa: SLF001
    return len(inner._running_workflows) if inner is not None else 0  # noqa: SLF001


def main() -> int:
    """worker.py's, with the probe beside it."""
    probe = Probe(Path(os.environ[FILE_VARIABLE]))
    run = composition.run

    class Seen(Worker):
        def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - the SDK's own
            super().__init__(*arguments, **named)
            probe.workers.append(self)

    async def watched() -> None:
        watching = asyncio.create_task(probe.watch())
        try:
            await run()
        finally:
            watching.cancel()

    composition.Worker = Seen  # type: ignore[attr-defined]  # the name that worker.py builds with
    composition.run = watched
    return composition.main()


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # as worker.py does
