"""The commands as the shell sees them: names, options, help; and what becomes of an error."""

from __future__ import annotations

import asyncio
import importlib.metadata
import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from temporalio.runtime import Runtime, TelemetryConfig

from turnkeeper.cli import adopt as adopting
from turnkeeper.cli import answer as answers
from turnkeeper.cli import codec_server as codecs
from turnkeeper.cli import demo as demos
from turnkeeper.cli import dev as stacks
from turnkeeper.cli import doctor as doctors
from turnkeeper.cli import reconcile as reconciling
from turnkeeper.cli import run_command as running
from turnkeeper.cli import threads as listings
from turnkeeper.cli import usage
from turnkeeper.cli import versions as building
from turnkeeper.cli.control_commands import add_commands
from turnkeeper.cli.endings import DEBUG_VARIABLE, Exit, complain, leave
from turnkeeper.cli.json_lines import usage_entry, write_entry
from turnkeeper.cli.options import (
    AsJson,
    Scripted,
    StateDir,
    Thread,
    given_directory,
)
from turnkeeper.cli.reporting import errors_as_json
from turnkeeper.cli.service import Connector, default_state_dir, find_service
from turnkeeper.dev.errors import EmbeddedStackError
from turnkeeper.dev.stack_state import ModelSource, Ports
from turnkeeper.errors import TurnkeeperError

PROGRAM: Final = "turnkeeper"

CTRL_C: Final = 130
"""What Typer makes of a KeyboardInterrupt: 128 + SIGINT, as shells do."""

ENDING: Final = """\b
Exit codes:
  0  the turn completed; or the command did what it was asked
  1  the turn ended otherwise (interrupted, taken back, error); or doctor found something
  2  not started, or not followed to its end (bad input, no service, left with Ctrl-C)

\b
Environment:
  TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_PROFILE, TEMPORAL_API_KEY, ...
                        your own Temporal; without them, the stack of `turnkeeper dev`
  TURNKEEPER_STATE_DIR  where that stack keeps everything
  TURNKEEPER_UI_URL     base address of your Temporal UI, for links
  TURNKEEPER_DEBUG=1    tracebacks instead of one line
"""

app = typer.Typer(
    name=PROGRAM,
    help="Durable coding-agent turns, on Temporal and OpenCode. Every turn ends, and says why.\n\n\b\n"
    'Begin with:\n  turnkeeper dev                 in one terminal: starts everything\n  turnkeeper run "your'
    ' prompt"   in another: runs one turn and shows it',
    epilog=ENDING,
    add_completion=False,
    pretty_exceptions_enable=False,  # one line, or a plain traceback when asked for
    rich_markup_mode=None,  # plain text: the same on a terminal, in a pipe and in the README
)


def execute(arguments: Sequence[str], connector: Connector = find_service) -> int:
    """Run one command line; gives the exit code and raises nothing."""
    command = typer.main.get_command(app)
    line = list(arguments) or ["--help"]
    try:
        code = command.main(line, prog_name=PROGRAM, standalone_mode=False, obj=connector)
        sys.stdout.flush()
    except typer.TyperException as error:
        if "--json" in line:
            write_entry(sys.stdout, usage_entry(usage.message(error)))
        complain(f"{usage.message(error)} See: {PROGRAM} {usage.help_line(error)}")
        return Exit.NOT_FOLLOWED
    except (TurnkeeperError, EmbeddedStackError) as error:
        _debug()
        complain(str(error))
        return Exit.NOT_FOLLOWED
    except (KeyboardInterrupt, typer.Abort):
        code = CTRL_C
    except (BrokenPipeError, SystemExit):
        # Nobody reads any more (`turnkeeper threads | head`): Typer turns that into a SystemExit of its own.
        return Exit.NOT_FOLLOWED
    except Exception as error:  # noqa: BLE001 - the last line of defence: a person sees one line, never a traceback
        _debug()
        complain(f"{type(error).__name__}: {error} This is a fault of Turnkeeper; {DEBUG_VARIABLE}=1 shows where.")
        return Exit.NOT_FOLLOWED
    if code == CTRL_C:
        complain("left with Ctrl-C.")
        return Exit.NOT_FOLLOWED
    return int(code or Exit.OK) if arguments else Exit.NOT_FOLLOWED


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal without UTF-8 shows an answer with marks, rather than the turn with a crash.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Temporal's core would write its warnings to stdout, between the lines of the answer.
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=None)))
    leave(execute(sys.argv[1:]))


