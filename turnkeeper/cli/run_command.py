"""The command `run` as the shell sees it: its options become an `Order`. What it does with one is in `run`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from turnkeeper.cli.options import Allow, AsJson, Deadline, Deny, RequestTimeout, StateDir, given_directory
from turnkeeper.cli.reporting import errors_as_json
from turnkeeper.cli.run import Order, run
from turnkeeper.cli.service import Connector, default_state_dir
from turnkeeper.vocabulary import OnBusy, OnLost


def command(  # noqa: PLR0913 - each is an option of the command
    ctx: typer.Context,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What the agent shall do; - reads it from stdin.")],
    *,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            parser=given_directory,
            metavar="DIR",
            help="Where the agent works. Default: the thread's own, else here.",
        ),
    ] = None,
    thread: Annotated[
        str | None,
        typer.Option(metavar="THREAD", help="Go on in this thread, or begin it. Default: a new one for each call."),
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="PROVIDER/MODEL", help="Default: the provider's own.")] = None,
    agent: Annotated[str | None, typer.Option(metavar="AGENT", help="The provider's agent, such as build.")] = None,
    endpoint: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which provider server. Default: the only one there is.")
    ] = None,
    deadline: Deadline = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="The same key twice gives the same turn: a retry that cannot run twice."),
    ] = None,
    on_busy: Annotated[
        OnBusy,
        typer.Option(help="While another turn runs: wait in line, go into it, stop it and run next, or be refused."),
    ] = OnBusy.QUEUE,
    into: Annotated[
        str | None,
        typer.Option(metavar="TURN", help="With `--on-busy steer`: into this turn, or be refused; never into another."),
    ] = None,
    on_lost: Annotated[
        OnLost,
        typer.Option(help="When OpenCode loses the run: settle, or continue with a follow-up prompt that says so."),
    ] = OnLost.SETTLE,
    allow: Allow = None,
    deny: Deny = None,
    request_timeout: RequestTimeout = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> int:
    """Run one turn and show what happens until it ends.

    A running turn belongs to Temporal, not to this command. Ctrl-C once stops the turn and waits for the confirmation,
    or takes the prompt back if it still waits; twice at once leaves, and the turn goes on (`turnkeeper follow THREAD`
    comes back to it).
    """
    text = sys.stdin.read() if prompt == "-" else prompt
    rules = (*(deny or ()), *(allow or ())) or None  # the first match wins
    order = Order(
        text, thread, directory, endpoint, model, agent, deadline, key, on_lost, rules, request_timeout, on_busy, into
    )
    connector: Connector = ctx.obj
    where = (state_dir or default_state_dir()).expanduser()
    with errors_as_json(as_json=as_json):
        return asyncio.run(run(connector, where, order, as_json=as_json))
