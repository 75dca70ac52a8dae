"""Giving prompts to a thread: the same one twice, ones that are refused, ones that are kept until a worker is up."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from temporalio.client import WorkflowExecutionStatus

from tests.e2e.waiting import DEADLINE, until
from tests.workflow.scripted_provider import HANGS, Held, answered
from tests.workflow.stage import DIRECTORY, ENDPOINT, Stage, events_of, new_thread
from turnkeeper.errors import RefusedError, ServiceUnavailableError
from turnkeeper.failures import to_application_error
from turnkeeper.limits import TurnLimits
from turnkeeper.thread_messages import ThreadSnapshot
from turnkeeper.vocabulary import SessionStatus, TurnState
from workflows import calls

NO_DIRECTORY = to_application_error(RefusedError("The directory /srv/shop does not exist.", code="no_directory"))


async def ended(stage: Stage, thread: str) -> ThreadSnapshot:
    """The last words of a thread that ends by itself."""
    async with asyncio.timeout(DEADLINE):
        return await stage.thread_of(thread).result()


# The same prompt twice.


async def test_the_same_key_again_is_the_same_turn_while_it_runs_and_when_it_is_over(skipping_stage: Stage) -> None:
    stage, thread, look = skipping_stage, new_thread(), Held(answered())
    stage.provider.says("look", look)
    first = await stage.start(thread, idempotency_key="k")
    during = await stage.start(thread, idempotency_key="k")
    look.released.set()
    await stage.settled_thread(thread)
    after = await stage.start(thread, idempotency_key="k")
    assert {started.result.turn_id for started in (first, during, after) if started.result} == {"t1"}
    assert (await stage.keeper.wait(after)).turn_id == "t1"
    assert [started.result.repeated for started in (first, during, after) if started.result] == [False, True, True]
    assert stage.provider.count("submit") == 1


async def test_a_known_key_with_another_prompt_is_refused_and_starts_nothing(skipping_stage: Stage) -> None:
    stage, thread = skipping_stage, new_thread()
    await stage.start(thread, "Fix the test", idempotency_key="k")
    with pytest.raises(RefusedError, match="with another prompt") as refused:
        await stage.start(thread, "Delete the test", idempotency_key="k")
    assert refused.value.detail_code == "key_reused"
    assert len((await stage.settled_thread(thread)).recent) == 1


async def test_the_same_key_many_times_at_once_is_one_turn(skipping_stage: Stage) -> None:
    stage, thread = skipping_stage, new_thread()
    starts = [stage.start(thread, idempotency_key="k") for _ in range(5)]
    twins = [stage.request(thread, stage.prompt(key="k")) for _ in range(3)]
    started, _ = await asyncio.gather(asyncio.gather(*starts), asyncio.gather(*twins))
    assert {start.result.turn_id for start in started if start.result} == {"t1"}
    assert len((await stage.settled_thread(thread)).recent) == 1
    assert stage.provider.count("submit") == 1


async def test_a_known_key_is_answered_even_when_a_new_prompt_would_be_refused(skipping_stage: Stage) -> None:
    stage, thread = skipping_stage, new_thread()
    await stage.start(thread, idempotency_key="k")
    await stage.settled_thread(thread)
    stage.provider.says("admit", NO_DIRECTORY)
    await stage.request(thread, stage.prompt(key="k"))
    with pytest.raises(RefusedError):
        await stage.start(thread)
    settled = await stage.keeper.thread(thread)
    assert (len(settled.recent), settled.last_error) == (1, None)


# Refusals.


async def test_a_refused_first_start_leaves_no_thread_behind(skipping_stage: Stage) -> None:
    stage, thread = skipping_stage, new_thread()
    stage.provider.says("admit", NO_DIRECTORY)
    with pytest.raises(RefusedError, match="does not exist") as refused:
        await stage.start(thread)
    assert refused.value.detail_code == "no_directory"
    last = await ended(stage, thread)
    assert (last.status, last.recent) == (SessionStatus.IDLE, ())
    stage.provider.forget("admit")
    started = await stage.start(thread)
    assert started.result is not None
    assert started.result.turn_id == "t1", "the id is free for a thread that works"


async def test_a_refused_first_request_says_why_and_leaves_no_thread_behind(skipping_stage: Stage) -> None:
    stage, thread = skipping_stage, new_thread()
    stage.provider.says("admit", NO_DIRECTORY)
    await stage.request(thread, stage.prompt())
    assert (await ended(stage, thread)).last_error == "The directory /srv/shop does not exist."


async def test_a_first_start_for_another_endpoint_leaves_no_thread_behind(skipping_stage: Stage) -> None:
    stage, thread = skipping_stage, new_thread()
    await stage.request(thread, stage.prompt(endpoint="another"))
    assert "another" in ((await ended(stage, thread)).last_error or "")


async def test_a_refusal_does_not_change_a_thread_that_has_turns(skipping_stage: Stage) -> None:
    stage, thread = skipping_stage, new_thread()
    await stage.start(thread)
    before = await stage.settled_thread(thread)
    stage.provider.says("admit", NO_DIRECTORY)
    with pytest.raises(RefusedError):
        await stage.start(thread)
    assert await stage.keeper.thread(thread) == before
    description = await stage.thread_of(thread).describe()
    assert description.status is WorkflowExecutionStatus.RUNNING


@pytest.mark.parametrize(
    ("told", "code"),
    [({"endpoint": "another"}, "wrong_endpoint"), ({"directory": "/srv/other"}, "wrong_directory")],
)
async def test_a_thread_stays_with_its_endpoint_and_directory(
    skipping_stage: Stage, told: dict[str, str], code: str
) -> None:
    stage, thread = skipping_stage, new_thread()
    await stage.start(thread)
    where = {"endpoint": ENDPOINT, "directory": DIRECTORY, **told}
    with pytest.raises(RefusedError, match="Use another thread") as refused:
        await stage.keeper.start_turn(thread, "Go on", endpoint=where["endpoint"], directory=where["directory"])
    assert refused.value.detail_code == code


async def test_a_refused_request_shows_as_the_last_error(skipping_stage: Stage) -> None:
    stage, thread = skipping_stage, new_thread()
    await stage.start(thread)
    await stage.settled_thread(thread)
    await stage.request(thread, stage.prompt(directory="/srv/other"))
    after = await until(lambda: stage.keeper.thread(thread), lambda now: now.last_error is not None)
    assert "/srv/other" in (after.last_error or "")
    assert after.status is SessionStatus.READY


async def test_a_check_that_no_worker_finishes_is_an_error_and_not_the_end_of_the_thread(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "ADMIT", replace(calls.ADMIT, limit=calls.ADMIT.limit / 40))
    thread = new_thread()
    await stage.start(thread)
    stage.provider.says("admit", HANGS)
    with pytest.raises(ServiceUnavailableError, match="could not be checked") as unavailable:
        await stage.start(thread)
    assert unavailable.value.detail_code == "not_admitted"
    await stage.request(thread, stage.prompt())
    await until(lambda: stage.keeper.thread(thread), lambda now: "not be checked" in (now.last_error or ""))
    stage.provider.forget("admit")
    again = await stage.start(thread)
    assert again.result is not None
    assert again.result.turn_id == "t2"


# Kept until a worker is up.


async def test_a_prompt_given_while_no_worker_is_up_is_kept_and_runs_when_one_is(empty_stage: Stage) -> None:
    stage, thread = empty_stage, new_thread()
    kept = await stage.start(thread, "one", accept_timeout=1)
    assert kept.kept
    also_kept = await stage.start(thread, "two", accept_timeout=1)
    async with stage.worker_up():
        await stage.provider.called("submit")
        await until(lambda: stage.keeper.thread(thread), lambda now: len(now.queued) == 1)
        active = (await stage.keeper.thread(thread)).active
        assert active is not None
        assert (active.idempotency_key, active.state) == (kept.idempotency_key, TurnState.RUNNING)
        assert (await stage.keeper.thread(thread)).queued[0].idempotency_key == also_kept.idempotency_key
    assert [request.prompt for request in stage.provider.requests("submit")] == ["one"]


async def test_a_kept_prompt_can_be_repeated_with_its_key(empty_stage: Stage) -> None:
    stage, thread = empty_stage, new_thread()
    kept = await stage.start(thread, accept_timeout=1)
    async with stage.worker_up():
        again = await stage.start(thread, idempotency_key=kept.idempotency_key)
        assert again.result is not None
        assert again.result.turn_id == "t1"
        await until(lambda: stage.keeper.thread(thread), lambda now: not now.queued)
    assert stage.provider.count("submit") <= 1


async def test_a_running_turn_goes_on_with_the_worker_that_takes_over(empty_stage: Stage) -> None:
    stage, thread = empty_stage, new_thread()
    async with stage.worker_up():
        started = await stage.start(thread, limits=TurnLimits(look_interval=timedelta(seconds=1)))
        await stage.provider.called("submit")
    async with stage.worker_up():
        result = await stage.keeper.wait(started)
    assert result.outcome.state is TurnState.COMPLETED
    assert stage.provider.count("submit") == 1


async def test_what_is_given_beside_a_turn_is_checked_where_history_keeps_the_order(stage: Stage) -> None:
    """A local check that ends as the turn does would be replayed in another order, and the thread be stuck."""
    look = Held(answered())
    stage.provider.says("look", look, answered())
    thread = new_thread()
    await stage.start(thread)
    assert "activity_task_scheduled" not in await events_of(stage.thread_of(thread)), "the first costs one event"
    await stage.start(thread)
    assert (await events_of(stage.thread_of(thread))).count("activity_task_scheduled") == 1
    look.released.set()
    await stage.settled_thread(thread, turns=2)
