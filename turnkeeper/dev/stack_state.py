"""What a running stack leaves on disk: a lock that says that it lives, and a file that says where it is.

The lock is the truth: the kernel drops it with the process, kill -9 included, and no pid can be mistaken for it. The
state file holds a password, so only its owner may read it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from turnkeeper.dev.errors import StackHeldError, StackNotFoundError, StateDirectoryError

STATE_FILE: Final = "stack.json"
LOCK_FILE: Final = "stack.lock"
PORTS_FILE: Final = "ports.json"
OWNER_ONLY: Final = 0o600
OWNER_ONLY_FOLDER: Final = 0o700
OTHERS_WRITE: Final = 0o022
ROOT: Final = 0
KEPT_FOLDERS: Final = ("logs", "temporal", "opencode")
"""Made here, before anything is in them: prompts and answers are in the database, the sessions and the logs."""
LEFTOVER_GRACE: Final = 3.0
"""Seconds for the children of a killed stack to follow it: Linux kills them within milliseconds."""
LEFTOVER_POLL: Final = 0.05
"""Seconds between two looks at them."""
LOCK_TRIES: Final = 3

ModelSource = Literal["scripted", "user"]


class _Stored(BaseModel):
    # Unknown keys are ignored: an older CLI may read a newer stack's file.
    model_config = ConfigDict(frozen=True, extra="ignore")


class StackState(_Stored):
    """Where everything is. Read by other terminals with `read_stack`."""

    pid: int = Field(description="the process that owns the stack")
    started_at: float = Field(description="seconds since 1970")
    model_source: ModelSource
    temporal_address: str
    temporal_ui: str | None
    namespace: str
    opencode_url: str
    opencode_username: str
    opencode_password: str = Field(repr=False)
    opencode_version: str
    opencode_boot_id: str | None = Field(description="changes with every start; None with the person's own setup")
    model_url: str | None = Field(description="the scripted model's OpenAI base URL, if it runs")
    pids: Mapping[str, int] = Field(description="children by name")
    logs: Path


class Ports(_Stored):
    """The last ports, tried again at the next start, so that links to the web UI stay good. 0: none yet."""

    temporal: int = 0
    temporal_ui: int = 0
    opencode: int = 0
    model: int = 0


class StackLock:
    """Single instance on a state directory, for as long as this process lives."""

    def __init__(self, state: Path) -> None:
        self._path = state / LOCK_FILE
        self._file: int | None = None

    def take(self) -> Self:
        """Raises StackHeldError, which says who holds it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY)
        try:
            _lock_exclusively(descriptor)
        except BlockingIOError as error:
            os.close(descriptor)
            raise StackHeldError(self._held()) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"pid {os.getpid()}, started {time.strftime('%Y-%m-%d %H:%M:%S')}".encode(), 0)
        self._file = descriptor
        return self

    def refuse_if_held(self) -> None:
        """Raises StackHeldError as `take` does, and takes nothing."""
        if self.is_held():
            raise StackHeldError(self._held())

    def _held(self) -> str:
        holder = self._path.read_text(errors="replace").strip()[:200] or "another process"
        where = f"A stack already runs on {self._path.parent}: {holder}."
        return f"{where} Use it, stop it, or choose another directory with --state-dir."

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def is_held(self) -> bool:
        """By anybody. Asked with a shared lock that is given back at once."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False


def _lock_exclusively(descriptor: int) -> None:
    """Tried more than once: somebody else's `is_held` holds a shared lock for an instant."""
    for _ in range(LOCK_TRIES - 1):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(LEFTOVER_POLL)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def prepare_state_directory(state: Path) -> None:
    """Make it if it is not there. What is made here is for its owner alone; what was there keeps its mode.

    Raises:
        StateDirectoryError: it cannot be made or used, or others could change what is kept in it.
    """
    try:
        state.parent.mkdir(parents=True, exist_ok=True)
        _make_private(state)
        _refuse_if_others_write(state)
        for name in KEPT_FOLDERS:
            _make_private(state / name)
    except OSError as error:
        raise StateDirectoryError(
            f"The state directory {state} cannot be used ({error.strerror}). Choose another one with --state-dir."
        ) from error


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=OWNER_ONLY_FOLDER, exist_ok=True)


