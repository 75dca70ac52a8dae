"""The adapter knows OpenCode and our contract, and nothing of Temporal or of the application around it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import turnkeeper.opencode

FILES = sorted(Path(turnkeeper.opencode.__file__).parent.glob("*.py"))
PURE = {
    "asked",
    "assess",
    "evidence",
    "failures",
    "family",
    "frames",
    "heads",
    "identifiers",
    "marks",
    "translate",
    "wire",
    "wording",
}
FORBIDDEN = {"temporalio", "workflows", "activities"}
INPUT_AND_OUTPUT = {"httpx", "httpx_sse", "opencode_ai", "asyncio", "socket", "time"}


def imported(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module)
    return names


def roots(file: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(file)}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_nothing_here_knows_temporal_or_the_application(file: Path) -> None:
    assert not roots(file) & FORBIDDEN


@pytest.mark.parametrize("name", sorted(PURE))
def test_what_is_called_pure_does_no_input_or_output(name: str) -> None:
    file = next(file for file in FILES if file.stem == name)
    assert not roots(file) & INPUT_AND_OUTPUT
    siblings = {module.rpartition(".")[2] for module in imported(file) if module.startswith("turnkeeper.opencode.")}
    assert siblings <= PURE
