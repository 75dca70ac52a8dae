"""The client: every error says what happened and what to do, and nothing is lost when nobody answers."""

from __future__ import annotations

import asyncio
import gc
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError, RPCStatusCode

from tests.e2e.waiting import until
from tests.workflow.scripted_provider import ABORTED, HANGS, RUNNING, Held, answered
from tests.workflow.stage import DIRECTORY, ENDPOINT, Stage, new_thread
from turnkeeper import client as client_module
from turnkeeper.asking import explaining
from turnkeeper.client import Turnkeeper
from turnkeeper.errors import RefusedError, ServiceUnavailableError, TurnkeeperError
from turnkeeper.failures import to_application_error
from turnkeeper.limits import MAX_PROMPT_CHARACTERS, TurnLimits
from turnkeeper.vocabulary import Reason


async def test_a_start_is_answered_waited_for_and_read_back(skipping_stage: Stage) -> None:
    skipping_stage.provider.says("look", answered("42"))
    thread = new_thread()
    started = await skipping_stage.start(thread)
    result = await skipping_stage.keeper.wait(started)
    assert (result.outcome.reason, result.outcome.text) == (Reason.FINISHED, "42")
    assert await skipping_stage.keeper.result(thread) == result
    assert (await skipping_stage.keeper.turn(thread)).outcome == result.outcome


async def test_a_turn_that_waits_in_the_queue_is_waited_for_too(skipping_stage: Stage) -> None:
    look = Held(answered("first"))
    skipping_stage.provider.says("look", look, answered("second"))
    thread = new_thread()
    await skipping_stage.start(thread)
    second = await skipping_stage.start(thread)
    look.released.set()
    assert (await skipping_stage.keeper.wait(second)).outcome.text == "second"


async def test_whoever_waits_for_a_queued_turn_hears_of_the_end_before_it_without_asking_again_and_again(
    skipping_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "QUEUE_POLL", 3600.0)
    look = Held(answered("first"))
    skipping_stage.provider.says("look", look, answered("second"))
    thread = new_thread()
    await skipping_stage.start(thread)
    second = await skipping_stage.start(thread)
    waiting = asyncio.create_task(skipping_stage.keeper.wait(second))
    await skipping_stage.provider.called("look")
    look.released.set()
    assert (await waiting).outcome.text == "second"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": " \n "}, "prompt"),
        ({"prompt": "x" * (MAX_PROMPT_CHARACTERS + 1)}, "prompt"),
        ({"thread_id": "no spaces please"}, "thread_id"),
        ({"endpoint": "Not A Name"}, "endpoint"),
        ({"model": "no-provider"}, "model"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"directory": ""}, "directory"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_bad_input_is_refused_before_anything_is_sent(
    empty_stage: Stage, wrong: dict[str, Any], field: str
) -> None:
    given = {"thread_id": new_thread(), "prompt": "Go", "endpoint": ENDPOINT, "directory": DIRECTORY, **wrong}
    with pytest.raises(RefusedError) as refused:
        await empty_stage.keeper.start_turn(given.pop("thread_id"), given.pop("prompt"), **given)
    assert refused.value.detail_code == "invalid_input"
    assert field in str(refused.value)
    assert len(str(refused.value)) < 300, "it does not repeat what was given"


@pytest.mark.parametrize("ask", ["start_turn", "thread", "turn", "interrupt", "result"])
async def test_what_does_not_exist_is_named(stage: Stage, ask: str) -> None:
    thread = new_thread()
    arguments = (thread, "Go") if ask == "start_turn" else (thread,)
    with pytest.raises(RefusedError, match=thread) as refused:
        await getattr(stage.keeper, ask)(*arguments)
    assert refused.value.detail_code == "not_found"


async def test_a_refusal_of_the_worker_arrives_with_its_code_and_advice(stage: Stage) -> None:
    refusal = RefusedError("There is no endpoint 'scripted'.", code="unknown_endpoint", next_step="Configured: local.")
    stage.provider.says("admit", to_application_error(refusal))
    with pytest.raises(RefusedError) as refused:
        await stage.start(new_thread())
    assert (refused.value.detail_code, refused.value.next_step) == ("unknown_endpoint", "Configured: local.")


