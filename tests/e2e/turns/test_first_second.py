"""A prompt's first second: accepted, and the status still says idle. Nothing may settle there, no stop may be lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.e2e.turns.deployment import Deployment, assert_ended, deployed
from tests.e2e.turns.gate import Gate
from tests.e2e.turns.prompts import DONE, bash, plan, short, slow_text
from tests.e2e.waiting import stays, until_true
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.messages import Outcome, TurnResult
from turnkeeper.vocabulary import EvidenceKind, Reason, TurnState, Wake

STAYS_QUIET = 3.0
"""Seconds to watch the sessions after their turns were stopped: more than twice what OpenCode needs to begin."""

DELAYS = (0.0, 0.05, 0.2, 0.4, 0.8, 1.5)
"""Seconds between the prompt's leaving and the stop: a lost abort needs one that arrives before the run is known."""

PATIENT = short(interrupt_grace=60, deadline=150)
"""On a machine that is busy with cold instances an abort alone may take longer than its call's bound of 7 s. The
promise here is that no stop is lost, not how fast it is."""


def fresh_directories(base: Path, count: int) -> list[Path]:
    found = [base / f"cold-{number}" for number in range(count)]
    for directory in found:
        directory.mkdir()
    return found


async def test_idle_before_the_run_settles_nothing(deployment: Deployment, tmp_path: Path) -> None:
    # Ten looks a second, so that many fall into the window.
    hasty = short(look_interval=0.1, look_interval_max=0.1)
    prompt = plan(bash("sleep 0.3"), DONE)
    results = await asyncio.gather(
        *(deployment.run(prompt, directory=directory, limits=hasty) for directory in fresh_directories(tmp_path, 2))
    )
    for result in results:
        assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED, woken_by=(Wake.EVENT, Wake.TIMER))
        assert result.outcome.text == "all done"
        assert result.outcome.tool_calls == 1


async def test_a_stop_in_a_cold_directory_is_never_lost(deployment: Deployment, tmp_path: Path) -> None:
    places = zip(fresh_directories(tmp_path, len(DELAYS)), DELAYS, strict=True)
    # Not all at once: that would only measure how slowly cold instances begin.
    gate = asyncio.Semaphore(4)

    async def one(directory: Path, delay: float) -> tuple[TurnResult, Path]:
        async with gate:
            return await _stopped_after(deployment, directory, delay), directory

    stopped = await asyncio.gather(*(one(directory, delay) for directory, delay in places))
    await _nothing_runs_afterwards(deployment, stopped)


async def test_a_stop_in_a_warm_directory_is_never_lost(deployment: Deployment, workspace: Path) -> None:
    stopped = await asyncio.gather(*(_stopped_after(deployment, workspace, delay) for delay in DELAYS[:5]))
    await _nothing_runs_afterwards(deployment, [(result, workspace) for result in stopped])


async def test_a_stop_at_once_sends_nothing_or_stops_it(deployment: Deployment, workspace: Path) -> None:
    started = await deployment.start(plan(slow_text(30)))
    answer = await deployment.keeper.interrupt(started.thread_id)
    result = await deployment.keeper.wait(started)
    prompts = await deployment.prompts_of(result)
    _assert_stopped(result.outcome, sent=bool(prompts))
    assert answer.outcome == result.outcome
    await _nothing_runs_afterwards(deployment, [(result, workspace)])


@pytest.mark.parametrize("lost", [1, 2])
async def test_aborts_that_came_before_the_prompt_are_repeated(
    own_temporal: Client, opencode: OpenCodeServer, workspace: Path, root: Path, lost: int
) -> None:
    """The prompt is still on its way while OpenCode answers `true` to aborts of nothing: they are lost for certain."""
    async with (
        Gate.before(opencode.port) as gate,
        deployed(own_temporal, opencode, directory=workspace, root=root, url=gate.url) as deployment,
    ):
        gate.hold_requests("/prompt_async")
        started = await deployment.start(plan(slow_text(30)), limits=PATIENT)
        held = await gate.next_held()
        stopping = asyncio.create_task(deployment.keeper.interrupt(started.thread_id))
        await until_true(lambda: _aborts(gate) >= lost)
        held.deliver()
        assert (await stopping).confirmed
        assert _aborts(gate) > lost
        result = await deployment.settled(started)
        _assert_stopped(result.outcome, sent=True)
        await _nothing_runs_afterwards(deployment, [(result, workspace)])


def _aborts(gate: Gate) -> int:
    return sum("/abort" in line for line in gate.seen)


async def _stopped_after(deployment: Deployment, directory: Path, delay: float) -> TurnResult:
    started = await deployment.start(plan(slow_text(30)), directory=directory, limits=PATIENT)
    await deployment.until_turn(started, lambda turn: turn.delivery != "unsent")
    await asyncio.sleep(delay)
    answer = await deployment.keeper.interrupt(started.thread_id)
    result = await deployment.keeper.wait(started)
    assert answer.confirmed, (delay, answer)
    prompts = await deployment.prompts_of(result)
    assert len(prompts) <= 1
    _assert_stopped(result.outcome, sent=bool(prompts))
    return result


def _assert_stopped(outcome: Outcome, *, sent: bool) -> None:
    if sent or outcome.evidence.kind is EvidenceKind.SNAPSHOT:
        wakes = (Wake.STOP, Wake.EVENT, Wake.TIMER)
        assert_ended(outcome, TurnState.INTERRUPTED, Reason.STOPPED, woken_by=wakes)
    else:
        kind = EvidenceKind.COMMAND
        assert_ended(outcome, TurnState.INTERRUPTED, Reason.STOPPED, kind=kind, woken_by=(None,))
    assert outcome.confirmed is True, outcome


async def _nothing_runs_afterwards(deployment: Deployment, stopped: list[tuple[TurnResult, Path]]) -> None:
    sessions = [deployment.session(result.session_id, directory) for result, directory in stopped if result.session_id]

    async def quiet() -> None:
        for session in sessions:
            assert await session.status() == "none"
            assert len(await session.messages()) <= 2

    await stays(quiet, seconds=STAYS_QUIET)
