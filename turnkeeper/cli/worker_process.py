"""The worker as a child of the embedded stack: `worker.py` of this checkout, told everything by environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Final

import turnkeeper
from turnkeeper.cli.service import EMBEDDED_ENDPOINT, embedded_environment
from turnkeeper.dev.stack import WorkerHook
from turnkeeper.dev.stack_state import StackState
from turnkeeper.errors import ConfigurationError, RefusedError
from turnkeeper.settings import CONFIG_VARIABLE, ENDPOINT_PREFIX, WORKER_READY

READY: Final = WORKER_READY.encode()

_TEMPORAL_PREFIX: Final = "TEMPORAL_"


def worker_hook(state_dir: Path, workspaces: Sequence[Path]) -> WorkerHook:
    """The worker with one endpoint, whose turns may work in `workspaces` and below.

    Raises:
        ConfigurationError: this installation has no `worker.py`.
        RefusedError: a workspace cannot be used.

    """
    script = Path(turnkeeper.__file__).resolve().parent.parent / "worker.py"
    if not script.is_file():
        raise ConfigurationError(
            "worker.py", f"none at {script}", "a checkout of Turnkeeper; the wheel alone holds no worker"
        )
    roots = [_root(workspace) for workspace in workspaces]
    log = state_dir / "logs" / "worker.log"
    return WorkerHook(
        command=(sys.executable, str(script)),
        environment=lambda state: worker_environment(state, roots),
        ready=_Ready(log),
        directory=script.parent,
    )


def worker_environment(state: StackState, roots: Sequence[Path]) -> Mapping[str, str]:
    """The settings of `worker.py`. The password goes by environment, which only the same user can read."""
    prefix = f"{ENDPOINT_PREFIX}{EMBEDDED_ENDPOINT.upper()}"
    return {
        **embedded_environment(state),
        f"{prefix}_URL": state.opencode_url,
        f"{prefix}_USERNAME": state.opencode_username,
        f"{prefix}_PASSWORD": state.opencode_password,
        f"{prefix}_ROOTS": os.pathsep.join(str(root) for root in roots),
    }


def forget_other_services(environ: MutableMapping[str, str]) -> None:
    """Take out what would lead the embedded worker, or us, to somebody else's Temporal or endpoints."""
    for name in list(environ):
        if name == CONFIG_VARIABLE or name.startswith((_TEMPORAL_PREFIX, ENDPOINT_PREFIX)):
            del environ[name]


def _root(workspace: Path) -> Path:
    root = workspace.expanduser().resolve()
    if not root.is_dir():
        raise RefusedError(f"The workspace {root} is not a directory.", code="invalid_directory")
    if os.pathsep in str(root):
        message = f"The workspace {root} has {os.pathsep!r} in its path, which separates workspaces."
        raise RefusedError(message, code="invalid_directory")
    return root


class _Ready:
    """Has the worker said that it polls? Asked while it starts, of the part of its log that this start wrote."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._from = log.stat().st_size if log.exists() else 0

    async def __call__(self) -> bool:
        if not self._log.exists():
            return False
        with self._log.open("rb") as file:
            # A log that became too long was moved aside and began anew.
            file.seek(self._from if self._log.stat().st_size >= self._from else 0)
            return READY in file.read()
