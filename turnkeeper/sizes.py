"""How big a value is as it is sent, and what of it fits. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from pydantic_core import to_json

T = TypeVar("T")

WORST_CHARACTER: Final = 6
"""Bytes of a control character in JSON: `\\u001b`. Every other character has 4 at most."""


def encoded(value: object) -> int:
    """Bytes of a value as it is sent: it is JSON."""
    return len(to_json(value))


def fitting(text: str, limit: int) -> str:
    """The longest beginning, nearly, that has at most `limit` bytes as JSON."""
    while WORST_CHARACTER * len(text) + 2 > limit and (size := encoded(text)) > limit:
        text = text[: len(text) * limit // (size + 1)]
    return text


def newest_within(values: Sequence[T], limit: int) -> tuple[T, ...]:
    """As many of the last as have at most `limit` bytes together."""
    kept: list[T] = []
    for value in reversed(values):
        limit -= encoded(value) + 1
        if limit < 0:
            break
        kept.append(value)
    return tuple(reversed(kept))