def _refuse_if_others_write(state: Path) -> None:
    """Who can write there can put a file of theirs in place of the one with the password and the addresses."""
    found = state.stat()
    if found.st_uid not in {os.geteuid(), ROOT}:
        why, remedy = "belongs to another user", "Choose another one with --state-dir."
    elif found.st_mode & OTHERS_WRITE:
        why = "can be written to by other users, who could replace the servers' addresses and password kept there"
        remedy = f"Forbid that with: chmod go-w {shlex.quote(str(state))}; or choose another one with --state-dir."
    else:
        return
    raise StateDirectoryError(f"The state directory {state} {why}. {remedy}")


def read_stack(state: Path, start_with: str = "turnkeeper dev") -> StackState:
    """The stack that runs on `state`. `start_with`: the command that would start one there.

    Raises:
        StackNotFoundError: none runs there; says whether one was killed.
    """
    stored = _stored_state(state)
    if not StackLock(state).is_held():
        was = f" The last one (pid {stored.pid}) ended without cleaning up." if stored else ""
        raise StackNotFoundError(f"No stack runs on {state}.{was} Start one with: {start_with}.")
    if stored is None:
        raise StackNotFoundError(
            f"The stack on {state} is starting or stopping (or its {STATE_FILE} is broken). Try again."
        )
    return stored


def write_state(state: Path, content: StackState) -> None:
    _write_atomically(state / STATE_FILE, content.model_dump_json(indent=2))


def forget_state(state: Path) -> None:
    (state / STATE_FILE).unlink(missing_ok=True)


def read_ports(state: Path) -> Ports:
    """The last ports; none if there were none or the file is broken (it is only a convenience)."""
    try:
        return Ports.model_validate_json((state / PORTS_FILE).read_bytes())
    except (OSError, ValidationError):
        return Ports()


def write_ports(state: Path, ports: Ports) -> None:
    _write_atomically(state / PORTS_FILE, ports.model_dump_json())


def refuse_leftovers(state: Path) -> None:
    """Two servers on one database would ruin it: wait until the children of a killed stack are gone.

    Call it with the lock held.

    Raises:
        StackHeldError: one of them still runs (only where a child can outlive a killed parent).
    """
    stored = _stored_state(state)
    if stored is None:
        return
    deadline = time.monotonic() + LEFTOVER_GRACE
    for name, pid in stored.pids.items():
        while name in command_of(pid):
            if time.monotonic() > deadline:
                raise StackHeldError(
                    f"The {name} process {pid} of an earlier stack on {state} still runs. End it with: kill {pid}."
                )
            time.sleep(LEFTOVER_POLL)
    forget_state(state)


def command_of(pid: int) -> str:
    """The command line of a process; empty when it is gone."""
    if sys.platform == "linux":
        return _command_on_linux(Path("/proc") / str(pid))
    shown = subprocess.run(  # noqa: S603 - a constant command with a number
        ["/bin/ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return shown.stdout.strip()


def _command_on_linux(process: Path) -> str:
    with contextlib.suppress(OSError):
        if command := (process / "cmdline").read_bytes():
            return command.replace(b"\0", b" ").decode(errors="replace")
        # No command line: a killed process, perhaps still on its way out with its ports and files open. It is over
        # when it is a zombie (its name ends at the last parenthesis, the state follows) without other threads.
        state = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        if state not in "ZX" or len(list((process / "task").iterdir())) > 1:
            return (process / "comm").read_text(errors="replace").strip()
    return ""


def _stored_state(state: Path) -> StackState | None:
    try:
        return StackState.model_validate_json((state / STATE_FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def _write_atomically(path: Path, text: str) -> None:
    """A reader sees the old file or the new one, and nobody else sees either."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, OWNER_ONLY)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)
