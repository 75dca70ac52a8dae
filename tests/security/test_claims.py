"""SECURITY.md claims nothing that no test tries: every word in brackets is explained, every named test is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parents[1]
PAGE: Final = (TESTS.parent / "SECURITY.md").read_text()
TABLE: Final = PAGE.partition("## What is tried")[2]
NAMED: Final = sorted(set(re.findall(r"`([\w/]+\.py(?:::\w+)?)`", TABLE)))


@pytest.mark.parametrize("name", NAMED)
def test_a_test_that_is_named_exists(name: str) -> None:
    file, _, function = name.partition("::")
    tree = ast.parse((TESTS / file).read_text())
    found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert function in found if function else any(one.startswith("test_") for one in found)


def test_every_claim_leads_to_a_row_and_every_row_to_a_claim() -> None:
    rows = set(re.findall(r"^\| ([a-z-]+) \|", TABLE, re.MULTILINE)) - {"word", "---"}
    brackets = re.findall(r"\[([a-z-]+(?:, [a-z-]+)*)\](?!\()", PAGE.partition("## What is tried")[0])
    claims = {word for bracket in brackets for word in bracket.split(", ")}
    assert claims <= rows
    assert rows - claims == {"shell"}, "what ships is about us, not about somebody in the table of who can do what"
