"""What the benchmarks of the floor say of what they measured."""

from __future__ import annotations

import json

import pytest

from bench import engine_floor, throughput
from bench.empty import filler


def test_filler_is_as_big_as_the_payload_that_it_stands_for() -> None:
    assert len(json.dumps(filler(213))) == 213


@pytest.mark.parametrize(
    ("share", "limit"),
    [
        ({"temporal": 1.1, "worker-0": 0.5, "client": 0.2}, "all 2 cores, most of it temporal"),
        ({"temporal": 0.5, "worker-0": 0.9, "client": 0.2}, "worker-0, one core"),
        ({"temporal": 0.9, "worker-0": 0.3, "client": 0.2}, "no process: waiting"),  # it could use the other core too
        ({"temporal": 0.2, "worker-0": 0.1, "client": 0.1}, "no process: waiting"),
    ],
)
def test_the_limit_is_whatever_was_busy_all_the_time(share: dict[str, float], limit: str) -> None:
    assert throughput.limit_of(share, cores=2) == limit


def test_overhead_is_compared_with_the_floor_and_not_with_the_whole_turn() -> None:
    found = {"bare": {"total": 0.5}, "durable": {"total": 0.65}, "floor": {"total": 0.1}}
    assert engine_floor.compared(found) == {"overhead_ms": pytest.approx(150), "ratio": pytest.approx(1.5)}


def test_workers_gain_over_the_fewest_workers_of_their_own_side() -> None:
    def row(workers: int, durable: float, floor: float) -> dict[str, object]:
        return {"workers": workers, "durable": {"per_second": durable}, "floor": {"per_second": floor}}

    first, second = throughput.compared([row(1, 20, 25), row(2, 30, 50)])
    assert (first["ratio"], second["ratio"]) == (0.8, 0.6)
    assert second["gain"] == {"durable": 1.5, "floor": 2.0}


def test_idle_workers_of_the_other_side_count_for_nothing() -> None:
    cpu = {"client": 0.1, "provider": 0.1, "temporal": 1.0, "worker-0": 0.6, "worker-1": 0.4, "empty-0": 0.3}
    once = {"seconds": [0.1] * 10, "wall": 2.0, "cpu": cpu, "steps": [(40, 12_000)]}
    side = throughput.summary("durable", [once], cores=2)
    assert side["per_second"] == 5
    assert side["cpu_ms"] == pytest.approx({"client": 10, "provider": 10, "temporal": 100, "worker": 100})
    assert "empty-0" not in side["share"]
