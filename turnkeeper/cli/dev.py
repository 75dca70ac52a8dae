"""`turnkeeper dev`: everything for one machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Final

from temporalio.service import RPCError

from turnkeeper.cli.endings import Exit, complain
from turnkeeper.cli.figures import ago
from turnkeeper.cli.presses import Asked, asked_to_end
from turnkeeper.cli.service import EMBEDDED_ENDPOINT, Connector, RunningTurn, find_service, with_state_dir
from turnkeeper.cli.tasks import Tasks
from turnkeeper.cli.worker_process import forget_other_services, worker_hook
from turnkeeper.dev.opencode_setup import UserSetup, find_user_setup
from turnkeeper.dev.stack import EmbeddedStack, StackSettings
from turnkeeper.dev.stack_state import ModelSource, Ports, StackLock, StackState, prepare_state_directory
from turnkeeper.errors import TurnkeeperError
from turnkeeper.search_attributes import ALL

NAMING: Final = 3.0
"""Seconds for the turns that run to be listed: one question to Temporal. A stop does not wait longer for words."""

TURNS_NAMED: Final = 20
"""Turns that are named; more would push the rest off a terminal."""


@dataclass(frozen=True, slots=True)
class StackOrder:
    """What the person asked for. `model_source=None`: their own OpenCode if there is one."""

    state_dir: Path
    workspaces: tuple[Path, ...]
    ports: Ports
    model_source: ModelSource | None = None


async def dev(order: StackOrder) -> Exit:
    """Start, say where everything is, keep it running, and stop it cleanly.

    Raises:
        EmbeddedStackError: a part does not start, or keeps dying.
        TurnkeeperError: a workspace or this installation cannot be used.

    """
    forget_other_services(os.environ)
    model = choose_model(order.model_source, find_user_setup())
    settings = stack_settings(order, model.source)
    prepare_state_directory(settings.state)
    StackLock(settings.state).refuse_if_held()
    stack = EmbeddedStack(settings)
    with asked_to_end() as asked:
        say(f"starting Temporal, OpenCode and a worker; everything is kept in {settings.state}")
        async with Tasks() as tasks:
            running = tasks.start(_keep_running(stack, order, model))
            ending = tasks.start(asked.once.wait())
            await asyncio.wait({running, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                await _stop(stack, running, asked, settings.state)
            with suppress(asyncio.CancelledError):
                await running
    say("stopped; the next start on this directory finds everything again")
    return Exit.OK


async def _stop(stack: EmbeddedStack, running: asyncio.Task[None], asked: Asked, state_dir: Path) -> None:
    """Say what still runs, and stop; a second Ctrl-C skips the words and the servers' own way of ending."""
    async with Tasks() as tasks:
        again = tasks.start(asked.again.wait())
        naming = tasks.start(name_running_turns(find_service, state_dir))
        await asyncio.wait({naming, again}, timeout=NAMING, return_when=asyncio.FIRST_COMPLETED)
        naming.cancel()
        say("stopping; Ctrl-C again ends everything at once")
        running.cancel()
        await asyncio.wait({running, again}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            stack.kill()


async def name_running_turns(connector: Connector, state_dir: Path) -> None:
    """Whom the stop will cut off, and what becomes of them. Silent if nobody can tell: no stop waits for it."""
    with suppress(TurnkeeperError, RPCError):
        service = await connector(state_dir)
        for line in _cut_off(await service.running_turns(), datetime.now(UTC)):
            say(line)


def _cut_off(turns: Sequence[RunningTurn], now: datetime) -> Iterator[str]:
    if not turns:
        return
    yield f"{len(turns)} turn{'s run' if len(turns) != 1 else ' runs'}:"
    for turn in turns[:TURNS_NAMED]:
        yield f"  {turn.thread_id}, since {turn.since:%H:%M:%S} UTC ({ago(turn.since, now)})"
    if len(turns) > TURNS_NAMED:
        yield f"  and {len(turns) - TURNS_NAMED} more"
    yield "At the next start they go on: what OpenCode lost by the stop settles as provider_lost_turn,"
    yield "and prompts that wait begin."


async def _keep_running(stack: EmbeddedStack, order: StackOrder, model: Model) -> None:
    async with stack:
        for line in addresses(stack.state, order, model):
            say(line)
        say(_ready(order))
        await stack.keep_running(complain)


def stack_settings(order: StackOrder, source: ModelSource) -> StackSettings:
    """The order as the embedded stack takes it."""
    state_dir = order.state_dir.resolve()
    return StackSettings(
        state=state_dir,
        model_source=source,
        search_attributes=tuple(key.name for key in ALL),
        worker=worker_hook(state_dir, order.workspaces),
        ports=order.ports,
    )


@dataclass(frozen=True, slots=True)
class Model:
    """Who plays the model, and the words that say so plainly."""

    source: ModelSource
    words: tuple[str, ...]


def choose_model(asked: ModelSource | None, setup: UserSetup) -> Model:
    """The person's own OpenCode setup if there is one, unless they said which."""
    if asked == "scripted" or (asked is None and not setup.usable):
        why = "you asked for it" if asked else "no OpenCode login, configuration or API key was found"
        understands = (
            'it follows "write hello.txt: some text", "bash: ls" and "count to 50", and understands nothing else'
        )
        return Model("scripted", (f"the scripted model, which is no real one ({why}):", understands))
    found = "; ".join(setup.found) or "none was found, so turns may fail"
    return Model("user", (f"your own OpenCode setup ({found})",))


def addresses(state: StackState, order: StackOrder, model: Model) -> Iterator[str]:
    """Where everything is. The password stays in the state file, which only its owner can read."""
    workspaces = ", ".join(str(workspace.expanduser().resolve()) for workspace in order.workspaces)
    yield ""
    yield f"  Temporal UI   {state.temporal_ui or 'none'}"
    yield f"  Temporal      {state.temporal_address}, namespace {state.namespace}"
    yield f"  OpenCode      {state.opencode_url}, version {state.opencode_version}"
    for title, words in zip_longest(("Model",), model.words, fillvalue=""):
        yield f"  {title:<12}  {words}"
    yield f"  Endpoint      {EMBEDDED_ENDPOINT}, works in {workspaces}"
    yield f"  Logs          {state.logs}"
    yield ""


def _ready(order: StackOrder) -> str:
    run = with_state_dir("turnkeeper run", order.state_dir)
    return f'ready: in another terminal, {run} "your prompt"; Ctrl-C here stops everything'


def say(line: str) -> None:
    """One line on stdout, at once: a supervisor may be reading for `ready`. A terminal that is gone stops nothing."""
    with suppress(OSError, ValueError):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
