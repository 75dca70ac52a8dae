"""What a fleet needs for so many open turns: the arithmetic of docs/scale.md, and nothing that is measured here.

python -m bench.capacity [--write]

Prints the constants, each with its unit and origin, and what follows from them for 1,000, 100,000 and a million open
turns; `--write` puts both into the page. New figures of a benchmark go into `Constants` by hand, with their source.
Pure, but for the writing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final

from bench.timing import table
from tests.chaos.report import put_between

DOCUMENT: Final = Path(__file__).parent.parent / "docs" / "scale.md"
OPEN_TURNS: Final = (1_000, 100_000, 1_000_000)
DAY: Final = 86_400
"""Seconds."""
MONTH: Final = 30 * DAY
"""Seconds of the month that prices are for."""


def _constant(value: float, unit: str, source: str) -> float:
    found: float = field(default=value, metadata={"unit": unit, "source": source})
    return found


@dataclass(frozen=True)
class Constants:
    """What is multiplied. Assumptions are the reader's to change: nobody can measure another's turns."""

    minutes_per_turn: float = _constant(10, "min", "assumed")
    turns_per_endpoint: float = _constant(10, "open turns", "assumed; `max_running_turns` holds it")
    retention_days: float = _constant(3, "days", "assumed; the namespace's setting")
    prompt_kb: float = _constant(1, "kB", "assumed")
    answer_kb: float = _constant(2, "kB", "assumed; `text_limit` bounds it")
    turns_per_core: float = _constant(
        10, "turns a core of OpenCode", "measured, 1.18.33 with its snapshots; 25 without"
    )
    short_turn_events: float = _constant(
        30, "events of `Turn`", "measured: 3 s in a thread that ran before; 18 in a new one (history.json)"
    )
    thread_events: float = _constant(
        15, "events of `Thread` a turn", "measured: 31 events for two turns (history.json)"
    )
    minute_events: float = _constant(
        6, "events a minute", "bound of `test_history_size.py`; 9 seen at 40 steps a minute (peer.json)"
    )
    event_bytes: float = _constant(
        285, "bytes an event", "measured: 8.5 kB in those 30, nothing encrypted (history.json)"
    )
    prompt_copies: float = _constant(4, "times in histories", "measured with 12 kB: two in `Thread`, two in `Turn`")
    answer_copies: float = _constant(3, "times in histories", "measured with 12 kB: one in `Thread`, two in `Turn`")
    turn_actions: float = _constant(
        9, "actions a turn", "counted there: update, child (2), 3 activities, timer, signal, upsert"
    )
    minute_actions: float = _constant(
        1.6, "actions a minute", "counted: 3 of the 11 events of a look are billed (activity, timer, signal)"
    )
    server_ms_per_event: float = _constant(
        2.4, "CPU ms an event", "measured: 92 ms a turn of 39 events, dev server, SQLite (turn_overhead.json)"
    )
    worker_ms_per_event: float = _constant(
        1.6, "CPU ms an event", "measured: 62 ms a turn of 39 events (turn_overhead.json)"
    )
    replay_ms_per_event: float = _constant(0.25, "CPU ms an event", "measured: 4,107 events in 1.0 s")
    event_calls: float = _constant(
        0.6, "calls an event", "counted: 2 calls bring 3 events (poll and completion of a task), a signal 1"
    )
    frontend_calls: float = _constant(2400, "calls/s a frontend", "Temporal's default for one namespace")
    shard_events: float = _constant(
        450, "events/s a shard", "measured: a dev server's one shard, limited by two cores: a floor (engine_floor.json)"
    )
    workflow_kb: float = _constant(60, "kB a cached workflow", "measured: 56 kB, no sandbox (memory.json)")
    cached_workflows: float = _constant(1000, "workflows a worker", "set: `max_cached_workflows`")
    worker_slots: float = _constant(
        100, "activities a worker", "set: `max_concurrent_activities`; a relay keeps one for good"
    )
    heartbeat_seconds: float = _constant(1, "s", "set: `HEARTBEAT_INTERVAL` in activities/endpoints.py")
    stream_events: float = _constant(
        26, "events/s a turn", "measured, 1.18.33: a turn that talks at 20 tokens a second"
    )
    relay_us_per_event: float = _constant(
        13, "CPU µs an event", "measured: one after another, as a relay gets them that keeps up (ingest.json)"
    )
    stream_mb_per_minute: float = _constant(
        1.1, "MB a minute a turn", "measured: 11.7 MB in 10.6 min at 40 steps a minute (peer.json)"
    )


@dataclass(frozen=True)
class Capacity:
    """What so many open turns need, steadily: as many begin as end."""

    open_turns: int
    given: Constants

    @property
    def starts(self) -> float:
        """Turns that begin, a second."""
        return self.open_turns / (self.given.minutes_per_turn * 60)

    @property
    def turn_events(self) -> float:
        """History events of one turn, its part of the thread's included."""
        given = self.given
        return given.short_turn_events + given.thread_events + given.minute_events * given.minutes_per_turn

    @property
    def turn_bytes(self) -> float:
        """History of one turn, words included."""
        given = self.given
        words = given.prompt_copies * given.prompt_kb + given.answer_copies * given.answer_kb
        return self.turn_events * given.event_bytes + words * 1000

    @property
    def events(self) -> float:
        """History events a second."""
        return self.starts * self.turn_events

    @property
    def shards(self) -> float:
        """At the rate that one was seen to carry."""
        return self.events / self.given.shard_events

    @property
    def history_bytes_per_day(self) -> float:
        """Written."""
        return self.starts * self.turn_bytes * DAY

    @property
    def history_bytes_kept(self) -> float:
        """Of closed turns. Threads that stay open keep theirs as long as they are."""
        return self.history_bytes_per_day * self.given.retention_days

    @property
    def open_workflows(self) -> float:
        """A turn, its thread, and one for each endpoint."""
        return 2 * self.open_turns + self.endpoints

    @property
    def cache_bytes(self) -> float:
        """Of all workers together, so that nothing that is woken has to be replayed."""
        return self.open_workflows * self.given.workflow_kb * 1000

    @property
    def endpoints(self) -> float:
        """OpenCode servers; as many event streams and relays."""
        return self.open_turns / self.given.turns_per_endpoint

    @property
    def heartbeats(self) -> float:
        """Of relays, a second."""
        return self.endpoints / self.given.heartbeat_seconds

    @property
    def calls(self) -> float:
        """Of workers and clients to Temporal, a second; a heartbeat is one."""
        return self.events * self.given.event_calls + self.heartbeats

    @property
    def frontends(self) -> float:
        """At their default limit for one namespace."""
        return self.calls / self.given.frontend_calls

    @property
    def relay_workers(self) -> float:
        """Worker processes whose slots the relays alone fill."""
        return self.endpoints / self.given.worker_slots

    @property
    def stream_bytes(self) -> float:
        """From OpenCode to the relays, a second."""
        return self.open_turns * self.given.stream_mb_per_minute * 1e6 / 60

    @property
    def relay_cores(self) -> float:
        """To read the streams, all turns talking at once; signals are in the workers' share."""
        return self.open_turns * self.given.stream_events * self.given.relay_us_per_event / 1e6

    @property
    def server_cores(self) -> float:
        """For history events alone."""
        return self.events * self.given.server_ms_per_event / 1000

    @property
    def worker_cores(self) -> float:
        """For turns; relays are beside that."""
        return self.events * self.given.worker_ms_per_event / 1000

    @property
    def opencode_cores(self) -> float:
        """Of the work itself."""
        return self.open_turns / self.given.turns_per_core

    @property
    def cache_workers(self) -> float:
        """Worker processes whose caches hold all open workflows."""
        return self.open_workflows / self.given.cached_workflows

    @property
    def replay_ms(self) -> float:
        """CPU to wake a turn at its end that no cache holds."""
        own = self.given.short_turn_events + self.given.minute_events * self.given.minutes_per_turn
        return own * self.given.replay_ms_per_event

    @property
    def turn_actions(self) -> float:
        """Of turns, a month."""
        each = self.given.turn_actions + self.given.minute_actions * self.given.minutes_per_turn
        return self.starts * each * MONTH

    @property
    def heartbeat_actions(self) -> float:
        """Of relays, a month: each heartbeat that reaches the server is one."""
        return self.heartbeats * MONTH