async def test_a_turn_that_an_operator_terminated_has_no_result_and_says_so(stage: Stage) -> None:
    stage.provider.says("look", HANGS)
    thread = new_thread()
    started = await stage.start(thread)
    await stage.provider.called("submit")
    await stage.turn_of(thread).terminate("an operator")
    with pytest.raises(TurnkeeperError, match=r"did not end by itself.*Temporal UI"):
        await stage.keeper.wait(started)


async def test_threads_are_listed_newest_first(skipping_stage: Stage) -> None:
    mine = [new_thread() for _ in range(3)]
    for thread in mine:
        await skipping_stage.start(thread)

    async def listed() -> list[str]:
        # Ours alone: threads of other tests have skipped time, and begun in our future.
        return [thread.thread_id async for thread in skipping_stage.keeper.threads() if thread.thread_id in mine]

    assert await until(listed, lambda known: set(mine) <= set(known)) == mine[::-1]


async def test_a_closed_thread_stays_in_the_list_and_can_be_asked(skipping_stage: Stage) -> None:
    thread = new_thread()
    started = await skipping_stage.start(thread)
    await skipping_stage.keeper.wait(started)
    await skipping_stage.keeper.close(thread)

    async def listed() -> list[bool]:
        return [found.open async for found in skipping_stage.keeper.threads() if found.thread_id == thread]

    assert await until(listed, lambda found: found == [False]) == [False]
    asked = await skipping_stage.keeper.thread(thread)
    assert asked.closed
    assert [turn.turn_id for turn in asked.recent] == ["t1"]


async def test_a_command_to_a_closed_thread_says_that_it_has_ended(stage: Stage) -> None:
    """Not that there is none: lists show it."""
    thread = new_thread()
    await stage.keeper.wait(await stage.start(thread))
    await stage.keeper.close(thread)
    with pytest.raises(RefusedError, match=f"Thread '{thread}' has ended") as refused:
        await stage.keeper.interrupt(thread)
    assert refused.value.detail_code == "not_found"


# Nobody answers.


async def test_a_stop_that_no_worker_answers_is_kept_and_done_later(empty_stage: Stage) -> None:
    stage, thread = empty_stage, new_thread()
    stage.provider.says("look", lambda _: ABORTED if stage.provider.count("abort") else RUNNING)
    async with stage.worker_up():
        started = await stage.start(thread)
        await stage.provider.called("submit")
    with pytest.raises(ServiceUnavailableError, match="kept") as unavailable:
        await stage.keeper.interrupt(thread, within=1)
    assert unavailable.value.detail_code == "stop_kept"
    async with stage.worker_up():
        assert (await stage.keeper.wait(started)).outcome.reason is Reason.STOPPED


