"""Which events a turn is told, and when."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.coalescing import MAX_WAITING, PROGRESS_LAST, TOKENS_FIRST, TOOLS_FIRST, Heard, Mailbox
from turnkeeper.limits import MAX_BATCH
from turnkeeper.observations import ProviderEvent
from turnkeeper.vocabulary import EventKind

URGENT = [kind for kind in EventKind if kind not in {EventKind.PROGRESS, EventKind.TOOL, EventKind.BUSY}]


def event(kind: EventKind, number: int = 0) -> Heard:
    return Heard(f"evt_{number}", kind, "ses_1")


def test_a_decisive_event_is_told_at_once_and_takes_the_progress_along() -> None:
    mailbox = Mailbox()
    mailbox.put(event(EventKind.PROGRESS, 1), now=10.0)
    assert mailbox.due() == 10.0 + TOKENS_FIRST
    mailbox.put(event(EventKind.IDLE, 2), now=10.1)
    assert mailbox.due() == 0
    assert [said.kind for said in mailbox.take()] == [EventKind.PROGRESS, EventKind.IDLE]
    assert mailbox.due() is None


def test_a_tool_does_not_wait_for_the_tokens_before_it() -> None:
    mailbox = Mailbox()
    mailbox.put(event(EventKind.PROGRESS, 1), now=10.0)
    mailbox.put(event(EventKind.TOOL, 2), now=11.0)
    assert mailbox.due() == 11.0 + TOOLS_FIRST


def test_a_thousand_tokens_are_one_event() -> None:
    mailbox = Mailbox()
    for number in range(1000):
        mailbox.put(event(EventKind.PROGRESS, number), now=number / 1000)
    (said,) = mailbox.take()
    assert (said.count, said.id) == (1000, "evt_999")


def test_progress_with_a_tool_in_it_is_worth_a_look() -> None:
    mailbox = Mailbox()
    for number, kind in enumerate([EventKind.PROGRESS, EventKind.TOOL, EventKind.PROGRESS]):
        mailbox.put(event(kind, number), now=0)
    (said,) = mailbox.take()
    assert (said.kind, said.count) == (EventKind.TOOL, 3)


@pytest.mark.parametrize("order", [[EventKind.BUSY, EventKind.PROGRESS], [EventKind.PROGRESS, EventKind.BUSY]])
def test_work_in_a_step_that_began_with_busy_is_progress(order: list[EventKind]) -> None:
    """Told as `busy`, it would not wind the stall clock, for as long as the pause lasts."""
    mailbox = Mailbox()
    for number, kind in enumerate(order):
        mailbox.put(event(kind, number), now=0)
    (said,) = mailbox.take()
    assert (said.kind, said.count) == (EventKind.PROGRESS, 2)


@given(st.lists(st.sampled_from(list(EventKind)), min_size=1, max_size=40))
def test_a_waiting_delivery_is_woken_whenever_something_is_due_sooner(kinds: list[EventKind]) -> None:
    mailbox = Mailbox()
    for number, kind in enumerate(kinds):
        before = mailbox.due()
        sooner = mailbox.put(event(kind, number), now=float(number))
        after = mailbox.due()
        assert after is not None
        assert sooner == (before is None or after < before)


def test_everything_that_was_heard_is_told() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    heard = Heard("evt_1", EventKind.IDLE, "ses_1", "words", count=3, cut_off=True, at=at, child=True)
    assert {field.name for field in fields(Heard)} == set(ProviderEvent.model_fields)
    assert all(getattr(heard.told(), field.name) == getattr(heard, field.name) for field in fields(Heard))


def test_a_long_turn_is_told_of_ever_more_rarely_and_the_next_one_afresh() -> None:
    mailbox, now, pauses = Mailbox(), 0.0, []
    for _ in range(8):
        mailbox.put(event(EventKind.TOOL), now)
        due = mailbox.due()
        assert due is not None
        pauses.append(due - now)
        now = due
        mailbox.take()
    assert pauses[0] == TOOLS_FIRST
    assert pauses == sorted(pauses)
    assert pauses[-1] == PROGRESS_LAST
    assert not mailbox.fresh
    mailbox.put(event(EventKind.IDLE), now)
    mailbox.take()
    assert mailbox.fresh


def test_progress_that_the_end_takes_along_leaves_nothing_to_remember() -> None:
    """A relay keeps what is not fresh: it would gather a mailbox for every thread that it ever read of."""
    mailbox = Mailbox()
    mailbox.put(event(EventKind.TOOL, 1), now=10.0)
    mailbox.put(event(EventKind.IDLE, 2), now=10.1)
    mailbox.take()
    assert mailbox.fresh


@given(st.lists(st.sampled_from(list(EventKind)), max_size=3 * MAX_BATCH))
def test_no_decisive_event_is_lost_or_reordered_and_every_event_is_counted(kinds: list[EventKind]) -> None:
    mailbox = Mailbox()
    for number, kind in enumerate(kinds):
        mailbox.put(event(kind, number), now=0)
    told: list[ProviderEvent] = []
    while mailbox.due() is not None:
        batch = mailbox.take()
        assert 0 < len(batch) <= MAX_BATCH
        told.extend(batch)
    assert [said.kind for said in told if said.kind in URGENT] == [kind for kind in kinds if kind in URGENT]
    assert sum(said.count for said in told) == len(kinds)


def test_what_waits_is_bounded_and_nothing_is_uncounted() -> None:
    mailbox = Mailbox()
    for number in range(MAX_WAITING + 500):
        mailbox.put(event(EventKind.IDLE, number), now=1.0)
    told: list[ProviderEvent] = []
    while batch := mailbox.take():
        told += batch
    assert len(told) == MAX_WAITING
    assert sum(said.count for said in told) == MAX_WAITING + 500
