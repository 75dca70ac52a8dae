"""A worker process is killed or stopped with another one up. The first runs everything: relay, workflows, calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import pytest
from temporalio.client import Client

from tests.e2e.turns.conftest import Measured
from tests.e2e.turns.deployment import Deployment, assert_ended, deployed, endpoint_settings
from tests.e2e.turns.gate import Gate
from tests.e2e.turns.prompts import plan, short, slow_text
from tests.e2e.turns.worker_process import worker_process
from tests.e2e.waiting import until
from turnkeeper.client import StartedTurn
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.dev.processes import SupervisedProcess
from turnkeeper.messages import TurnResult
from turnkeeper.observations import RelayStatus
from turnkeeper.settings import Settings, WorkerSettings
from turnkeeper.vocabulary import Reason, TurnState, Wake
from worker import running_worker

PROMPT = "/prompt_async"
ANY_LOOK = (Wake.EVENT, Wake.TIMER, Wake.ATTACH, Wake.SUBMIT)

HANDOVER = 8.0
"""Seconds for another worker's relay to attach after a SIGTERM: 1 s measured, the rest for a busy machine."""

TAKEOVER = 25.0
"""The same after a kill -9: the relay's heartbeat timeout of 5 s comes first."""


class Pair:
    """`first` is a process and runs alone until `second` is entered: a worker in this process."""

    def __init__(self, temporal: Client, opencode: OpenCodeServer, root: Path, log: Path, gate: Gate) -> None:
        self._temporal = temporal
        self._opencode = opencode
        self._root = root
        self._log = log
        self.gate = gate

    @asynccontextmanager
    async def first(self, deployment: Deployment) -> AsyncIterator[SupervisedProcess]:
        process = worker_process(deployment, self._opencode, self._root, self._log, url=self.gate.url)
        await process.start()
        try:
            await relay_of(deployment, attempt=1)
            yield process
        finally:
            await process.kill()

    @asynccontextmanager
    async def second(self, deployment: Deployment) -> AsyncIterator[None]:
        queue = deployment.endpoint
        endpoint = endpoint_settings(self._opencode, self._root, queue, url=self.gate.url)
        worker = WorkerSettings(task_queue=queue, graceful_shutdown=2)
        async with running_worker(self._temporal, Settings(endpoints={queue: endpoint}, worker=worker)):
            yield


@pytest.fixture
async def pair(own_temporal: Client, opencode: OpenCodeServer, root: Path, tmp_path: Path) -> AsyncIterator[Pair]:
    async with Gate.before(opencode.port) as gate:
        yield Pair(own_temporal, opencode, root, tmp_path / "worker.log", gate)


@pytest.fixture
async def unmanned(
    own_temporal: Client, opencode: OpenCodeServer, workspace: Path, root: Path
) -> AsyncIterator[Deployment]:
    """Without any worker yet."""
    async with deployed(own_temporal, opencode, directory=workspace, root=root, run_worker=False) as deployment:
        yield deployment


async def test_killed_in_the_middle(pair: Pair, unmanned: Deployment, measured: Measured) -> None:
    async with pair.first(unmanned) as first:
        started = await unmanned.start(plan(slow_text(8)))
        await unmanned.until_running(started)
        async with pair.second(unmanned):
            await first.kill()
            killed = monotonic()
            turn = await unmanned.keeper.turn(started.thread_id)
            measured("worker killed: another one answers for the turn", monotonic() - killed)
            assert turn.state is TurnState.RUNNING
            await relay_of(unmanned, attempt=2, within=TAKEOVER)
            measured("worker killed: another relay attached", monotonic() - killed)
            result = await unmanned.settled(started)
    _assert_finished(result, started)
    late = await _late(unmanned, result)
    measured("worker killed: settled after OpenCode's own end", late)
    assert late < TAKEOVER


async def test_sigterm_hands_the_relay_over(pair: Pair, unmanned: Deployment, measured: Measured) -> None:
    async with pair.first(unmanned) as first:
        started = await unmanned.start(plan(slow_text(6)))
        await unmanned.until_running(started)
        async with pair.second(unmanned):
            asked = monotonic()
            await first.stop(grace=20)
            measured("worker stopped: gone after SIGTERM", monotonic() - asked)
            assert first.exit_code == 0
            relay = await relay_of(unmanned, attempt=2, within=HANDOVER)
            assert relay.attached
            measured("worker stopped: another relay attached", monotonic() - asked)
            result = await unmanned.settled(started)
    _assert_finished(result, started)


async def test_killed_while_the_prompt_is_on_its_way(pair: Pair, unmanned: Deployment, measured: Measured) -> None:
    """Its request is delivered after its death: it must be found, and nothing be sent again."""
    pair.gate.hold_requests(PROMPT)
    async with pair.first(unmanned) as first:
        started = await unmanned.start("hello")
        held = await pair.gate.next_held()
        async with pair.second(unmanned):
            await first.kill()
            killed = monotonic()
            held.deliver()
            pair.gate.let_pass()
            result = await unmanned.settled(started)
            measured("worker killed in submit, prompt delivered: settled", monotonic() - killed)
    _assert_finished(result, started)


async def test_killed_before_the_prompt_got_through(pair: Pair, unmanned: Deployment, measured: Measured) -> None:
    """It is lost with its sender: confirmed absent for the whole budget, it is sent once more."""
    pair.gate.hold_requests(PROMPT)
    async with pair.first(unmanned) as first:
        started = await unmanned.start("hello", limits=short(accept_budget=3))
        held = await pair.gate.next_held()
        async with pair.second(unmanned):
            await first.kill()
            killed = monotonic()
            held.drop()
            pair.gate.let_pass()
            result = await unmanned.settled(started)
            measured("worker killed in submit, prompt lost: settled (budget 3 s)", monotonic() - killed)
    _assert_finished(result, started)


async def test_killed_before_it_heard_the_answer(pair: Pair, unmanned: Deployment) -> None:
    pair.gate.hold_answers(PROMPT)
    async with pair.first(unmanned) as first:
        started = await unmanned.start("hello")
        held = await pair.gate.next_held()
        async with pair.second(unmanned):
            await first.kill()
            held.drop()
            result = await unmanned.settled(started)
    _assert_finished(result, started)


async def relay_of(deployment: Deployment, *, attempt: int, within: float = 30.0) -> RelayStatus:
    """The relay, once this attempt (or a later one) is attached."""
    snapshot = await until(
        lambda: deployment.keeper.endpoint(deployment.endpoint),
        lambda seen: seen.relay is not None and seen.relay.attached and seen.relay.attempt >= attempt,
        deadline=within,
    )
    assert snapshot.relay is not None
    return snapshot.relay


def _assert_finished(result: TurnResult, started: StartedTurn) -> None:
    assert started.result is not None
    assert result.turn_id == started.result.turn_id
    assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED, woken_by=ANY_LOOK)


async def _late(deployment: Deployment, result: TurnResult) -> float:
    """Seconds from the answer's end in OpenCode to the settlement."""
    assert result.session_id is not None
    messages = await deployment.session(result.session_id).messages()
    ended = datetime.fromtimestamp(messages[-1]["info"]["time"]["completed"] / 1000, UTC)
    return (result.outcome.completed_at - ended).total_seconds()
