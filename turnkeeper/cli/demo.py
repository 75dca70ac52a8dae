"""`turnkeeper demo`: the main job once, from nothing to a settled turn that wrote a file. `make run` is this."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from turnkeeper.cli.dev import StackOrder, addresses, choose_model, say, stack_settings
from turnkeeper.cli.endings import Exit, complain
from turnkeeper.cli.figures import printable
from turnkeeper.cli.presses import Presses, ctrl_c
from turnkeeper.cli.run import Order, run_with
from turnkeeper.cli.service import find_service
from turnkeeper.cli.worker_process import forget_other_services
from turnkeeper.dev.opencode_setup import find_user_setup
from turnkeeper.dev.stack import EmbeddedStack
from turnkeeper.dev.stack_state import ModelSource, Ports, prepare_state_directory

FILE: Final = "hello.txt"
PROMPT: Final = f"write {FILE}: Every turn ends, and says why."
"""Understood by the scripted model word for word, and by any real one."""

FILE_SHOWN: Final = 2000
"""Characters of the file that are shown: a real model may have written more than it was asked."""


async def demo(state_dir: Path, model_source: ModelSource | None, *, as_json: bool) -> Exit:
    """Start the stack, run one turn in a scratch workspace, show what it wrote, stop the stack.

    Raises:
        EmbeddedStackError: a part does not start.
        TurnkeeperError: the turn was not started.

    """
    forget_other_services(os.environ)
    workspace = state_dir / "workspace"
    prepare_state_directory(state_dir)
    workspace.mkdir(exist_ok=True)
    written = workspace / FILE
    written.unlink(missing_ok=True)  # of an earlier demo: what is shown below is of this turn
    model = choose_model(model_source, find_user_setup())
    order = StackOrder(state_dir, (workspace,), Ports(), model.source)
    stack = EmbeddedStack(stack_settings(order, model.source))
    with ctrl_c() as presses:
        _tell("starting Temporal, OpenCode and a worker", as_json=as_json)
        if not await _started(stack, presses):
            complain("left before anything was started.")
            return Exit.NOT_FOLLOWED
        try:
            for line in addresses(stack.state, order, model):
                _tell(line, as_json=as_json)
            turn = Order(PROMPT, directory=workspace)
            _tell(f"$ turnkeeper run --dir {workspace} {PROMPT!r}\n", as_json=as_json)
            code = await run_with(presses, find_service, state_dir, turn, as_json=as_json)
        finally:
            await stack.stop()
    if code is Exit.OK and not written.is_file():
        complain(f"the turn completed, and {written} is not there.")
        return Exit.ENDED_OTHERWISE
    if written.is_file():
        _tell(f"\n$ cat {written}\n{printable(written.read_text(errors='replace'))[:FILE_SHOWN]}", as_json=as_json)
    _tell(f"The stack is stopped. The link works again after: turnkeeper dev --state-dir {state_dir}", as_json=as_json)
    return code


async def _started(stack: EmbeddedStack, presses: Presses) -> bool:
    """False when Ctrl-C came first; nothing runs then."""
    starting = asyncio.create_task(stack.start())
    press = asyncio.create_task(presses.get())
    await asyncio.wait({starting, press}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        with suppress(asyncio.CancelledError):
            await starting
        return False
    press.cancel()
    starting.result()
    return True


def _tell(line: str, *, as_json: bool) -> None:
    """For people: a program that reads `--json` gets the turn's objects alone."""
    if not as_json:
        say(line)
