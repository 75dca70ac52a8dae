"""The capacity page is what its constants say, and the arithmetic is that of its formulas."""

from __future__ import annotations

from dataclasses import replace

import pytest

from activities.endpoints import HEARTBEAT_INTERVAL
from bench.capacity import DOCUMENT, Capacity, Constants, figure, list_price, written
from turnkeeper.settings import WorkerSettings

ROUND = Constants(
    minutes_per_turn=10,
    turns_per_endpoint=10,
    retention_days=2,
    prompt_kb=2,
    answer_kb=3,
    prompt_copies=4,
    answer_copies=2,
    turns_per_core=20,
    short_turn_events=30,
    thread_events=10,
    minute_events=6,
    event_bytes=200,
    turn_actions=8,
    minute_actions=2,
    server_ms_per_event=2,
    worker_ms_per_event=1,
    replay_ms_per_event=0.5,
    event_calls=0.5,
    frontend_calls=400,
    shard_events=100,
    workflow_kb=50,
    cached_workflows=1000,
    worker_slots=100,
    heartbeat_seconds=2,
    stream_events=20,
    relay_us_per_event=10,
    stream_mb_per_minute=0.6,
)


def test_the_page_is_not_stale() -> None:
    assert written(DOCUMENT.read_text(), Constants()) == DOCUMENT.read_text(), "python -m bench.capacity --write"


def test_six_thousand_turns_of_ten_minutes() -> None:
    need = Capacity(6000, ROUND)
    assert need.starts == 10
    assert need.events == 1000
    assert need.shards == 10
    assert need.server_cores == 2
    assert need.worker_cores == 1
    assert need.relay_cores == pytest.approx(1.2)
    assert need.turn_bytes == 100 * 200 + 4 * 2000 + 2 * 3000
    assert need.history_bytes_per_day == 10 * 34_000 * 86_400
    assert need.history_bytes_kept == 2 * need.history_bytes_per_day
    assert need.endpoints == 600
    assert need.heartbeats == 300
    assert need.calls == 800
    assert need.frontends == 2
    assert need.relay_workers == 6
    assert need.open_workflows == 12_600
    assert need.cache_bytes == pytest.approx(630e6)
    assert need.cache_workers == 12.6
    assert need.opencode_cores == 300
    assert need.stream_bytes == pytest.approx(60e6)
    assert need.replay_ms == 45
    assert need.turn_actions == 10 * 28 * 30 * 86_400
    assert need.heartbeat_actions == 300 * 30 * 86_400


def test_longer_turns_begin_more_rarely_and_write_more() -> None:
    longer = replace(ROUND, minutes_per_turn=20)
    assert Capacity(6000, longer).starts == 5
    assert Capacity(6000, longer).turn_events == Capacity(6000, ROUND).turn_events + 60


@pytest.mark.parametrize(
    ("million", "dollars"), [(0, 0), (5, 250), (11.25, 525), (200, 250 + 225 + 400 + 1050 + 1500 + 2500), (201, None)]
)
def test_prices_go_down_in_steps(million: float, dollars: float | None) -> None:
    assert list_price(million * 1e6) == dollars


def test_two_digits_count() -> None:
    assert [figure(value) for value in (0, 0.386, 1.66, 42.4, 177, 18_400)] == [
        "0",
        "0.39",
        "1.7",
        "42",
        "180",
        "18,000",
    ]


def test_what_is_set_in_the_code_is_what_the_page_says() -> None:
    worker, given = WorkerSettings(), Constants()
    assert given.worker_slots == worker.max_concurrent_activities
    assert given.cached_workflows == worker.max_cached_workflows
    assert given.heartbeat_seconds == HEARTBEAT_INTERVAL
