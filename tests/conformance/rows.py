"""The rows of a file of scenarios, and what may stand in one. A word that nobody mapped is an error that names it.

A file is a YAML list of rows `{id, source, area, upstream, given, when, then}` (optional: `note`, `observed_bug`):
`given` is a list of facts, `when` ordered steps (`event`, `command`, `opencode`, or `step: {do: ...}`), `then` what is
asserted and nothing else. `$any`, `$new`, `$in:a,b`, `$contains:x` and `$session.updatedAt` are placeholders.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

OWN_FILE: Final = Path(__file__).with_name("scenarios.yaml")

_NEEDED: Final = frozenset({"id", "source", "area", "upstream", "given", "when", "then"})
_ALLOWED: Final = _NEEDED | {"note", "observed_bug"}
_STEPS: Final = frozenset({"event", "command", "opencode", "step"})


class RowsError(Exception):
    """A file of rows that cannot be run, in words for who wrote it."""


class UnknownWordError(RowsError):
    """A row says something that this suite has no meaning for."""

    def __init__(self, row: str, where: str, word: object) -> None:
        super().__init__(f"row {row}: {where}: {word!r} is not in the vocabulary of tests/conformance")


@dataclass(frozen=True)
class Step:
    """One step of `when`: its kind, its word, and what else it says."""

    kind: str
    word: str
    said: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One scenario."""

    id: str
    area: str
    given: dict[str, Any]
    when: tuple[Step, ...]
    then: dict[str, Any]

    def does(self, *words: str) -> bool:
        """Is one of these steps among its `when`?"""
        return any(step.word in words for step in self.when)


def load_rows(path: Path = OWN_FILE) -> list[Row]:
    """The rows of a file, in its order.

    Raises:
        RowsError: it cannot be read, or a row is not of the shape that this module describes.

    """
    try:
        entries = yaml.safe_load(path.read_text())
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise RowsError(f"{path} cannot be read: {error}") from error
    if not isinstance(entries, list):
        raise RowsError(f"{path} is not a list of rows")
    rows = [_row(number, entry) for number, entry in enumerate(entries, start=1)]
    known: set[str] = set()
    for row in rows:
        if row.id in known:
            raise UnknownWordError(row.id, "id", "a second row of the same id")
        known.add(row.id)
    return rows


def _row(number: int, entry: Any) -> Row:  # noqa: ANN401 - whatever somebody wrote there
    name = str(entry["id"]) if isinstance(entry, dict) and "id" in entry else f"number {number}"
    try:
        return _read(name, entry)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        raise RowsError(f"row {name} is not of the shape that tests/conformance/rows.py describes ({what})") from error


def _read(name: str, entry: dict[str, Any]) -> Row:
    for word in sorted(_NEEDED - entry.keys()):
        raise RowsError(f"row {name} has no {word!r}")
    for word in entry.keys() - _ALLOWED:
        raise UnknownWordError(name, "row", word)
    given: dict[str, Any] = {}
    for fact in entry["given"]:
        given |= fact
    steps = tuple(_step(name, step) for step in entry["when"])
    return Row(name, entry["area"], given, steps, entry["then"])


def _step(row: str, entry: dict[str, Any]) -> Step:
    [(kind, said)] = entry.items()
    if kind not in _STEPS:
        raise UnknownWordError(row, "when", kind)
    word = said["do"] if kind == "step" else said["type"]
    return Step(kind, word, said)
