"""A child process under supervision: started until ready, its output drained, ended for certain.

Three traps this file is about. A pipe that nobody reads stops the child once 64 kB are full (Temporal's core writes
warnings to stdout). A child outlives a parent that is killed with -9 unless the kernel is told otherwise. And a
server's tool processes may keep the pipe's other end open after the server is gone, so the end of the output is
never waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from turnkeeper.dev.errors import ProcessFailedError

MAX_LOG: Final = 5 * 1024 * 1024
"""Bytes of a log file; one older file is kept beside it, so a child's output takes 10 MB at most."""
TAIL_LINES: Final = 20
"""Last lines of output kept in memory for error messages."""
MAX_TAIL_TEXT: Final = 400
"""Characters of output an error message repeats: it stays one readable line."""
READY_POLL: Final = 0.05
"""Seconds between two looks at a starting child: below what a person notices."""
STOP_GRACE: Final = 5.0
"""Seconds between SIGTERM and SIGKILL: Temporal and OpenCode end within 0.2 s; a busy machine gets slack."""
DRAIN_GRACE: Final = 0.2
"""Seconds for the last output of an ended child; its own children may hold the pipe open for ever."""

Readiness = Callable[[], Awaitable[bool]]
"""Asked again and again while the child starts. Bound every try: a server may accept and never answer."""


class BoundedLog:
    """A file that never grows past `MAX_LOG`: it becomes `<name>.1` and starts anew."""

    def __init__(self, path: Path, *, limit: int = MAX_LOG) -> None:
        self.path = path
        self._limit = limit
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def write(self, data: bytes) -> None:
        self._tail.extend(data.decode(errors="replace").splitlines())
        with contextlib.suppress(OSError):  # a full disk must not stop the draining
            if self.path.exists() and self.path.stat().st_size + len(data) > self._limit:
                self.path.replace(self.path.with_name(self.path.name + ".1"))
            with self.path.open("ab") as file:
                file.write(data[-self._limit :])

    def tail(self) -> str:
        """The end of the output as one line."""
        return " | ".join(line.strip() for line in self._tail if line.strip())[-MAX_TAIL_TEXT:]


class _Drain(asyncio.Protocol):
    def __init__(self, log: BoundedLog) -> None:
        self._log = log
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._log.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.ended.set()


class SupervisedProcess:
    """One program, which may be started again after its end. It leads its own session and process group.

    `environment` counts at the next start; None means ours.

    Start it from a thread that lives as long as the child shall: Linux sends the parent-death signal when the
    *thread* that started the child ends.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        ready: Readiness,
        start_deadline: float,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        self.name = name
        self.command = tuple(command)
        self.log = BoundedLog(log)
        self._ready = ready
        self._start_deadline = start_deadline
        self.environment = environment
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None
        self._drain: tuple[asyncio.ReadTransport, _Drain] | None = None

    @property
    def pid(self) -> int | None:
        """None before the first start."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def exit_code(self) -> int | None:
        """Negative: ended by that signal."""
        return self._process.returncode if self._process else None

    async def start(self) -> None:
        """Start and wait until ready; a child that is not ready in time is killed.

        Raises:
            ProcessFailedError: it ended by itself or was not ready in time.
        """
        if self.running:
            raise ProcessFailedError(f"{self.name} runs already (pid {self.pid}); stop it first.")
        await self._spawn()
        try:
            await self._until_ready()
        except BaseException:  # a cancelled start, too, must leave nothing behind
            await self.kill()
            raise

    async def stop(self, grace: float = STOP_GRACE) -> None:
        """SIGTERM, a bounded wait, SIGKILL. Returns when the process is gone; fine when it is already."""
        if self._process is not None and self.running:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """SIGKILL at once, for the whole process group."""
        if self._process is None:
            return
        if self.running:
            self.signal(signal.SIGKILL)
            await self._process.wait()
        await self._close_drain()

    async def restart(self) -> None:
        """Stop if it runs, and start with the same command, so on the same ports."""
        await self.stop()
        await self.start()

    async def wait(self) -> int:
        """Until it ends; returns the exit code."""
        if self._process is None:
            raise ProcessFailedError(f"{self.name} was never started.")
        return await self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """To the process group."""
        if self._process is not None and self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def _spawn(self) -> None:
        await self._close_drain()
        read_end, write_end = os.pipe()
        with os.fdopen(write_end, "wb", 0) as output:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *_dying_with_us(self.command),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=self.environment,
                    cwd=self._directory,
                    start_new_session=True,
                )
            except OSError as error:
                os.close(read_end)
                raise ProcessFailedError(f"{self.name} cannot be started: {error}.") from error
        drain = _Drain(self.log)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: drain, os.fdopen(read_end, "rb", 0))
        self._drain = (transport, drain)

    async def _until_ready(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._start_deadline
        while True:
            ready = await self._ready()
            if not self.running:  # asked second: something else may have answered in its place
                raise ProcessFailedError(
                    f"{self.name} ended with code {self.exit_code} before it was ready. {self._said()}"
                )
            if ready:
                return
            if loop.time() > deadline:
                raise ProcessFailedError(f"{self.name} was not ready within {self._start_deadline:g} s. {self._said()}")
            await asyncio.sleep(READY_POLL)

    def _said(self) -> str:
        return f"Its log {self.log.path} ends: {self.log.tail() or '(empty)'}"

    async def _close_drain(self) -> None:
        if self._drain is None:
            return
        transport, drain = self._drain
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_GRACE):
                await drain.ended.wait()
        transport.close()
        self._drain = None


def _dying_with_us(command: Sequence[str]) -> Sequence[str]:
    if sys.platform != "linux":
        return command  # no parent-death signal there: after a kill -9 the stack's next start finds the leftovers
    wrapper = str(Path(__file__).with_name("die_with_parent.py"))
    return (sys.executable, "-I", "-S", wrapper, str(os.getpid()), *command)
