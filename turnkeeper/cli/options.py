"""The options that several commands share, each with the text of its help."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from turnkeeper.cli.figures import parse_span
from turnkeeper.cli.service import STATE_VARIABLE
from turnkeeper.messages import PermissionRule
from turnkeeper.vocabulary import PolicyAction


def given_directory(text: str) -> Path:
    """A directory that was named; a script's empty variable does not mean "here"."""
    if not text.strip():
        raise typer.BadParameter("it is empty; write a directory, or . for this one.")
    return Path(text)


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


def _rule(action: PolicyAction) -> Callable[[str], PermissionRule]:
    def parse(text: str) -> PermissionRule:
        permission, _, target = text.partition(":")
        try:
            return PermissionRule(permission=permission, target=target or "*", action=action)
        except ValidationError as error:
            raise typer.BadParameter(f"{text!r}: write PERMISSION or PERMISSION:TARGET, such as bash:git *.") from error

    return parse


Allow = Annotated[
    list[PermissionRule] | None,
    typer.Option(
        "--allow",
        parser=_rule(PolicyAction.ALLOW),
        metavar="PATTERN",
        help='Allow it without asking, as "bash" or "bash:git *". Repeat for more. Stays with the thread.',
    ),
]
Deny = Annotated[
    list[PermissionRule] | None,
    typer.Option(
        "--deny",
        parser=_rule(PolicyAction.DENY),
        metavar="PATTERN",
        help="Deny it without asking, before every --allow; the agent goes on without it.",
    ),
]
RequestTimeout = Annotated[
    timedelta | None,
    typer.Option(
        "--request-timeout",
        parser=_span,
        metavar="TIME",
        help="Reject what nobody answers for so long. Default: wait for a person until the deadline.",
    ),
]
