"""Prompts that tell the scripted model what to do, and the clocks that keep a test short."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Final

from pydantic import JsonValue

from turnkeeper.limits import TurnLimits

Step = dict[str, JsonValue]

DONE: Final[Step] = {"kind": "text", "say": "all done"}
STALL: Final[Step] = {"kind": "stall", "after": 3}


def plan(*steps: Step) -> str:
    return f"go <<<{json.dumps(steps)}>>>"


def bash(command: str) -> Step:
    return {"kind": "tool", "name": "bash", "arguments": {"command": command}}


def slow_text(seconds: float) -> Step:
    """Ten tokens a second."""
    return {"kind": "text", "tokens": round(seconds * 10), "interval": 0.1}


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


SHORT: Final = TurnLimits(
    look_interval=seconds(5),
    look_interval_max=seconds(5),
    accept_budget=seconds(10),
    unreachable_timeout=seconds(45),
    stall_timeout=seconds(40),
    tool_stall_timeout=seconds(50),
    deadline=seconds(75),
)
"""A test that goes wrong ends by a clock of the turn, and its reason is in the assertion. The delays that bridge
OpenCode's own races (confirm_delay, stop_quiet, start_budget) stay what they are in production."""


def short(**changed: float) -> TurnLimits:
    """`SHORT` with some clocks changed, in seconds."""
    return TurnLimits.model_validate(SHORT.model_dump() | {name: seconds(value) for name, value in changed.items()})
