"""Prompts that go into a running turn, as their thread tells it: steered or queued, never lost, never twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.e2e.waiting import until
from tests.workflow.scripted_provider import ABORTED, RUNNING, SILENT, Held, answered
from tests.workflow.stage import QUICK, Stage, new_thread, tell
from tests.workflow.test_queue import sent
from turnkeeper.client import StartedTurn
from turnkeeper.errors import RefusedError
from turnkeeper.observations import LookRequest, Observation, PerhapsSent, Seen, SessionBusy
from turnkeeper.thread_messages import ThreadSnapshot
from turnkeeper.vocabulary import EventKind, OnBusy, Reason, TurnState


def taken_up(request: LookRequest, reading: Seen) -> Seen:
    """Whatever was steered is stored and answered."""
    return reading.model_copy(update={"steered": request.steers})


def left(request: LookRequest, reading: Seen) -> Seen:
    """Whatever was steered is stored, and nobody takes it up."""
    return reading.model_copy(update={"steered": request.steers, "unanswered": request.steers})


async def running(stage: Stage, look: Callable[[LookRequest], Observation]) -> str:
    """A thread whose turn runs, as looks say."""
    stage.provider.says("look", look)
    thread = new_thread()
    await stage.start(thread, "one", limits=QUICK)
    await stage.provider.called("submit")
    return thread


async def steer(stage: Stage, thread: str, prompt: str = "rather so", **more: str) -> StartedTurn:
    return await stage.start(thread, prompt, on_busy=OnBusy.STEER, limits=QUICK, **more)


def ids(thread: ThreadSnapshot) -> list[str]:
    return [turn.turn_id for turn in thread.queued]


async def test_a_steer_goes_into_the_running_turn_and_ends_with_it(stage: Stage) -> None:
    over = asyncio.Event()
    thread = await running(stage, lambda request: taken_up(request, answered() if over.is_set() else RUNNING))
    started = (await steer(stage, thread)).result
    assert started is not None
    assert (started.turn_id, started.steered, started.state, started.position) == ("t2", True, TurnState.RUNNING, 0)
    now = await stage.keeper.thread(thread)
    assert [(turn.turn_id, turn.steered_into) for turn in now.steering] == [("t2", "t1")]
    over.set()
    await tell(stage.turn_of(thread), EventKind.IDLE)
    settled = await stage.settled_thread(thread, turns=2)
    assert [(turn.turn_id, turn.reason) for turn in settled.recent] == [
        ("t2", Reason.FINISHED),
        ("t1", Reason.FINISHED),
    ]
    assert sent(stage) == ["one", "rather so"]
    first, second = stage.provider.requests("submit")
    assert first.message_id != second.message_id


async def test_the_same_steer_again_is_the_same(stage: Stage) -> None:
    over = asyncio.Event()
    thread = await running(stage, lambda request: taken_up(request, answered() if over.is_set() else RUNNING))
    await steer(stage, thread, idempotency_key="k")
    await stage.thread_of(thread).signal("request_turn", stage.prompt("rather so", "k", on_busy=OnBusy.STEER))
    over.set()
    await tell(stage.turn_of(thread), EventKind.IDLE)
    await stage.settled_thread(thread, turns=2)
    assert sent(stage) == ["one", "rather so"]


async def test_a_steer_that_comes_too_late_is_the_next_turn(stage: Stage) -> None:
    thread = await running(stage, lambda request: taken_up(request, answered()))
    waits = await stage.start(thread, "behind", limits=QUICK)
    started = (await steer(stage, thread)).result
    assert started is not None
    assert started.steered in {False, None}
    await stage.settled_thread(thread, turns=3)
    assert sent(stage) in (["one", "rather so", "behind"], ["one", "behind", "rather so"])
    assert (await stage.keeper.wait(waits)).turn_id == "t2"


async def test_a_steer_that_the_provider_drops_becomes_a_turn_of_its_own(stage: Stage) -> None:
    over = asyncio.Event()

    def look(request: LookRequest) -> Observation:
        return left(request, answered()) if over.is_set() and request.steers else RUNNING

    limits = QUICK.model_copy(update={"start_budget": QUICK.stop_quiet})
    stage.provider.says("look", look)
    thread = new_thread()
    await stage.start(thread, "one", limits=limits)
    await stage.start(thread, "behind", limits=limits)
    await stage.provider.called("submit")
    dropped = await steer(stage, thread)
    over.set()
    await tell(stage.turn_of(thread), EventKind.IDLE)
    await stage.provider.called("submit", times=3)
    now = await stage.keeper.thread(thread)
    assert (now.active is not None and now.active.turn_id, ids(now)) == ("t3", ["t2"]), "before what waited"
    stage.provider.says("look", answered())
    await tell(stage.turn_of(thread), EventKind.IDLE)
    assert (await stage.keeper.wait(dropped)).turn_id == "t3"
    await stage.settled_thread(thread, turns=3)
    assert sent(stage) == ["one", "rather so", "rather so", "behind"]


async def test_a_stop_holds_a_steer_that_was_dropped_with_what_waits(stage: Stage) -> None:
    def look(request: LookRequest) -> Observation:
        return left(request, ABORTED if stage.provider.count("abort") else RUNNING)

    thread = await running(stage, look)
    await stage.start(thread, "behind", limits=QUICK)
    await steer(stage, thread)
    stopped = await stage.keeper.interrupt(thread)
    assert ([turn.turn_id for turn in stopped.queued], stopped.held) == (["t3", "t2"], True)
    stage.provider.says("look", answered())
    await stage.keeper.resume_queue(thread)
    await stage.settled_thread(thread, turns=3)
    assert sent(stage) == ["one", "rather so", "rather so", "behind"]


async def test_a_steer_while_the_turn_is_being_stopped_waits_in_line(stage: Stage) -> None:
    abort = Held()
    stage.provider.says("abort", abort)
    thread = await running(stage, lambda _: ABORTED if stage.provider.count("abort") else RUNNING)
    stopping = asyncio.create_task(stage.keeper.interrupt(thread))
    await stage.provider.called("abort")
    await steer(stage, thread)
    assert sent(stage) == ["one"]
    stage.provider.says("look", ABORTED, answered())
    abort.released.set()
    await stopping
    await stage.settled_thread(thread, turns=2)
    assert sent(stage) == ["one", "rather so"]


async def test_a_provider_that_does_not_answer_gets_no_steer(stage: Stage) -> None:
    thread = await running(stage, lambda _: SILENT)
    started = asyncio.create_task(steer(stage, thread))
    await until(lambda: stage.keeper.thread(thread), lambda now: now.steering)
    await stage.provider.called("look", times=3)
    assert sent(stage) == ["one"]
    over = asyncio.Event()
    stage.provider.says("look", lambda request: taken_up(request, answered() if over.is_set() else RUNNING))
    assert (await started).result is not None
    await stage.provider.called("submit", times=2)
    over.set()
    await tell(stage.turn_of(thread), EventKind.IDLE)
    await stage.settled_thread(thread, turns=2)
    assert sent(stage) == ["one", "rather so"]


async def test_a_steer_given_while_no_worker_is_up_is_kept_and_done(empty_stage: Stage) -> None:
    stage, over = empty_stage, asyncio.Event()
    async with stage.worker_up():
        thread = await running(stage, lambda request: taken_up(request, answered() if over.is_set() else RUNNING))
    await stage.thread_of(thread).signal("request_turn", stage.prompt("rather so", on_busy=OnBusy.STEER))
    async with stage.worker_up():
        await stage.provider.called("submit", times=2)
        over.set()
        await tell(stage.turn_of(thread), EventKind.IDLE)
        settled = await stage.settled_thread(thread, turns=2)
        assert settled.recent[0].steered_into == "t1"


async def test_a_steer_keeps_its_message_id_and_what_was_left_behind_is_withdrawn_before_any_other(
    stage: Stage,
) -> None:
    thread = await running(stage, lambda request: left(request, ABORTED if stage.provider.count("abort") else RUNNING))
    await stage.start(thread, "behind", limits=QUICK)
    await steer(stage, thread)
    await stage.keeper.interrupt(thread)
    stage.provider.says("look", answered())
    await stage.keeper.send_now(thread, "t2")
    await stage.settled_thread(thread, turns=3)
    one, steered, behind, again = stage.provider.requests("submit")
    assert (again.prompt, again.message_id) == ("rather so", steered.message_id)
    assert [one.withdraw, steered.withdraw, behind.withdraw] == [(), (), (steered.message_id,)]
    assert again.withdraw == (steered.message_id,)


async def test_what_cannot_be_withdrawn_while_the_session_is_busy_waits(stage: Stage) -> None:
    thread = await running(stage, lambda request: left(request, ABORTED if stage.provider.count("abort") else RUNNING))
    await steer(stage, thread)
    await stage.keeper.interrupt(thread)
    stage.provider.says("look", answered())
    stage.provider.says("submit", SessionBusy(session_id="ses_1"), PerhapsSent(taken=True))
    await stage.keeper.resume_queue(thread)
    settled = await stage.settled_thread(thread, turns=2)
    assert settled.recent[-1].reason is Reason.FINISHED
    assert sent(stage) == ["one", "rather so", "rather so", "rather so"], "the middle one found the session busy"


@pytest.mark.parametrize("into", ["t1", "t9"])
async def test_a_steer_for_a_turn_that_does_not_run_is_refused_by_update_and_by_signal(stage: Stage, into: str) -> None:
    thread = await running(stage, lambda _: answered())
    await stage.settled_thread(thread)
    with pytest.raises(RefusedError, match=f"Turn {into} is not the running one"):
        await steer(stage, thread, expected_turn_id=into)
    kept = stage.prompt("rather so", "k", on_busy=OnBusy.STEER, expected_turn_id=into)
    await stage.thread_of(thread).signal("request_turn", kept)
    now = await until(lambda: stage.keeper.thread(thread), lambda now: now.refusals)
    assert [(note.idempotency_key, into in note.message) for note in now.refusals] == [("k", True)]
    assert sent(stage) == ["one"]


async def test_a_steer_for_a_turn_that_is_being_stopped_is_refused(stage: Stage) -> None:
    abort = Held()
    stage.provider.says("abort", abort)
    thread = await running(stage, lambda _: ABORTED if stage.provider.count("abort") else RUNNING)
    stopping = asyncio.create_task(stage.keeper.interrupt(thread))
    await stage.provider.called("abort")
    with pytest.raises(RefusedError, match="Turn t1 is being stopped"):
        await steer(stage, thread, expected_turn_id="t1")
    abort.released.set()
    assert (await stopping).queued == ()


async def test_a_steer_for_one_turn_that_ends_before_it_could_go_in_is_refused_and_can_be_had_back(
    stage: Stage,
) -> None:
    thread = await running(stage, lambda _: SILENT)
    starting = asyncio.create_task(steer(stage, thread, expected_turn_id="t1", idempotency_key="k"))
    await until(lambda: stage.keeper.thread(thread), lambda now: now.steering)
    stage.provider.says("look", answered())
    await tell(stage.turn_of(thread), EventKind.IDLE)
    with pytest.raises(RefusedError, match="did not take the prompt"):
        await starting
    now = await stage.settled_thread(thread, turns=2)
    assert {turn.turn_id: turn.reason for turn in now.recent} == {
        "t1": Reason.FINISHED,
        "t2": Reason.PROMPT_REJECTED,
    }
    assert [note.idempotency_key for note in now.refusals] == ["k"]
    assert (await stage.keeper.remove_queued(thread, "t2")).removed.start.prompt == "rather so"
    with pytest.raises(RefusedError, match="did not take the prompt"):
        await steer(stage, thread, expected_turn_id="t1", idempotency_key="k")
    assert sent(stage) == ["one"]
