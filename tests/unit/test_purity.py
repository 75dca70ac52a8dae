"""The rules know neither Temporal nor network nor clock, and the package knows nothing of the workflows on top."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import turnkeeper

PACKAGE: Final = Path(turnkeeper.__file__).parent

PURE: Final = frozenset(
    {
        "adoption",
        "commands",
        "continuation",
        "delivery",
        "errors",
        "findings",
        "gaps",
        "lifecycle",
        "keys",
        "limits",
        "messages",
        "observations",
        "outcomes",
        "overload",
        "own_place",
        "permissions",
        "place_messages",
        "places",
        "queueing",
        "readings",
        "refusals",
        "reconciliation",
        "replies",
        "requests",
        "resting",
        "sizes",
        "steering",
        "stopping",
        "thread_messages",
        "threads",
        "turn",
        "vocabulary",
    }
)
"""Modules of the core. What they import of `turnkeeper` has to be among them, which makes the rule transitive."""

HARMLESS: Final = frozenset(
    {
        "__future__",
        "collections",
        "dataclasses",
        "datetime",
        "enum",
        "hashlib",
        "pydantic",
        "pydantic_core",
        "typing",
        *PURE,
    }
)
"""Everything that the core may import. A list of what is allowed cannot forget a way out, as one of evils would."""

TOO_POWERFUL: Final = frozenset({"open", "print", "input", "exec", "eval", "__import__", "breakpoint"})
CLOCKS: Final = frozenset({"now", "utcnow", "today", "time", "monotonic"})
APPLICATION: Final = frozenset({"workflows", "activities", "worker"})


def imported(source: str) -> Iterator[str]:
    """The modules that `source` imports, in functions and under `if` too; ours without their package."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found = [name.name for name in names]
            case ast.ImportFrom(module="turnkeeper", names=names) | ast.ImportFrom(module=None, names=names):
                found = [f"turnkeeper.{name.name}" for name in names]
            case ast.ImportFrom(module=str(module), level=level):
                found = [f"turnkeeper.{module}" if level else module]
            case _:
                found = []
        yield from (name.removeprefix("turnkeeper.") for name in found)


def impurities(source: str) -> list[str]:
    """What keeps `source` from being a part of the core."""
    foreign = [name for name in imported(source) if name.partition(".")[0] not in HARMLESS]
    called = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    powerful = [call.id for call in called if isinstance(call, ast.Name) and call.id in TOO_POWERFUL]
    clocks = [call.attr for call in called if isinstance(call, ast.Attribute) and call.attr in CLOCKS]
    return sorted(foreign + powerful + clocks)


def reaches_up(source: str) -> list[str]:
    """Imports of what is built on top of the package."""
    return sorted(name for name in imported(source) if name.partition(".")[0] in APPLICATION)


@pytest.mark.parametrize("module", sorted(PURE))
def test_the_core_is_pure(module: str) -> None:
    assert impurities((PACKAGE / f"{module}.py").read_text()) == []


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_package_does_not_know_the_application(path: Path) -> None:
    assert reaches_up(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import temporalio.workflow", "temporalio.workflow"),
        ("from temporalio import workflow", "temporalio"),
        ("import httpx as h", "httpx"),
        ("import opencode_ai, httpx_sse", "opencode_ai"),
        ("from turnkeeper.opencode.wire import Message", "opencode.wire"),
        ("from turnkeeper import settings", "settings"),
        ("from . import settings", "settings"),
        ("from .opencode import wire", "opencode"),
        ("def f():\n    import asyncio", "asyncio"),
        ("if TYPE_CHECKING:\n    from pathlib import Path", "pathlib"),
        ("import importlib", "importlib"),
        ("__import__('socket')", "__import__"),
        ("open('state.json')", "open"),
        ("datetime.now(UTC)", "now"),
        ("time.monotonic()", "monotonic"),
    ],
)
def test_the_guard_of_the_core_can_fail(source: str, found: str) -> None:
    assert found in impurities(source)


@pytest.mark.parametrize(
    "source",
    [
        "import workflows",
        "from workflows.turn import TurnWorkflow",
        "def f():\n    import activities.look",
        "import worker",
    ],
)
def test_the_guard_of_the_package_can_fail(source: str) -> None:
    assert reaches_up(source) != []


@pytest.mark.parametrize(
    "source",
    [
        "from datetime import datetime",
        "from turnkeeper.limits import TurnLimits",
        "from . import turn",
        "turn.limits()",
    ],
)
def test_the_guard_of_the_core_lets_the_core_pass(source: str) -> None:
    assert impurities(source) == []
