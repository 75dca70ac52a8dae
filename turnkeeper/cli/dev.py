"""`turnkeeper dev`: everything for one machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from turnkeeper.cli.endings import Exit, complain
from turnkeeper.cli.presses import asked_to_end
from turnkeeper.cli.service import EMBEDDED_ENDPOINT, with_state_dir
from turnkeeper.cli.worker_process import forget_other_services, worker_hook
from turnkeeper.dev.opencode_setup import UserSetup, find_user_setup
from turnkeeper.dev.stack import EmbeddedStack, StackSettings
from turnkeeper.dev.stack_state import ModelSource, Ports, StackLock, StackState, prepare_state_directory
from turnkeeper.search_attributes import ALL


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
    with asked_to_end() as asked:
        say(f"starting Temporal, OpenCode and a worker; everything is kept in {settings.state}")
        running = asyncio.create_task(_keep_running(settings, order, model))
        ending = asyncio.create_task(asked.wait())
        await asyncio.wait({running, ending}, return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if not running.done():
            say("stopping")
            running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    say("stopped; the next start on this directory finds everything again")
    return Exit.OK


async def _keep_running(settings: StackSettings, order: StackOrder, model: Model) -> None:
    async with EmbeddedStack(settings) as stack:
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
    """One line on stdout, at once: a supervisor may be reading for `ready`."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
