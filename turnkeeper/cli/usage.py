"""A command line that says nothing: what was probably meant, and where it is explained."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import typer

QUOTES = 'Put quotes around the prompt: turnkeeper run "write hello.txt: hello".'


def message(error: typer.TyperException) -> str:
    """What is wrong, and the option that was probably meant. Typer does commands itself."""
    text = error.format_message()
    near: Sequence[str] = getattr(error, "possibilities", None) or ()
    if near:
        wrong: str = getattr(error, "option_name", "")
        best = difflib.get_close_matches(wrong, near, n=1, cutoff=0.0)
        text = f"No such option: {wrong}. Did you mean {best[0]}?"
    text = text if text.endswith((".", "?")) else f"{text}."
    return f"{text} {QUOTES}" if "unexpected extra argument" in text and _command(error) == "run" else text


def help_line(error: typer.TyperException) -> str:
    """The arguments that explain the command whose line is wrong."""
    return f"{_command(error)} --help".lstrip()


def _command(error: typer.TyperException) -> str:
    """Empty when it is none of ours."""
    context = getattr(error, "ctx", None)
    return context.info_name or "" if context is not None and context.parent is not None else ""
