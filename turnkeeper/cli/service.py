"""Where Temporal is: by the `TEMPORAL_*` environment when it is set, else the embedded stack by its state file."""

from __future__ import annotations

import os
import shlex
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

from temporalio.client import Client

from turnkeeper.cli.keeper import Keeper
from turnkeeper.client import Turnkeeper
from turnkeeper.connection import connect
from turnkeeper.dev.errors import StackNotFoundError
from turnkeeper.dev.stack_state import StackState, read_stack
from turnkeeper.errors import RefusedError, ServiceUnavailableError
from turnkeeper.messages import endpoint_workflow_id, turn_workflow_id

STATE_VARIABLE: Final = "TURNKEEPER_STATE_DIR"
UI_VARIABLE: Final = "TURNKEEPER_UI_URL"
"""Base address of the Temporal UI, for links. The embedded stack knows its own."""

_UI_FORM: Final = "Write https://temporal.example.com, or unset it."

CONNECTION_VARIABLES: Final = ("TEMPORAL_ADDRESS", "TEMPORAL_PROFILE", "TEMPORAL_CONFIG_FILE", "TEMPORAL_NAMESPACE")
"""Any of these set means: not the embedded stack."""

EMBEDDED_ENDPOINT: Final = "local"
"""The name of the embedded stack's one endpoint."""


@dataclass(frozen=True, slots=True)
class RunningTurn:
    """A thread whose turn runs."""

    thread_id: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Service:
    """A Turnkeeper that answers, and what is known about where it runs."""

    keeper: Keeper
    temporal: Client
    where: str
    ui: str | None = None
    embedded: bool = False
    outage: Callable[[], str | None] = lambda: None
    """Why nothing answers, as far as this machine can tell without asking anybody."""

    def link(self, thread_id: str, run_id: str | None) -> str | None:
        """The Temporal UI's address of the thread's turn."""
        if self.ui is None:
            return None
        workflow = quote(turn_workflow_id(thread_id), safe="")
        namespace = quote(self.temporal.namespace, safe="")
        page = f"{self.ui.rstrip('/')}/namespaces/{namespace}/workflows/{workflow}"
        return f"{page}/{quote(run_id, safe='')}/history" if run_id else page

    async def endpoints(self) -> list[str]:
        """The names of the endpoints that workers serve, by their `Endpoint` workflows."""
        running = "WorkflowType = 'Endpoint' AND ExecutionStatus = 'Running'"
        prefix = endpoint_workflow_id("")
        return sorted([found.id.removeprefix(prefix) async for found in self.temporal.list_workflows(running)])

    async def running_turns(self) -> list[RunningTurn]:
        """The turns that run, oldest first, by Temporal's visibility: no worker is asked."""
        running = "WorkflowType = 'Turn' AND ExecutionStatus = 'Running'"
        prefix = turn_workflow_id("")
        found = [
            RunningTurn(turn.id.removeprefix(prefix), turn.start_time)
            async for turn in self.temporal.list_workflows(running)
        ]
        return sorted(found, key=lambda turn: turn.since)

    async def default_endpoint(self) -> str:
        """The only endpoint there is.

        Raises:
            RefusedError: there are none or several.

        """
        if self.embedded:
            return EMBEDDED_ENDPOINT
        known = await self.endpoints()
        if len(known) == 1:
            return known[0]
        message = f"There are {len(known)} endpoints: {', '.join(known)}." if known else "No endpoint is known."
        raise RefusedError(message, code="endpoint_needed", next_step="Name one with --endpoint.")


Connector = Callable[[Path], Awaitable[Service]]
"""Gives the service for a state directory. Tests give their own."""


async def find_service(state_dir: Path, environ: Mapping[str, str] = os.environ) -> Service:
    """Connect.

    Raises:
        ServiceUnavailableError: nothing to connect to, or it does not answer.

    """
    ui = _ui(environ)
    if named := [name for name in CONNECTION_VARIABLES if environ.get(name)]:
        client = await connect()
        return Service(Turnkeeper(client), client, f"by {', '.join(named)}", ui)
    try:
        state = read_stack(state_dir, with_state_dir("turnkeeper dev", state_dir))
    except StackNotFoundError as error:
        raise ServiceUnavailableError(
            str(error), code="no_stack", next_step="Or set TEMPORAL_ADDRESS to use a Temporal of your own."
        ) from error
    client = await connect(embedded_environment(state))
    where = f"the stack of `turnkeeper dev` in {state_dir}"
    return Service(
        Turnkeeper(client), client, where, ui or state.temporal_ui, embedded=True, outage=lambda: _stopped(state_dir)
    )


def _ui(environ: Mapping[str, str]) -> str | None:
    ui = environ.get(UI_VARIABLE)
    if ui and not ui.startswith(("http://", "https://")):
        raise RefusedError(f"{UI_VARIABLE} is no address of a web page.", code="invalid_input", next_step=_UI_FORM)
    return ui or None


def _stopped(state_dir: Path) -> str | None:
    try:
        read_stack(state_dir, with_state_dir("turnkeeper dev", state_dir))
    except StackNotFoundError as error:
        return str(error)
    return None


def embedded_environment(state: StackState) -> dict[str, str]:
    """The `TEMPORAL_*` variables of the embedded stack, for our clients and its worker.

    No profile file: the API key of somebody's cloud, found there, would switch TLS on, and is no business of this one.
    """
    return {
        "TEMPORAL_ADDRESS": state.temporal_address,
        "TEMPORAL_NAMESPACE": state.namespace,
        "TEMPORAL_CONFIG_FILE": os.devnull,
    }


def with_state_dir(command: str, state_dir: Path) -> str:
    """`command` for the stack in `state_dir`, as it is to be typed."""
    return command if state_dir == default_state_dir() else f"{command} --state-dir {shlex.quote(str(state_dir))}"


def default_state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the embedded stack keeps everything unless told otherwise."""
    if named := environ.get(STATE_VARIABLE):
        return Path(named).expanduser()
    base = environ.get("XDG_STATE_HOME")
    # The base directory specification: a relative path there is to be ignored.
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".local" / "state"
    return root / "turnkeeper"
