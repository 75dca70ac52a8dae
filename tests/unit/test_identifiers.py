"""Our identifiers against OpenCode's own, as recorded."""

# ruff: noqa: S311 - ids have to be distinct, not secret

from __future__ import annotations

import re
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.recordings import load, v1_cases
from turnkeeper.opencode.identifiers import message_id, part_id

TIME_MASK = (1 << 48) - 1
MILLISECONDS = st.integers(min_value=0, max_value=4_102_444_800_000)  # to the year 2100
FORM = r"_[0-9a-f]{12}[0-9A-Za-z]{14}"


def milliseconds_in(identifier: str) -> int:
    return int(identifier[4:16], 16) >> 12


@given(MILLISECONDS, st.integers())
def test_form_and_time(milliseconds: int, seed: int) -> None:
    message = message_id(milliseconds, Random(seed))
    assert re.fullmatch("msg" + FORM, message)
    assert milliseconds_in(message) == milliseconds & (TIME_MASK >> 12)


@given(MILLISECONDS, st.integers())
def test_the_same_chance_gives_the_same_id(milliseconds: int, seed: int) -> None:
    # A workflow's random source is replayed: the minted id must be, too.
    assert message_id(milliseconds, Random(seed)) == message_id(milliseconds, Random(seed))


def test_the_form_is_that_of_recorded_messages() -> None:
    for case in v1_cases():
        for message in load(case).final.messages:
            if message.info.role == "assistant" and message.info.id.startswith("msg_"):
                # OpenCode mints the id some milliseconds before it stores the time beside it.
                minted = message_id(int(message.info.time.created), Random())
                assert 0 <= milliseconds_in(minted) - milliseconds_in(message.info.id) < 100


def test_later_messages_sort_later() -> None:
    rng = Random(1)
    times = [1_795_333_296_613 + second * 1000 for second in range(50)]
    messages = [message_id(at, rng) for at in times]
    assert messages == sorted(messages)


def test_a_thousand_ids_of_one_millisecond_are_distinct() -> None:
    rng = Random(1)
    assert len({message_id(1_795_333_296_613, rng) for _ in range(1000)}) == 1000


def test_a_part_belongs_to_its_message_alone() -> None:
    first, second = message_id(1, Random(1)), message_id(1, Random(2))
    assert re.fullmatch("prt" + FORM, part_id(first))
    assert part_id(first) == part_id(first)
    assert part_id(first) != part_id(second)
    assert part_id(first)[4:16] == first[4:16]
