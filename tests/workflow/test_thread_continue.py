"""A thread that continues as new: between turns only, and nothing that it was given is lost or done twice."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.e2e.waiting import until
from tests.workflow.scripted_provider import Held, answered
from tests.workflow.stage import ENDPOINT, Stage, events_of, new_thread
from turnkeeper.limits import MAX_QUEUED_TURNS, MAX_THREAD_EVENTS
from turnkeeper.vocabulary import Reason

EARLY = 51
"""History events after which these threads continue: two or three turns."""

AT_ONCE = 8
"""Starts under way together: Temporal takes ten updates of one workflow at a time."""


async def run_of(stage: Stage, thread: str) -> str:
    """The thread's present run."""
    return (await stage.thread_of(thread).describe()).run_id or ""


async def test_waiting_prompts_are_carried_over_and_run_in_their_order(skipping_stage: Stage) -> None:
    stage, first = skipping_stage, Held(answered())
    stage.provider.says("look", first, answered())
    thread = await stage.small_thread(EARLY)
    run = await run_of(stage, thread)
    prompts = [f"prompt {number}" for number in range(6)]
    for prompt in prompts:
        await stage.start(thread, prompt)
    first.released.set()
    settled = await stage.settled_thread(thread, turns=6)
    assert await run_of(stage, thread) != run, "it did continue as new"
    assert [request.prompt for request in stage.provider.requests("submit")] == prompts
    assert [turn.turn_id for turn in settled.recent] == [f"t{number}" for number in range(1, 7)]


async def test_everything_a_thread_knows_survives(skipping_stage: Stage) -> None:
    stage = skipping_stage
    thread = await stage.small_thread(EARLY)
    run, count = await run_of(stage, thread), 0
    before = await stage.keeper.thread(thread)
    while await run_of(stage, thread) == run:
        count += 1
        await stage.start(thread, idempotency_key=f"k{count}")
        before = await stage.settled_thread(thread, turns=count)
        assert count < 10, "it never continues"
    assert await stage.keeper.thread(thread) == before
    again = await stage.start(thread, idempotency_key="k1")
    assert again.result is not None
    assert (again.result.turn_id, again.result.repeated) == ("t1", True)
    assert (await stage.keeper.wait(again)).turn_id == "t1"
    assert stage.provider.count("submit") == count
    assert len({request.session_id for request in stage.provider.requests("submit")}) == 1
    listed = await until(lambda: listed_endpoints(stage), lambda known: thread in known)
    assert listed[thread] == ENDPOINT, "search attributes are carried too"


async def listed_endpoints(stage: Stage) -> dict[str, str]:
    return {thread.thread_id: thread.endpoint async for thread in stage.keeper.threads(limit=500) if thread.open}


async def test_starts_that_arrive_at_that_very_moment_run_once_each(skipping_stage: Stage) -> None:
    """Five callers never leave it alone; half of them use the signal twin."""
    stage = skipping_stage
    thread = await stage.small_thread(EARLY)
    run = await run_of(stage, thread)

    async def caller(name: int) -> None:
        for number in range(5):
            key = f"{name}-{number}"
            if name % 2:
                await stage.request(thread, stage.prompt(key, key=key))
            else:
                await stage.start(thread, key, idempotency_key=key)

    await asyncio.gather(*(caller(name) for name in range(5)))
    await stage.settled_thread(thread, turns=20)
    assert await run_of(stage, thread) != run
    sent = Counter(request.prompt for request in stage.provider.requests("submit"))
    assert sent == Counter(f"{name}-{number}" for name in range(5) for number in range(5))


async def test_a_new_thread_is_of_the_usual_size(skipping_stage: Stage) -> None:
    """Threads that people start continue far later: a short turn costs a few dozen events."""
    stage, thread = skipping_stage, new_thread()
    await stage.start(thread)
    await stage.settled_thread(thread)
    run = await run_of(stage, thread)
    for number in range(2, 6):
        await stage.start(thread)
        await stage.settled_thread(thread, turns=number)
    assert await run_of(stage, thread) == run


async def test_a_thread_of_the_usual_size_continues_under_prompts_that_come_faster_than_they_run(
    skipping_stage: Stage,
) -> None:
    stage, thread, turns = skipping_stage, new_thread(), 140
    keys = [f"prompt {number}" for number in range(1, turns + 1)]
    await stage.start(thread, keys[0], idempotency_key=keys[0])
    run = await run_of(stage, thread)
    for first in range(1, turns, AT_ONCE):
        await asyncio.gather(*(stage.start(thread, key, idempotency_key=key) for key in keys[first : first + AT_ONCE]))
        await until(lambda: stage.keeper.thread(thread), lambda now: len(now.queued) + AT_ONCE <= MAX_QUEUED_TURNS)
    settled = await until(lambda: stage.keeper.thread(thread), lambda now: now.active is None and not now.queued)
    assert await run_of(stage, thread) != run, "it did continue as new"
    assert Counter(request.prompt for request in stage.provider.requests("submit")) == Counter(keys)
    assert settled.recent[-1].turn_id == f"t{turns}"
    assert all(turn.reason is Reason.FINISHED for turn in settled.recent)
    assert len(await events_of(stage.thread_of(thread))) < MAX_THREAD_EVENTS + 100, "its history stays bounded"
