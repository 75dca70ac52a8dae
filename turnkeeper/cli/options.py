"""The options that several commands share, each with the text of its help."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from turnkeeper.cli.figures import parse_span
from turnkeeper.cli.service import STATE_VARIABLE


def _span(text: str) -> timedelta:
    try:
        return parse_span(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from error


StateDir = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        envvar=STATE_VARIABLE,
        show_envvar=False,
        metavar="DIR",
        help="Where the stack of `turnkeeper dev` keeps everything. Default: ~/.local/state/turnkeeper.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]
Thread = Annotated[str, typer.Argument(metavar="THREAD", help="The thread's name, as `turnkeeper threads` lists it.")]
Deadline = Annotated[
    timedelta | None,
    typer.Option(
        "--deadline",
        parser=_span,
        metavar="TIME",
        help="The hard end of the turn: 90s, 15m, 2h, 1d.",
    ),
]
Scripted = Annotated[
    bool | None,
    typer.Option(
        "--scripted/--own-opencode",
        help="Which model: the scripted one, or your own OpenCode setup. Default: your own if there is one.",
        show_default=False,
    ),
]
