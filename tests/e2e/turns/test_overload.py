"""More prompts than an endpoint may run at once, on the real stack. The scripted model counts who is at work.

`TURNKEEPER_CROWD=200` (with `--timeout=1800`) plays 200 prompts over 40 threads, 8 at once. CI plays
a smaller one.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path
from typing import Final

from temporalio.client import Client

from tests.e2e.turns.conftest import Measured
from tests.e2e.turns.deployment import deployed, new_thread
from tests.e2e.turns.prompts import plan, short, slow_text
from turnkeeper.client import StartedTurn
from turnkeeper.dev.conversation import Purpose
from turnkeeper.dev.model import RecordedCall, ScriptedModel
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.messages import TurnResult
from turnkeeper.settings import WorkerSettings
from turnkeeper.vocabulary import Reason

PROMPTS: Final = int(os.environ.get("TURNKEEPER_CROWD", "12"))
THREADS: Final = max(4, PROMPTS // 5)
LIMIT: Final = 8 if PROMPTS >= 100 else 2

PATIENT: Final = short(deadline=900, stall_timeout=600, unreachable_timeout=600, accept_budget=120, start_budget=120)
"""Clocks for a machine that does many things at once: nothing here is to end by one."""

WITHIN: Final = 60 + 6.0 * PROMPTS
"""Seconds for all of it on a crowded machine; an idle one needs a tenth."""

GROWTH: Final = 200_000_000
"""Bytes by which this process, the worker in it, may grow: a leak of a prompt's history in each would show."""


def most_at_once(calls: list[RecordedCall]) -> int:
    """Model calls under way at the same moment, at most."""
    moments = sorted(
        [(call.started, 1) for call in calls] + [(call.ended, -1) for call in calls if call.ended is not None],
        key=lambda moment: (moment[0], moment[1]),
    )
    now = most = 0
    for _, change in moments:
        now += change
        most = max(most, now)
    return most


def widest_gap(order: list[str]) -> int:
    """Turns that one thread had more than another, at most, while every thread still had prompts that wait."""
    left, had, widest = Counter(order), Counter(dict.fromkeys(order, 0)), 0
    for thread in order:
        had[thread] += 1
        left[thread] -= 1
        if not left[thread]:
            break
        widest = max(widest, max(had.values()) - min(had.values()))
    return widest


def resident() -> int:
    """Bytes of memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def test_a_crowd_of_prompts_runs_a_few_at_a_time_and_each_thread_in_turn(
    own_temporal: Client,
    opencode: OpenCodeServer,
    scripted_model: ScriptedModel,
    workspace: Path,
    root: Path,
    measured: Measured,
) -> None:
    loop = asyncio.get_running_loop()
    names = [new_thread() for _ in range(THREADS)]
    async with deployed(own_temporal, opencode, directory=workspace, root=root, max_running_turns=LIMIT) as deployment:
        before, began = resident(), loop.time()
        started: list[StartedTurn] = []
        for number in range(PROMPTS):
            prompt = f"{number} {plan(slow_text(0.5))}"
            started.append(await deployment.start(prompt, thread=names[number % THREADS], limits=PATIENT))
        given = loop.time() - began

        async def of_thread(number: int) -> list[TurnResult]:
            """One after the other: who waits asks twice a second, and two hundred who wait keep a worker busy."""
            return [await deployment.settled(one, within=WITHIN) for one in started[number::THREADS]]

        per_thread = await asyncio.gather(*(of_thread(number) for number in range(THREADS)))
        results = [result for thread in per_thread for result in thread]
        took = loop.time() - began
        places = (await deployment.keeper.endpoint(deployment.endpoint)).places
        grown = resident() - before
    assert [result.outcome.reason for result in results] == [Reason.FINISHED] * PROMPTS
    sessions = {result.session_id for result in results}
    assert len(sessions) == THREADS
    calls = [
        call for call in scripted_model.requests if call.call.purpose is Purpose.TURN and call.call.session in sessions
    ]
    assert len(calls) == PROMPTS, "each prompt was worked on once"
    assert most_at_once(calls) <= LIMIT
    assert widest_gap([call.call.session or "" for call in sorted(calls, key=lambda call: call.started)]) <= 2
    assert places is not None
    assert places.waiting == 0
    assert grown < GROWTH
    measured(f"{PROMPTS} prompts over {THREADS} threads, {LIMIT} at once, given", given)
    measured(f"the same, all settled, most at once {most_at_once(calls)}, worker grew {grown // 1_000_000} MB,", took)


async def test_a_worker_with_the_fewest_slots_is_slow_and_drops_nothing(
    own_temporal: Client, opencode: OpenCodeServer, workspace: Path, root: Path, measured: Measured
) -> None:
    """Two activities at once, of which the relay is one for ever, and two workflow tasks."""
    fewest = WorkerSettings(max_concurrent_activities=2, max_concurrent_workflow_tasks=2, workflow_pollers=2)
    many = max(8, PROMPTS * 3 // 10)
    loop = asyncio.get_running_loop()
    async with deployed(own_temporal, opencode, directory=workspace, root=root, worker=fewest) as deployment:
        began = loop.time()
        started = await asyncio.gather(
            *(deployment.start(f"{number} {plan(slow_text(0.5))}", limits=PATIENT) for number in range(many))
        )
        results = await asyncio.gather(*(deployment.settled(one, within=WITHIN) for one in started))
        took = loop.time() - began
    assert [result.outcome.reason for result in results] == [Reason.FINISHED] * many
    measured(f"{many} turns at once through a worker with the fewest slots", took)
