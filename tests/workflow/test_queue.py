"""A thread's queue: held after a person's stop, edited while it waits, overtaken by who will not wait."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.e2e.waiting import until
from tests.workflow.scripted_provider import ABORTED, RUNNING, Held, ScriptedProvider, answered, stands
from tests.workflow.stage import QUICK, Stage, new_thread
from turnkeeper.commands import RemoveQueued, ResumeQueue, SendNow
from turnkeeper.errors import RefusedError
from turnkeeper.messages import Interrupt
from turnkeeper.thread_messages import ThreadSnapshot
from turnkeeper.vocabulary import OnBusy, Reason, Standing


def runs_until_abort(provider: ScriptedProvider, *then: Any) -> None:  # noqa: ANN401 - any answers
    """Each turn runs until it is aborted; after the first abort, looks give `then`, if anything."""
    after = list(then)

    def look(_: object) -> Any:  # noqa: ANN401 - an observation
        aborts = provider.count("abort")
        if aborts < provider.count("submit"):
            return after[0] if after and aborts else RUNNING
        return ABORTED

    provider.says("look", look)


async def queued(stage: Stage, *prompts: str) -> str:
    """A thread whose first prompt runs until it is stopped, the others behind it."""
    thread = new_thread()
    for prompt in prompts:
        await stage.start(thread, prompt, limits=QUICK)
    await stage.provider.called("submit")
    return thread


def sent(stage: Stage) -> list[str]:
    return [request.prompt for request in stage.provider.requests("submit")]


def waiting(thread: ThreadSnapshot) -> list[str]:
    return [turn.prompt_start for turn in thread.queued]


async def test_what_waits_behind_a_stopped_turn_is_untouched_and_held(stage: Stage) -> None:
    runs_until_abort(stage.provider, answered())
    thread = await queued(stage, "one", "two", "three")
    stopped = await stage.keeper.interrupt(thread)
    assert stopped.confirmed
    assert ([turn.turn_id for turn in stopped.queued], stopped.held) == (["t2", "t3"], True)
    held = await stage.keeper.thread(thread)
    assert (held.held, waiting(held), held.active) == (True, ["two", "three"], None)
    assert sent(stage) == ["one"]
    again = await stage.keeper.interrupt(thread)
    assert (again.was_running, again.held) == (False, True), "a second stop has nothing to stop"
    assert (await stage.keeper.resume_queue(thread)).held is False
    await stage.settled_thread(thread, turns=3)
    assert sent(stage) == ["one", "two", "three"]


async def test_the_next_prompt_lets_a_held_queue_go_on_and_takes_its_place_in_it(stage: Stage) -> None:
    runs_until_abort(stage.provider, answered())
    thread = await queued(stage, "one", "two")
    await stage.keeper.interrupt(thread)
    await stage.start(thread, "three", limits=QUICK)
    await stage.settled_thread(thread, turns=3)
    assert sent(stage) == ["one", "two", "three"]


async def test_a_turn_that_ends_by_itself_holds_nothing(stage: Stage) -> None:
    first = Held(stands(Standing.ABORTED))
    stage.provider.says("look", first, answered())
    thread = await queued(stage, "one", "two")
    first.released.set()
    settled = await stage.settled_thread(thread, turns=2)
    assert [turn.reason for turn in settled.recent] == [Reason.ABORTED_ELSEWHERE, Reason.FINISHED]


async def test_a_removed_prompt_is_handed_back_however_often_one_asks(stage: Stage) -> None:
    runs_until_abort(stage.provider, answered())
    thread = await queued(stage, "one", "two", "three")
    removed = await stage.keeper.remove_queued(thread, "t2")
    assert (removed.removed.start.prompt, [turn.turn_id for turn in removed.queued]) == ("two", ["t3"])
    assert (await stage.keeper.remove_queued(thread, "t2")).removed.start.prompt == "two"
    with pytest.raises(RefusedError, match="runs already"):
        await stage.keeper.remove_queued(thread, "t1")
    with pytest.raises(RefusedError, match="No turn t9"):
        await stage.keeper.remove_queued(thread, "t9")
    await stage.keeper.interrupt(thread)
    await stage.keeper.resume_queue(thread)
    settled = await stage.settled_thread(thread, turns=3)
    assert sent(stage) == ["one", "three"]
    assert (settled.recent[0].turn_id, settled.recent[0].reason) == ("t2", Reason.REMOVED)


async def test_who_waits_for_a_turn_that_is_removed_is_told(stage: Stage) -> None:
    runs_until_abort(stage.provider)
    thread = await queued(stage, "one")
    second = await stage.start(thread, "two", limits=QUICK)
    waiting_for_it = asyncio.create_task(stage.keeper.wait(second))
    await stage.keeper.remove_queued(thread, "t2")
    with pytest.raises(RefusedError, match="removed"):
        await waiting_for_it
    await stage.keeper.interrupt(thread)


async def test_a_waiting_turn_sent_now_stops_the_running_one_and_keeps_the_others_in_order(stage: Stage) -> None:
    runs_until_abort(stage.provider, answered())
    thread = await queued(stage, "one", "two", "three", "four")
    now = await stage.keeper.send_now(thread, "t3")
    assert now.stopped is not None
    assert now.stopped.confirmed
    assert now.turn.run_id
    again = await stage.keeper.send_now(thread, "t3")
    assert again.stopped is None, "a turn that has begun stops nothing, least of all itself"
    await stage.settled_thread(thread, turns=4)
    assert sent(stage) == ["one", "three", "two", "four"]
    with pytest.raises(RefusedError, match="No turn t9"):
        await stage.keeper.send_now(thread, "t9")


async def test_a_held_turn_sent_now_runs_and_the_rest_follows(stage: Stage) -> None:
    runs_until_abort(stage.provider, answered())
    thread = await queued(stage, "one", "two", "three")
    await stage.keeper.interrupt(thread)
    assert (await stage.keeper.send_now(thread, "t3")).stopped is None
    await stage.settled_thread(thread, turns=3)
    assert sent(stage) == ["one", "three", "two"]


async def test_a_prompt_that_interrupts_runs_after_a_confirmed_stop_before_what_waits(stage: Stage) -> None:
    runs_until_abort(stage.provider, answered())
    thread = await queued(stage, "one", "two")
    start = {"on_busy": OnBusy.INTERRUPT, "limits": QUICK, "idempotency_key": "urgent"}
    urgent = await stage.start(thread, "urgent", **start)
    assert urgent.result is not None
    assert urgent.result.position == 1
    settled = await stage.settled_thread(thread, turns=3)
    assert sent(stage) == ["one", "urgent", "two"]
    assert [(turn.turn_id, turn.reason, turn.confirmed) for turn in settled.recent] == [
        ("t1", Reason.STOPPED, True),
        ("t3", Reason.FINISHED, None),
        ("t2", Reason.FINISHED, None),
    ]
    aborts = stage.provider.count("abort")
    repeated = (await stage.start(thread, "urgent", **start)).result
    assert repeated is not None
    assert repeated.turn_id == "t3"
    assert stage.provider.count("abort") == aborts


async def test_a_repeated_stop_does_not_reach_the_next_turn(stage: Stage) -> None:
    """The first answer was lost, and meanwhile somebody let the queue go on."""
    runs_until_abort(stage.provider)
    thread = await queued(stage, "one", "two")
    first = await stage.keeper.interrupt(thread, idempotency_key="stop 1")
    await stage.keeper.resume_queue(thread)
    await stage.provider.called("submit", times=2)
    again = await stage.keeper.interrupt(thread, idempotency_key="stop 1")
    assert (again.turn_id, again.outcome) == ("t1", first.outcome)
    await stage.thread_of(thread).signal("request_interrupt", Interrupt(idempotency_key="stop 1"))
    active = (await stage.keeper.thread(thread)).active
    assert active is not None
    assert active.turn_id == "t2"
    await stage.keeper.interrupt(thread)


async def test_a_prompt_given_while_a_stop_is_confirmed_goes_on_after_it(stage: Stage) -> None:
    abort = Held()
    stage.provider.says("abort", abort).says("look", ABORTED)
    thread = await queued(stage, "one", "two")
    stopping = asyncio.create_task(stage.keeper.interrupt(thread))
    await stage.provider.called("abort")
    stage.provider.says("look", ABORTED, answered())
    await stage.start(thread, "three", limits=QUICK)
    abort.released.set()
    assert (await stopping).held is False
    await stage.settled_thread(thread, turns=3)
    assert sent(stage) == ["one", "two", "three"]


async def test_edits_given_while_no_worker_is_up_are_kept_and_done(empty_stage: Stage) -> None:
    stage = empty_stage
    runs_until_abort(stage.provider, answered())
    async with stage.worker_up():
        thread = await queued(stage, "one", "two", "three", "four")
        await stage.keeper.interrupt(thread)
    handle = stage.thread_of(thread)
    await handle.signal("request_remove_queued", RemoveQueued(turn_id="t2"))
    await handle.signal("request_send_now", SendNow(turn_id="t4"))
    await handle.signal("request_remove_queued", RemoveQueued(turn_id="t2"))
    await handle.signal("request_resume_queue", ResumeQueue())
    async with stage.worker_up():
        await stage.settled_thread(thread, turns=4)
        assert sent(stage) == ["one", "four", "three"]
        assert (await stage.keeper.remove_queued(thread, "t2")).removed.start.prompt == "two"


async def test_a_held_queue_survives_continue_as_new(stage: Stage) -> None:
    runs_until_abort(stage.provider, answered())
    thread = await stage.small_thread(60)
    for number in range(3):
        await stage.start(thread, f"prompt {number}", limits=QUICK)
    await stage.provider.called("submit")
    await stage.keeper.interrupt(thread)
    run = (await stage.thread_of(thread).describe()).run_id
    for _ in range(12):
        await stage.keeper.interrupt(thread)  # fills the history; nothing runs
    await until(stage.thread_of(thread).describe, lambda now: now.run_id != run)
    held = await stage.keeper.thread(thread)
    assert (held.held, waiting(held)) == (True, ["prompt 1", "prompt 2"])
    await stage.keeper.resume_queue(thread)
    await stage.settled_thread(thread, turns=3)