SHOWN: Final[tuple[tuple[str, str, Callable[[Capacity], float]], ...]] = (
    ("turns that begin", "1/s", lambda need: need.starts),
    ("OpenCode, for the work itself", "cores", lambda need: need.opencode_cores),
    ("history events", "1/s", lambda need: need.events),
    ("history written", "GB/day", lambda need: need.history_bytes_per_day / 1e9),
    ("history kept, of closed turns", "GB", lambda need: need.history_bytes_kept / 1e9),
    ("shards, each as busy as the measured one", "", lambda need: need.shards),
    ("Temporal server, as costly as the dev server", "cores", lambda need: need.server_cores),
    ("workers, for turns", "cores", lambda need: need.worker_cores),
    ("workers, for relays that read the streams", "cores", lambda need: need.relay_cores),
    ("open workflows", "", lambda need: need.open_workflows),
    ("workers' memory with all of them cached", "GB", lambda need: need.cache_bytes / 1e9),
    ("worker processes that cache all of them", "", lambda need: need.cache_workers),
    ("endpoints = event streams = relays", "", lambda need: need.endpoints),
    ("worker processes full of relays", "", lambda need: need.relay_workers),
    ("bytes of all streams", "MB/s", lambda need: need.stream_bytes / 1e6),
    ("CPU to wake a turn that no cache holds", "ms", lambda need: need.replay_ms),
    ("heartbeats of relays", "1/s", lambda need: need.heartbeats),
    ("calls to Temporal, heartbeats included", "1/s", lambda need: need.calls),
    ("frontends at their default limit", "", lambda need: need.frontends),
    ("actions of turns", "million/month", lambda need: need.turn_actions / 1e6),
    ("actions of heartbeats", "million/month", lambda need: need.heartbeat_actions / 1e6),
)

