"""How big a type of the contract gets at most, from its declared limits; what has none is an error."""

from __future__ import annotations

import types
from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, StringConstraints
from pydantic.fields import FieldInfo

from turnkeeper.sizes import WORST_CHARACTER
from turnkeeper.vocabulary import AtMost, AtMostBytes, EndpointName, ThreadId

PLAIN: Final = {bool: 5, int: 20, float: 25, datetime: 40, timedelta: 40, type(None): 4}
"""Bytes in JSON. Numbers that a provider sums up stay below 64 bits."""

PATTERNS: Final = {
    get_args(name)[1].pattern: length + 2 for name, length in ((ThreadId, 100), (EndpointName, 63))
}  # fmt: skip
"""Bytes of names whose pattern itself is their limit."""


class UnboundedError(Exception):
    """A text or a list without a limit."""


def worst(model: type[BaseModel]) -> int:
    """Bytes of the biggest instance."""
    together: dict[str, int] = {}
    size = 2
    for name, field in model.model_fields.items():
        size += len(name) + 4
        shared = next((m for m in field.metadata if isinstance(m, AtMostBytes) and m.together), None)
        if shared is not None:
            together[shared.together] = shared.limit
            size += 2
        else:
            size += _worst(_annotated(field), f"{model.__name__}.{name}")
    return size + sum(together.values())


def _annotated(field: FieldInfo) -> Any:  # noqa: ANN401 - any type form
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def _worst(form: Any, where: str, marks: tuple[Any, ...] = ()) -> int:  # noqa: ANN401 - any type form
    origin, arguments = get_origin(form), get_args(form)
    if origin is Annotated:
        return _worst(arguments[0], where, (*marks, *arguments[1:]))
    if (in_bytes := next((mark.limit for mark in marks if isinstance(mark, AtMostBytes)), None)) is not None:
        return in_bytes
    if origin in {Union, types.UnionType}:
        return max(_worst(each, where, marks) for each in arguments)
    if origin is Literal:
        return max(len(str(each)) + 2 for each in arguments)
    if origin is tuple:
        return _of_tuple(arguments, where, marks)
    if form is str:
        return _of_text(where, marks)
    if isinstance(form, type) and issubclass(form, StrEnum):
        return max(len(member.value) for member in form) + 2
    if isinstance(form, type) and issubclass(form, BaseModel):
        return worst(form)
    if form in PLAIN:
        return PLAIN[form]
    raise UnboundedError(f"{where}: {form}")


def _of_tuple(arguments: tuple[Any, ...], where: str, marks: tuple[Any, ...]) -> int:
    if arguments[-1] is not Ellipsis:
        return sum(_worst(each, where) + 1 for each in arguments) + 2
    return _limit(marks, where) * (_worst(arguments[0], where) + 1) + 2


def _of_text(where: str, marks: tuple[Any, ...]) -> int:
    for mark in marks:
        if isinstance(mark, StringConstraints) and mark.max_length is None and mark.pattern in PATTERNS:
            return PATTERNS[mark.pattern]
    return WORST_CHARACTER * _limit(marks, where) + 2


def _limit(marks: tuple[Any, ...], where: str) -> int:
    limits = list(_limits(marks))
    if not limits:
        raise UnboundedError(where)
    return min(limits)


def _limits(marks: tuple[Any, ...]) -> Iterator[int]:
    for mark in marks:
        if isinstance(mark, AtMost):
            yield mark.limit
        elif isinstance(mark, FieldInfo):
            yield from _limits(tuple(mark.metadata))
        elif (length := getattr(mark, "max_length", None)) is not None:
            yield length
