"""A turn that lasts: commands one after another, each at its time, each with output like a file of source code.

The plan is in a script of the model's and not in the prompt, which every read of the message list would bring again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from bench.servers import CHECKOUT

OUTPUT_BYTES: Final = 2000
"""Output of one command: a short file or the end of a test run."""

PROMPT: Final = "bench: watch this long turn"
"""What the script knows the turn by."""

STEP: Final = """#!/bin/sh
# Prints the piece of the text with this number, not before its time.
[ -f began ] || date +%s%3N > began
left=$(( $(cat began) + $1 * {interval_ms} - $(date +%s%3N) ))
[ "$left" -gt 0 ] && sleep "$((left / 1000)).$(printf %03d $((left % 1000)))"
tail -c +$(( $1 * {size} + 1 )) text | head -c {size}
"""
"""Steps have times of their own, counted from the first: what OpenCode needs for one is not added to the turn."""


def write_script(file: Path, messages: int) -> None:
    """The model's part."""
    file.write_text(json.dumps([{"match": PROMPT, "steps": plan_of(messages)}]))


def plan_of(messages: int) -> list[dict[str, Any]]:
    """The steps of a turn with so many messages: the prompt, commands, and an answer."""
    commands = [
        {"kind": "tool", "name": "bash", "arguments": {"command": f"sh step {number}", "description": "read on"}}
        for number in range(messages - 2)
    ]
    return [*commands, {"kind": "text", "say": "all read"}]


def write_workspace(directory: Path, minutes: float, messages: int) -> None:
    """What the commands print: this project's own source, so that it compresses as source does."""
    steps = messages - 2
    (directory / "step").write_text(STEP.format(interval_ms=round(minutes * 60_000 / steps), size=OUTPUT_BYTES))
    sources = [file.read_text() for file in sorted((CHECKOUT / "turnkeeper").rglob("*.py"))]
    text = "".join(sources)
    (directory / "text").write_text(text * (1 + steps * OUTPUT_BYTES // len(text)))
