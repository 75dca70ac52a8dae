"""The biggest that the contract allows fits into one payload of Temporal, sealed."""

from __future__ import annotations

import inspect
import os
from typing import Annotated, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from temporalio.api.common.v1 import Payload

from tests.unit.contract_sizes import UnboundedError, worst
from turnkeeper import commands, findings, messages, observations, place_messages, thread_messages
from turnkeeper.codec import EncryptionCodec
from turnkeeper.encryption_keys import KeyRing
from turnkeeper.limits import MAX_PAYLOAD_BYTES
from turnkeeper.sizes import encoded, fitting
from turnkeeper.vocabulary import Command, Record

TEMPORAL_TAKES: Final = 2 * 1024 * 1024
"""Bytes of one payload (`limit.blobSize.error`)."""

CONTRACT: Final = [
    kind
    for module in (messages, thread_messages, place_messages, observations, commands, findings)
    for _, kind in inspect.getmembers(module, inspect.isclass)
    if issubclass(kind, Record | Command) and kind.__module__ == module.__name__
]


@pytest.mark.parametrize("kind", CONTRACT, ids=lambda kind: kind.__name__)
def test_the_biggest_of_each_type_fits(kind: type[BaseModel]) -> None:
    assert worst(kind) <= MAX_PAYLOAD_BYTES


def test_sealing_adds_little() -> None:
    codec = EncryptionCodec(KeyRing(write="k" * 64, keys={"k" * 64: os.urandom(32)}, accepts_plain=False))
    (sealed,) = codec.seal([Payload(metadata={"encoding": b"json/plain"}, data=b"x" * MAX_PAYLOAD_BYTES)])
    assert sealed.ByteSize() < TEMPORAL_TAKES


@given(st.text(max_size=300), st.integers(2, 400))
def test_what_fits_is_a_beginning_and_not_too_big(text: str, limit: int) -> None:
    kept = fitting(text, limit)
    assert text.startswith(kept)
    assert encoded(kept) <= limit
    assert kept == text or encoded(text) > limit


class WithText(Record):
    words: str


class WithList(Record):
    numbers: tuple[int, ...] = ()


class WithTextDeepInside(Record):
    inside: tuple[Annotated[WithText | None, "of one"], WithList] | None = None


@pytest.mark.parametrize("kind", [WithText, WithList, WithTextDeepInside])
def test_a_field_without_a_limit_is_found(kind: type[BaseModel]) -> None:
    with pytest.raises(UnboundedError, match=r"words|numbers"):
        worst(kind)
