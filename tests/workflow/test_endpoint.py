"""`Endpoint`: one relay at a time, for ever, and its health for operators."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import HttpUrl
from temporalio.client import WorkflowHandle
from temporalio.exceptions import ApplicationError

import worker as composition
from tests.e2e.waiting import until
from tests.workflow.scripted_provider import AWAY, DIES, HANGS, Held
from tests.workflow.stage import ENDPOINT, Stage
from turnkeeper.messages import EndpointInput, EndpointSnapshot, endpoint_workflow_id
from turnkeeper.observations import RelayStatus
from turnkeeper.settings import EndpointSettings, Settings, WorkerSettings
from workflows import endpoint as endpoint_module

Endpoint = WorkflowHandle[Any, None]
SHORT: Final = 100
"""History events, instead of thousands."""
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def few_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "RUNS_PER_HISTORY", 2)


@pytest.fixture
async def endpoint(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Endpoint]:
    """A running one; ended with the test, because its relay would be started for ever."""
    monkeypatch.setattr(endpoint_module, "RELAY_HEARTBEAT", timedelta(seconds=1))
    handle: Endpoint = await stage.client.start_workflow(
        "Endpoint",
        EndpointInput(endpoint=ENDPOINT, task_queue=stage.queue, continue_after_events=SHORT),
        id=f"{endpoint_workflow_id(ENDPOINT)}-{stage.queue}",
        task_queue=stage.queue,
    )
    yield handle
    await stage.client.get_workflow_handle(handle.id).terminate("the test is over")


async def health(endpoint: Endpoint) -> EndpointSnapshot:
    snapshot: EndpointSnapshot = await endpoint.query("snapshot", result_type=EndpointSnapshot)
    return snapshot


async def test_it_runs_the_relay_of_its_endpoint(stage: Stage, endpoint: Endpoint) -> None:
    await stage.provider.called("relay")
    [request] = stage.provider.requests("relay")
    assert (request.endpoint, request.namespace) == (ENDPOINT, stage.client.namespace)
    assert (await health(endpoint)).relay is None


@pytest.mark.usefixtures("endpoint")
@pytest.mark.parametrize("end", [RuntimeError("a fault of ours"), DIES], ids=["fails", "its worker dies"])
async def test_a_relay_that_ends_is_replaced(stage: Stage, end: Any) -> None:  # noqa: ANN401 - an answer of the script
    stage.provider.says("relay", end, end, HANGS)
    await stage.provider.called("relay", times=3)


@pytest.mark.usefixtures("endpoint")
async def test_an_endpoint_that_no_worker_knows_is_tried_again_without_hurry(stage: Stage) -> None:
    """As after it was taken out of the configuration: it may come back, and must not keep a server busy till then."""
    unknown = ApplicationError("There is no endpoint 'scripted'.", type="unknown_endpoint", non_retryable=True)
    stage.provider.says("relay", unknown)
    await stage.provider.called("relay")
    with pytest.raises(AssertionError, match="not within"):
        await until(lambda: calls(stage), lambda times: times > 1, deadline=1)


async def calls(stage: Stage) -> int:
    return stage.provider.count("relay")


async def test_it_shows_the_newest_state_of_the_relay(endpoint: Endpoint) -> None:
    attached = RelayStatus(attached=True, at=NOON, version="1.18.33")
    lost = RelayStatus(attached=False, at=NOON + timedelta(seconds=1), failure=AWAY)
    await endpoint.signal("relay_status", attached)
    await until(lambda: health(endpoint), lambda now: now.relay == attached)
    await endpoint.signal("relay_status", lost)
    await endpoint.signal("relay_status", attached)
    seen = await until(lambda: health(endpoint), lambda now: now.relay != attached)
    assert seen.relay == lost, "a relay that was replaced may still say something late"


async def test_a_relay_whose_clock_jumped_is_no_newer_than_the_one_that_replaced_it(endpoint: Endpoint) -> None:
    ahead = RelayStatus(attached=False, at=NOON + timedelta(hours=1), relay_since=NOON, number=7)
    back = RelayStatus(attached=True, at=NOON, relay_since=NOON + timedelta(seconds=5), number=1)
    lost = RelayStatus(attached=False, at=NOON, relay_since=NOON + timedelta(seconds=5), number=2)
    for status in (ahead, back, ahead, lost):
        await endpoint.signal("relay_status", status)
    await until(lambda: health(endpoint), lambda shown: shown.relay == lost)


@pytest.mark.usefixtures("few_runs")
async def test_it_continues_as_new_and_keeps_the_health(stage: Stage, endpoint: Endpoint) -> None:
    relays = [Held() for _ in range(3)]
    stage.provider.says("relay", *relays, HANGS)
    first_run = (await endpoint.describe()).run_id
    await endpoint.signal("relay_status", RelayStatus(attached=True, at=NOON))
    for relay in relays:
        relay.released.set()
    latest: Endpoint = stage.client.get_workflow_handle(endpoint.id)
    await until(latest.describe, lambda now: now.run_id != first_run)
    assert (await health(latest)).relay == RelayStatus(attached=True, at=NOON)


async def test_a_stream_that_comes_and_goes_fills_no_history(stage: Stage, endpoint: Endpoint) -> None:
    stage.provider.says("relay", HANGS)
    await stage.provider.called("relay")
    first_run = (await endpoint.describe()).run_id
    latest: Endpoint = stage.client.get_workflow_handle(endpoint.id)

    async def flaps() -> str | None:
        await latest.signal("relay_status", RelayStatus(attached=False, at=datetime.now(UTC), failure=AWAY))
        return (await latest.describe()).run_id

    await until(flaps, lambda run: run != first_run)
    await stage.provider.called("relay", times=2)
    assert (await health(latest)).relay is not None


async def test_many_workers_that_start_it_get_one(stage: Stage) -> None:
    name = stage.queue
    settings = Settings(
        endpoints={name: EndpointSettings(url=HttpUrl("http://opencode.example"), roots=(Path("/srv"),))},
        worker=WorkerSettings(task_queue=stage.queue),
    )
    runs = set()
    for _ in range(2):
        await composition.start_relays(stage.client, settings)
        runs.add((await stage.client.get_workflow_handle(endpoint_workflow_id(name)).describe()).run_id)
    assert len(runs) == 1
    await stage.client.get_workflow_handle(endpoint_workflow_id(name)).terminate("the test is over")
