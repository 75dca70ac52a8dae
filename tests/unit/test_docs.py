"""The pages that are written from the code say what the code says."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import pytest

from turnkeeper.limits import TurnLimits
from turnkeeper.outcomes import SETTLEMENTS
from turnkeeper.vocabulary import EventKind, Reason, Standing

DOCS: Final = Path(__file__).parents[2] / "docs"
GENERATE: Final[dict[str, Any]] = runpy.run_path(str(DOCS / "generate.py"))


def test_the_pages_are_not_stale(capsys: pytest.CaptureFixture[str]) -> None:
    main: Callable[[list[str]], int] = GENERATE["main"]
    assert main(["--check"]) == 0, capsys.readouterr().err


def test_a_stale_or_missing_page_is_named(tmp_path: Path) -> None:
    stale: Callable[[Path], list[str]] = GENERATE["stale"]
    assert stale(tmp_path) == ["states.md", "settings.md"]
    for page in ("states.md", "settings.md"):
        (tmp_path / page).write_text((DOCS / page).read_text())
    assert stale(tmp_path) == []
    (tmp_path / "settings.md").write_text((DOCS / "settings.md").read_text().replace("300 s", "30 s"))
    assert stale(tmp_path) == ["settings.md"]


def test_a_wrong_call_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert GENERATE["main"](["--chekc"]) == 2
    assert "--check" in capsys.readouterr().err


@pytest.mark.parametrize("enum", [Reason, Standing, EventKind])
def test_every_word_is_explained_once_in_a_table(enum: type[StrEnum]) -> None:
    page = (DOCS / "states.md").read_text()
    for member in enum:
        assert f"| `{member}` |" in page


def test_every_reason_has_a_settlement_and_a_meaning() -> None:
    assert set(SETTLEMENTS) == set(Reason)
    assert all(GENERATE["meanings"](Reason).values())


def test_every_limit_is_listed_with_its_reason() -> None:
    page = (DOCS / "settings.md").read_text()
    for name, field in TurnLimits.model_fields.items():
        assert f"| `{name}` | " in page
        assert field.description
        assert field.description in page