async def test_a_stop_is_kept_when_temporal_takes_no_update_any_more(
    empty_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after three workflow tasks that went to a frozen worker; seen on a real one."""

    async def refused(*_: object, **__: object) -> None:
        raise RPCError("Workflow Task in failed state.", RPCStatusCode.FAILED_PRECONDITION, b"")

    stage = empty_stage
    stage.provider.says("look", lambda _: ABORTED if stage.provider.count("abort") else RUNNING)
    kept = await stage.start(new_thread(), accept_timeout=0.5)
    monkeypatch.setattr(WorkflowHandle, "execute_update", refused)
    with pytest.raises(ServiceUnavailableError) as unavailable:
        await stage.keeper.interrupt(kept.thread_id, within=5)
    assert unavailable.value.detail_code == "stop_kept"
    async with stage.worker_up():
        assert (await stage.keeper.wait(kept)).outcome.reason is Reason.STOPPED


async def test_a_kept_prompt_leaves_no_error_for_python_to_print(empty_stage: Stage) -> None:
    printed: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: printed.append(context["message"]))
    await empty_stage.start(new_thread(), accept_timeout=0.5)
    await asyncio.sleep(0)
    gc.collect()
    await asyncio.sleep(0)
    assert printed == []


@pytest.mark.parametrize(
    ("status", "said", "words"),
    [
        (RPCStatusCode.UNAVAILABLE, "connection to 10.0.0.7 refused", "The Temporal server does not answer."),
        (
            RPCStatusCode.INVALID_ARGUMENT,
            "no mapping for search attribute TurnkeeperThread",
            "turnkeeper doctor",
        ),
        (RPCStatusCode.FAILED_PRECONDITION, "Workflow Task in failed state.", "No worker answered"),
        (RPCStatusCode.RESOURCE_EXHAUSTED, "slow down", "Temporal answered RESOURCE_EXHAUSTED."),
    ],
)
def test_an_answer_of_temporal_is_said_in_our_words(status: RPCStatusCode, said: str, words: str) -> None:
    with pytest.raises(ServiceUnavailableError) as explained, explaining("thread 'shop'"):
        raise RPCError(said, status, b"")
    assert words in str(explained.value)
    assert "10.0.0.7" not in str(explained.value)


async def test_a_question_that_no_worker_answers_is_an_error_with_advice(
    empty_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "ANSWER_TIMEOUT", 0.5)
    kept = await empty_stage.start(new_thread(), accept_timeout=0.5)
    with pytest.raises(ServiceUnavailableError, match=r"No worker answered.*turnkeeper"):
        await empty_stage.keeper.thread(kept.thread_id)


async def test_a_question_that_died_with_its_worker_is_asked_again(
    empty_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Temporal says CANCELLED then: whoever asked did not cancel anything."""
    ask, broken_off = WorkflowHandle.query, 0

    async def breaks_off_twice(handle: WorkflowHandle[Any, Any], query: str, *, result_type: type) -> object:
        nonlocal broken_off
        if broken_off < 2:
            broken_off += 1
            raise RPCError("context canceled", RPCStatusCode.CANCELLED, b"")
        return await ask(handle, query, result_type=result_type)

    monkeypatch.setattr(WorkflowHandle, "query", breaks_off_twice)
    thread = new_thread()
    async with empty_stage.worker_up():
        started = await empty_stage.start(thread)
        assert (await empty_stage.keeper.thread(thread)).thread_id == started.thread_id
    assert broken_off == 2


async def test_waiting_for_a_kept_prompt_that_is_then_refused_ends_with_the_refusal(empty_stage: Stage) -> None:
    stage, thread = empty_stage, new_thread()
    stage.provider.says("admit", to_application_error(RefusedError("No such directory.", code="no_directory")))
    kept = await stage.start(thread, accept_timeout=0.5)
    async with stage.worker_up():
        with pytest.raises(RefusedError, match="No such directory"):
            await stage.keeper.wait(kept)


async def test_a_kept_prompt_with_the_key_of_another_one_is_not_given_that_ones_result(empty_stage: Stage) -> None:
    stage, thread = empty_stage, new_thread()
    async with stage.worker_up():
        first = await stage.start(thread, "Fix the test", idempotency_key="k")
        await stage.keeper.wait(first)
    kept = await stage.start(thread, "Delete the test", idempotency_key="k", accept_timeout=0.5)
    again = await stage.start(thread, "Fix the test", idempotency_key="k", accept_timeout=0.5)
    assert kept.kept
    async with stage.worker_up():
        with pytest.raises(RefusedError, match="with another prompt") as refused:
            await stage.keeper.wait(kept)
        assert refused.value.detail_code == "key_reused"
        assert (await stage.keeper.wait(again)).turn_id == "t1"
    assert stage.provider.count("submit") == 1


async def test_a_temporal_that_is_down_is_an_error_and_not_a_kept_prompt() -> None:
    nobody = await Client.connect("127.0.0.1:9", lazy=True, data_converter=pydantic_data_converter)
    keeper = Turnkeeper(nobody)
    with pytest.raises(ServiceUnavailableError):
        await keeper.start_turn("shop", "Go", endpoint=ENDPOINT, directory=DIRECTORY, accept_timeout=0.5)
    with pytest.raises(ServiceUnavailableError):
        await keeper.interrupt("shop", within=0.5)


async def test_limits_of_a_start_reach_its_turn(stage: Stage) -> None:
    stage.provider.says("look", RUNNING)
    thread = new_thread()
    await stage.start(thread, limits=TurnLimits(deadline=timedelta(minutes=5)))
    await stage.provider.called("submit")
    turn = await stage.keeper.turn(thread)
    assert turn.deadline_at - turn.started_at == timedelta(minutes=5)