PRICES: Final = ((5, 50), (10, 45), (20, 40), (50, 35), (100, 30), (200, 25))
"""Up to so many million actions a month, dollars for each million of the step. From Temporal's public documentation,
page "Temporal Cloud pricing", pay as you go; beyond the last step it names no price."""


def list_price(actions: float) -> float | None:
    """Dollars a month for so many actions; None beyond the public list."""
    million, cost, below = actions / 1e6, 0.0, 0
    if million > PRICES[-1][0]:
        return None
    for limit, price in PRICES:
        cost += max(0.0, min(million, limit) - below) * price
        below = limit
    return cost


def constants_table(given: Constants) -> str:
    """Every constant with its unit and origin."""
    rows = [
        [f"`{each.name}`", f"{getattr(given, each.name):g}", each.metadata["unit"], each.metadata["source"]]
        for each in fields(given)
    ]
    return table(["constant", "value", "unit", "origin"], rows)


def capacity_table(given: Constants) -> str:
    """What follows, one column for each number of open turns."""
    needs = [Capacity(turns, given) for turns in OPEN_TURNS]
    rows = [[what, unit, *(figure(value(need)) for need in needs)] for what, unit, value in SHOWN]
    prices = [list_price(need.turn_actions) for need in needs]
    shown = ["beyond the list" if price is None else figure(price) for price in prices]
    rows.append(["price of the turns' actions by the public list", "$/month", *shown])
    return table(["open turns", "unit", *(f"{turns:,}" for turns in OPEN_TURNS)], rows)


def figure(value: float) -> str:
    """Two digits that count: the constants have no more."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"  # noqa: PLR2004 - from two digits on


def written(document: str, given: Constants) -> str:
    """The page with both tables in their places."""
    for name, text in (("constants", constants_table(given)), ("capacity", capacity_table(given))):
        begin = f"<!-- {name}: begin, written by bench.capacity -->"
        document = put_between(document, begin, f"<!-- {name}: end -->", f"{text}\n")
    return document


def main() -> None:
    """Print, or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="into docs/scale.md")
    options = parser.parse_args()
    given = Constants()
    print(f"{constants_table(given)}\n\n{capacity_table(given)}")
    if options.write:
        DOCUMENT.write_text(written(DOCUMENT.read_text(), given))


if __name__ == "__main__":
    main()
