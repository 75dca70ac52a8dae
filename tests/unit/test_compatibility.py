"""What is promised of other people's versions is what CI tests; what else was tried is written down."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from tests.compatibility.versions import OLDER_TEMPORALIO, OTHER_OPENCODE
from turnkeeper.dev.opencode_binary import PINNED

ROOT = Path(__file__).resolve().parents[2]


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def test_the_lower_bound_of_temporalio_is_what_ci_tests() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    [bound] = [one for one in wanted if one.startswith("temporalio")]
    pinned = re.search(r"^temporalio==([\d.]+) ", (ROOT / "requirements-dev.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert numbers(pinned.group(1))[:2] == numbers(bound.removeprefix("temporalio>=").removesuffix(",<2"))
    assert f"temporalio=={OLDER_TEMPORALIO} " in (ROOT / "requirements-older.txt").read_text()


def test_the_pinned_opencode_is_the_one_that_ci_runs() -> None:
    package = json.loads((ROOT / "package.json").read_text())
    assert package["dependencies"]["opencode-ai"] == PINNED
    assert all(numbers(version) < numbers(PINNED) for version in OTHER_OPENCODE)


def test_every_tested_version_is_in_the_table() -> None:
    page = (ROOT / "docs" / "compatibility.md").read_text()
    assert [version for version in (OLDER_TEMPORALIO, PINNED, *OTHER_OPENCODE) if f"| {version} |" not in page] == []
