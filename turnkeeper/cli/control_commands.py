"""The commands `interrupt`, `stop`, `close` and `queue` as the shell sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from turnkeeper.cli import controls
from turnkeeper.cli.endings import Exit
from turnkeeper.cli.options import AsJson, StateDir, Thread
from turnkeeper.cli.reporting import errors_as_json
from turnkeeper.cli.service import Connector, default_state_dir

Why = Annotated[str, typer.Option(metavar="TEXT", help="Kept with the turn, for whoever asks later.")]

STOPPED = "Exit code 0: nothing runs any more. 1: the provider did not confirm it in time. 2: nobody could be asked."


def add_commands(app: typer.Typer) -> None:
    """Put them into the program."""
    app.command(short_help="Stop a running turn and wait until it stands.", epilog=STOPPED)(interrupt)
    app.command(short_help="Stop a thread's session, to be resumed by the next prompt.", epilog=STOPPED)(stop)
    app.command(short_help="End a thread and hand back the prompts that wait.", epilog=STOPPED)(close)
    app.command(
        short_help="See and edit the prompts that wait in a thread.",
        epilog="\b\nExamples:\n  turnkeeper queue shop\n"
        "  turnkeeper queue shop --remove t3     prints the prompt: nothing is lost\n"
        "  turnkeeper queue shop --send-now t4   stops the running turn first\n"
        "  turnkeeper queue shop --resume        after a stop",
    )(queue)


def interrupt(
    ctx: typer.Context, thread: Thread, *, why: Why = "", state_dir: StateDir = None, as_json: AsJson = False
) -> int:
    """Stop a thread's running turn, and wait until that is confirmed.

    Prompts that wait stay as they are and are held: see `turnkeeper queue`.
    """
    return _run(
        ctx, state_dir, lambda on, at: controls.interrupt(on, at, thread, why, as_json=as_json), as_json=as_json
    )


def stop(
    ctx: typer.Context, thread: Thread, *, why: Why = "", state_dir: StateDir = None, as_json: AsJson = False
) -> int:
    """Stop a thread's turn and its session. The provider keeps the session, and the next prompt goes on in it.

    A stop that the provider refuses or does not confirm changes nothing: the turn is followed as before.
    """
    return _run(ctx, state_dir, lambda on, at: controls.stop(on, at, thread, why, as_json=as_json), as_json=as_json)


def close(
    ctx: typer.Context, thread: Thread, *, why: Why = "", state_dir: StateDir = None, as_json: AsJson = False
) -> int:
    """Stop a thread's turn, take no more prompts, end the thread, and print the prompts that waited.

    The same name begins a new thread afterwards, with a session of its own.
    """
    return _run(ctx, state_dir, lambda on, at: controls.close(on, at, thread, why, as_json=as_json), as_json=as_json)


def queue(
    ctx: typer.Context,
    thread: Thread,
    *,
    remove: Annotated[str | None, typer.Option(metavar="TURN", help="Take it out and print its prompt.")] = None,
    send_now: Annotated[
        str | None, typer.Option(metavar="TURN", help="Run it at once; the running turn is stopped first.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Let what is held after a stop go on.")] = False,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> int:
    """Show the prompts that wait in a thread, first to run first; or edit them.

    After `interrupt` or `stop` they are held: nothing begins until you say so here, or give the next prompt.
    """
    if sum((remove is not None, send_now is not None, resume)) > 1:
        raise typer.BadParameter("give one of --remove, --send-now and --resume.")

    def asked(connector: Connector, place: Path) -> Coroutine[Any, Any, Exit]:
        if remove is not None:
            return controls.remove(connector, place, thread, remove, as_json=as_json)
        if send_now is not None:
            return controls.send_now(connector, place, thread, send_now, as_json=as_json)
        if resume:
            return controls.resume(connector, place, thread, as_json=as_json)
        return controls.show_queue(connector, place, thread, as_json=as_json)

    return _run(ctx, state_dir, asked, as_json=as_json)


def _run(
    ctx: typer.Context,
    state_dir: Path | None,
    command: Callable[[Connector, Path], Coroutine[Any, Any, Exit]],
    *,
    as_json: bool,
) -> int:
    with errors_as_json(as_json=as_json):
        return asyncio.run(command(ctx.obj, (state_dir or default_state_dir()).expanduser()))
