"""The Temporal server is killed -9 in the middle of turns and restarted on its database file."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import monotonic

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from tests.e2e.conftest import SEARCH_ATTRIBUTES
from tests.e2e.turns.conftest import Measured
from tests.e2e.turns.deployment import Deployment, assert_ended, deployed
from tests.e2e.turns.gate import Gate
from tests.e2e.turns.prompts import DONE, bash, plan, slow_text
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.dev.temporal_server import TemporalServer
from turnkeeper.punctual_worker import SHUTDOWN_SLACK, PunctualWorker
from turnkeeper.vocabulary import Reason, TurnState, Wake

ANY_LOOK = (Wake.EVENT, Wake.TIMER, Wake.ATTACH, Wake.SUBMIT)

PROMPT = "/prompt_async"

AWAY = 2.0
"""Seconds of an outage that the short turn ends in. Not until it is seen to have ended: a client's call is tried again
for 10 s, and on a busy machine that takes longer."""

ASKED_IN_VAIN = 1.0
"""Seconds of an outage in which a stop is asked for again and again: nothing is there whose state could be seen."""

PATIENCE = 5.0
"""Seconds for a busy machine; without a bound the SDK waits 30 s."""


@activity.defn
async def says_nothing() -> None:
    """Something to poll for."""


@dataclass(frozen=True)
class Stack:
    temporal: TemporalServer
    deployment: Deployment
    gate: Gate


@pytest.fixture
async def stack(opencode: OpenCodeServer, workspace: Path, root: Path, tmp_path: Path) -> AsyncIterator[Stack]:
    server = TemporalServer(
        log=tmp_path / "temporal.log",
        database=tmp_path / "temporal.db",
        search_attributes=SEARCH_ATTRIBUTES,
        ui=False,
    )
    async with server, Gate.before(opencode.port) as gate:
        client = await Client.connect(server.address, data_converter=pydantic_data_converter)
        async with deployed(client, opencode, directory=workspace, root=root, url=gate.url) as deployment:
            yield Stack(server, deployment, gate)


async def test_killed_in_the_middle(stack: Stack, measured: Measured) -> None:
    deployment = stack.deployment
    ends_meanwhile = await deployment.start(plan(slow_text(1)))
    goes_on = await deployment.start(plan(bash("sleep 6"), DONE))
    for started in (ends_meanwhile, goes_on):
        await deployment.until_running(started)
    waiting = asyncio.create_task(deployment.keeper.wait(goes_on))  # a caller's wait outlives the outage
    await stack.temporal.kill()
    await asyncio.sleep(AWAY)
    await stack.temporal.start()
    back = monotonic()
    for started, what in ((ends_meanwhile, "ended while it was away"), (goes_on, "went on")):
        result = await deployment.settled(started)
        measured(f"Temporal killed: a turn that {what} settled after its return", monotonic() - back)
        assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED, woken_by=ANY_LOOK)
        assert result.outcome.failure is None
    assert (await waiting) == (await deployment.keeper.wait(goes_on))


async def test_killed_while_the_prompt_is_delivered(stack: Stack) -> None:
    """Whether the submit's report arrives after the outage or is lost with it: the prompt is sent once."""
    stack.gate.hold_requests(PROMPT)
    started = await stack.deployment.start("hello")
    held = await stack.gate.next_held()
    await stack.temporal.kill()
    held.deliver()
    stack.gate.let_pass()
    await stack.temporal.start()
    result = await stack.deployment.settled(started)
    assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED, woken_by=ANY_LOOK)


async def test_a_stop_during_the_outage_is_done_after_it(stack: Stack) -> None:
    deployment = stack.deployment
    started = await deployment.start(plan(slow_text(60)))
    session = await deployment.until_running(started)
    await stack.temporal.kill()
    stopping = asyncio.create_task(deployment.keeper.interrupt(started.thread_id))
    await asyncio.sleep(ASKED_IN_VAIN)
    await stack.temporal.start()
    answer = await stopping
    assert answer.confirmed
    result = await deployment.settled(started)
    assert_ended(result.outcome, TurnState.INTERRUPTED, Reason.STOPPED, woken_by=(Wake.STOP, Wake.EVENT, Wake.TIMER))
    assert await session.status() == "none"


async def test_a_worker_that_is_told_to_end_does_not_wait_for_a_frozen_temporal(stack: Stack) -> None:
    """Whoever told it kills it when its grace is over: a pod's is counted from the same moment."""
    client = await Client.connect(stack.temporal.address)
    worker = PunctualWorker(
        client, task_queue="ends", activities=[says_nothing], graceful_shutdown_timeout=timedelta(seconds=1)
    )
    async with worker:
        stack.temporal.process.signal(signal.SIGSTOP)
        began = monotonic()
    took = monotonic() - began
    stack.temporal.process.signal(signal.SIGCONT)
    assert took < 1 + SHUTDOWN_SLACK + PATIENCE
