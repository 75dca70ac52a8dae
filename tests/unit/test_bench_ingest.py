"""Both sides of `bench.ingest` read every event of every mix, and only what is ours is told."""

from __future__ import annotations

import httpx
import pytest

from bench.ingest import GOAL, SIDES, report
from bench.ingest_memory import CASES
from bench.ingest_sides import Counted, parse_with, relay, relay_and_count
from bench.results import Results
from bench.traffic import ENDLESS, NOT_OURS, SOCKET_READ, Mix, mixes

EVENTS = 1500
MIXES = {mix.name: mix for mix in mixes(EVENTS)}


@pytest.mark.parametrize("mix", MIXES.values(), ids=lambda mix: mix.name)
@pytest.mark.parametrize("size", [None, 777, SOCKET_READ])
async def test_both_sides_read_everything(mix: Mix, size: int | None) -> None:
    chunks = mix.chunks(size)
    read = await relay(chunks, Counted(), httpx.MockTransport(lambda _: httpx.Response(404)))
    assert await parse_with()(chunks) == read.tally.frames == EVENTS
    assert (read.tally.unknown, read.tally.malformed) == (0, 0)


async def test_only_turns_of_ours_are_told() -> None:
    told = {name: (await relay_and_count(mix.chunks(None))).signals for name, mix in MIXES.items()}
    assert told[NOT_OURS] == 0
    assert told[ENDLESS] == 0, "nothing but progress: it would be told seconds later"
    assert told["turns of tools"] > 0
    assert told["turns of 400 tokens"] > 0


def test_an_endless_answer_is_deltas_and_each_event_its_own() -> None:
    mix = MIXES[ENDLESS]
    assert mix.deltas > 0.9
    turns = MIXES["turns of tools"]
    sessions = [frame for frame in turns.frames if b'"type":"session.status"' in frame]
    assert len(set(sessions)) > len(sessions) / 2, "a copy of a turn is another turn"


def test_a_missed_goal_is_called_missed() -> None:
    side = {"us": 2.0, "us_p99": 3.0}
    row = {"mix": "m", "pieces": "64 KiB", "deltas": 0.9, "n": 3, "fast_ratio": 0.2, **dict.fromkeys(SIDES, side)}
    memory = {"case": next(iter(CASES)), "megabytes": 1, "before": 1024, "tenth": 2048, "after": 3072, "peak": 4096}
    assert "missed" in report(Results("ingest", {}, [{**row, "ratio": GOAL - 0.01}]))
    text = report(Results("ingest", {}, [{**row, "ratio": GOAL}, memory]))
    assert "missed" not in text
    assert "| 500,000 |" in text
    assert "| 1.0 | 2.0 | 3.0 | 4.0 | **+1.0** |" in text