def _debug() -> None:
    if os.environ.get(DEBUG_VARIABLE) == "1":
        traceback.print_exc()


def _version(value: bool) -> None:  # noqa: FBT001 - typer's callback signature
    if value:
        typer.echo(f"{PROGRAM} {importlib.metadata.version(PROGRAM)}")
        raise typer.Exit


def _state(given: Path | None) -> Path:
    return (given or default_state_dir()).expanduser()


@app.callback()
def _every_command(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command(
    "run",
    short_help="Run one turn and show it until it ends.",
    epilog='\b\nExamples:\n  turnkeeper run "Fix the failing test"\n  turnkeeper run --dir ~/shop --thread shop "Now'
    ' write the changelog"\n  turnkeeper run --deadline 15m --json - < prompt.txt\n\n' + ENDING,
)(running.command)


@app.command(short_help="Follow a turn to its end, or see how it ended.", epilog=ENDING)
def follow(ctx: typer.Context, thread: Thread, *, state_dir: StateDir = None, as_json: AsJson = False) -> int:
    """Follow a thread's turn to its end, or say how the latest one ended.

    Ctrl-C leaves and the turn goes on: who looks on stops nothing. See `turnkeeper interrupt`.
    """
    with errors_as_json(as_json=as_json):
        return asyncio.run(listings.follow(_connector(ctx), _state(state_dir), thread, as_json=as_json))


@app.command(short_help="List the latest threads.")
def threads(
    ctx: typer.Context,
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> int:
    """List the latest threads: what runs, how the last turn ended."""
    with errors_as_json(as_json=as_json):
        return asyncio.run(listings.list_threads(_connector(ctx), _state(state_dir), limit, as_json=as_json))


@app.command(short_help="Show one thread and its latest turns.")
def show(ctx: typer.Context, thread: Thread, *, state_dir: StateDir = None, as_json: AsJson = False) -> int:
    """Show one thread: where it works, what runs, what waits, its latest turns."""
    with errors_as_json(as_json=as_json):
        return asyncio.run(listings.show(_connector(ctx), _state(state_dir), thread, as_json=as_json))


app.command("answer", short_help="Answer what a turn asks.")(answers.command)
add_commands(app)


@app.command(short_help="Look again: is everything as Turnkeeper thinks?")
def reconcile(
    ctx: typer.Context,
    thread: Annotated[str | None, typer.Argument(metavar="[THREAD]", help="One thread.")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Every open thread.")] = False,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> int:
    """Ask the provider now, and print what was found and what changed.

    Nothing has to be reconciled by hand: turns look by themselves. This is for people who do not want to wait. What
    the provider does not confirm changes nothing. Exit code 0: all was checked. 1: something could not be checked.
    """
    with errors_as_json(as_json=as_json):
        return asyncio.run(
            reconciling.reconcile(_connector(ctx), _state(state_dir), thread, every=every, as_json=as_json)
        )


@app.command(short_help="Take over a session that was begun in OpenCode itself.")
def adopt(
    ctx: typer.Context,
    session: Annotated[str, typer.Argument(metavar="SESSION", help="Its id, as OpenCode lists it: ses_...")],
    *,
    thread: Annotated[
        str | None, typer.Option(metavar="THREAD", help="The new thread's name. Default: the session's id.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which provider server. Default: the only one there is.")
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--directory",
            "--dir",
            parser=given_directory,
            metavar="DIR",
            help="Refuse a session that works anywhere else.",
        ),
    ] = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> int:
    """Make a session that somebody began in OpenCode's own UI or CLI a thread.

    A run that is live becomes a turn, followed to its outcome; nothing is sent. Otherwise the thread is ready for the
    next prompt. Adopting twice is adopting once.
    """
    claim = adopting.Claim(session, thread, endpoint, directory)
    with errors_as_json(as_json=as_json):
        return asyncio.run(adopting.adopt(_connector(ctx), _state(state_dir), claim, as_json=as_json))


@app.command(short_help="Check everything that a turn needs.")
def doctor(ctx: typer.Context, *, state_dir: StateDir = None, as_json: AsJson = False) -> int:
    """Check Temporal, its namespace and search attributes, the workers and the endpoints.

    Each line says ok, or what to do. Exit code 0 when all is ok, else 1.
    """
    return asyncio.run(doctors.doctor(_connector(ctx), _state(state_dir), as_json=as_json))


@app.command(short_help="See which builds of the worker are up; make one current.")
def versions(
    ctx: typer.Context,
    *,
    promote: Annotated[
        str | None, typer.Option(metavar="BUILD", help="What begins from now on begins on this build.")
    ] = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> int:
    """List the builds of versioned workers: how many workers and running turns each has, which one is current.

    A running turn ends on the build that it began with, so workers of an old build may go when it has none left.
    Exit code 1 when what begins now finds no worker. See docs/versions.md.
    """
    with errors_as_json(as_json=as_json):
        return asyncio.run(building.versions(_connector(ctx), _state(state_dir), promote, as_json=as_json))


@app.command(
    short_help="Start everything for one machine.",
    epilog="\b\nExamples:\n  turnkeeper dev\n  turnkeeper dev --workspace ~/shop --workspace ~/site --ui-port 8233",
)
def dev(
    *,
    workspace: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Where turns may work (and below). Repeat for more. Default: here."),
    ] = None,
    scripted: Scripted = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of Temporal. 0: the last one if free, else any.")] = 0,
    ui_port: Annotated[int, typer.Option(min=0, max=65535, help="Of the Temporal UI. 0 as above.")] = 0,
    state_dir: StateDir = None,
) -> int:
    """Start everything for one machine: Temporal, OpenCode and a worker, until Ctrl-C.

    Threads survive: the next start on the same state directory finds them. For development; it listens on loopback
    only and asks nobody for a password but OpenCode.
    """
    order = stacks.StackOrder(
        _state(state_dir),
        tuple(workspace or [Path.cwd()]),
        Ports(temporal=port, temporal_ui=ui_port),
        _model_source(scripted),
    )
    return asyncio.run(stacks.dev(order))


@app.command("codec-server", short_help="Decrypt payloads for the Temporal UI and CLI.")
def codec_server() -> int:
    """Serve /decode and /encode to people who may read what is encrypted, until Ctrl-C.

    Needs the keys (TURNKEEPER_ENCRYPTION_KEYS_FILE), a token (TURNKEEPER_CODEC_SERVER_TOKEN_FILE) and the address of
    the Temporal UI (TURNKEEPER_CODEC_SERVER_UI_ORIGIN); see docs/encryption.md.
    """
    return asyncio.run(codecs.codec_server())


@app.command(short_help="Start all, run one turn, show it, stop all.")
def demo(
    *,
    scripted: Scripted = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> int:
    """Start everything, run one turn that writes a file in a scratch workspace, show it, stop everything."""
    with errors_as_json(as_json=as_json):
        return asyncio.run(demos.demo(_state(state_dir), _model_source(scripted), as_json=as_json))


def _model_source(scripted: bool | None) -> ModelSource | None:  # noqa: FBT001 - an option's three values
    if scripted is None:
        return None
    return "scripted" if scripted else "user"


def _connector(ctx: typer.Context) -> Connector:
    connector: Connector = ctx.obj
    return connector
