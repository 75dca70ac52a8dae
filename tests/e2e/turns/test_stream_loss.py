"""Turns without events: the stream is cut and never restored, or no relay runs at all. They settle by looking."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.e2e.turns.conftest import Measured
from tests.e2e.turns.deployment import Deployment, assert_ended, deployed
from tests.e2e.turns.gate import Gate, http_answer
from tests.e2e.turns.prompts import DONE, bash, plan, short, slow_text
from tests.e2e.waiting import until
from turnkeeper.client import StartedTurn
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.vocabulary import Reason, TurnState, Wake

EVENTS = "/global/event"
LOOKING = short(look_interval=3, look_interval_max=3)
LATE = 3 + 2
"""Seconds from the end in OpenCode to the settlement, without events: one look interval and 2 s."""


async def test_the_stream_is_cut_and_never_restored(
    own_temporal: Client,
    opencode: OpenCodeServer,
    workspace: Path,
    root: Path,
    measured: Measured,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "turnkeeper.relay")
    async with (
        Gate.before(opencode.port) as gate,
        deployed(own_temporal, opencode, directory=workspace, root=root, url=gate.url) as deployment,
    ):
        await until(lambda: deployment.keeper.endpoint(deployment.endpoint), lambda seen: seen.relay is not None)
        by_event = await deployment.run("hello")
        assert_ended(by_event.outcome, TurnState.COMPLETED, Reason.FINISHED)
        started = await deployment.start(plan(slow_text(4)), limits=LOOKING)
        await deployment.until_running(started)
        gate.cut(EVENTS)
        await _settles_by_looking(deployment, started.thread_id, measured, "after a cut")
        health = await deployment.keeper.endpoint(deployment.endpoint)
        assert health.relay is not None
        assert not health.relay.attached
        assert health.relay.failure is not None
        gate.let_pass()
        await until(
            lambda: deployment.keeper.endpoint(deployment.endpoint),
            lambda seen: seen.relay is not None and seen.relay.attached,
        )
        logged = [record.getMessage() for record in caplog.records if record.name == "turnkeeper.relay"]
        assert any(f"endpoint {deployment.endpoint}: event stream lost, since " in line for line in logged)
        assert any(f"endpoint {deployment.endpoint}: event stream back after " in line for line in logged)
        assert not any(f":{gate.port}" in line or "://" in line for line in logged), "no address in a log"


async def test_a_turn_whose_looks_had_become_rare_is_told_that_no_events_come(
    own_temporal: Client, opencode: OpenCodeServer, workspace: Path, root: Path
) -> None:
    """By itself it would need a minute for so many looks: its pauses double from 1 s."""
    async with (
        Gate.before(opencode.port) as gate,
        deployed(own_temporal, opencode, directory=workspace, root=root, url=gate.url) as deployment,
    ):
        started = await deployment.start(plan(slow_text(60)), limits=short(look_interval=1, look_interval_max=60))
        rare = await deployment.until_turn(started, lambda turn: turn.looks >= 3)
        gate.cut(EVENTS)
        await deployment.until_turn(started, lambda turn: turn.looks >= rare.looks + 4, deadline=25)
        await deployment.keeper.interrupt(started.thread_id)


async def test_no_relay_runs(
    own_temporal: Client, opencode: OpenCodeServer, workspace: Path, root: Path, measured: Measured
) -> None:
    async with deployed(own_temporal, opencode, directory=workspace, root=root, run_relays=False) as deployment:
        started = await deployment.start(plan(bash("sleep 1"), DONE), limits=LOOKING)
        await _settles_by_looking(deployment, started.thread_id, measured, "without a relay")
        stalled = await deployment.start(plan({"kind": "stall"}), limits=short(look_interval=1, stall_timeout=3))
        result = await deployment.settled(stalled)
        assert_ended(result.outcome, TurnState.ERROR, Reason.STALLED, woken_by=(Wake.STOP,))


async def test_a_proxy_that_answers_nonsense_for_a_while(
    own_temporal: Client, opencode: OpenCodeServer, workspace: Path, root: Path
) -> None:
    nonsense = (
        http_answer(b"<html>Bad gateway</html>", status="502 Bad Gateway", content_type="text/html"),
        http_answer(b"<html>Sign in</html>", content_type="text/html"),
        http_answer(b'[{"info": {"id": "msg'),
        http_answer(b'{"name": "UnknownError"}', status="500 Internal Server Error"),
        http_answer(b"[]", status="404 Not Found", content_type="text/html"),
    )
    async with (
        Gate.before(opencode.port) as gate,
        deployed(own_temporal, opencode, directory=workspace, root=root, url=gate.url) as deployment,
    ):
        eager = short(look_interval=0.5, look_interval_max=0.5, retry_interval=0.2, retry_interval_max=0.2)
        started = await deployment.start(plan(slow_text(4)), limits=eager)
        await deployment.until_running(started)
        for answer in nonsense:
            gate.answer("/message", answer)
            before = (await deployment.keeper.turn(started.thread_id)).looks
            await _until_looked(deployment, started, before)
        gate.let_pass()
        result = await deployment.settled(started)
        assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED, woken_by=(Wake.EVENT, Wake.TIMER))


async def _settles_by_looking(deployment: Deployment, thread: str, measured: Measured, what: str) -> None:
    result = await asyncio.wait_for(deployment.keeper.result(thread), 60)
    assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED, woken_by=(Wake.TIMER,))
    assert len(await deployment.prompts_of(result)) == 1
    assert result.session_id is not None
    messages = await deployment.session(result.session_id).messages()
    ended = datetime.fromtimestamp(messages[-1]["info"]["time"]["completed"] / 1000, UTC)
    late = (result.outcome.completed_at - ended).total_seconds()
    measured(f"settled by looking, {what}, after OpenCode's own end", late)
    assert late <= LATE


async def _until_looked(deployment: Deployment, started: StartedTurn, looks: int) -> None:
    await deployment.until_turn(started, lambda turn: turn.looks > looks)
