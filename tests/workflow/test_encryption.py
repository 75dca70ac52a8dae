"""Encryption on a real Temporal: nothing of a conversation is kept in clear, and a missing key loses nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pytest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from tests.e2e.waiting import until
from tests.encryption import NEW, OLD, all_that_is_kept, client_of, ring
from tests.workflow.scripted_provider import RUNNING, Held, answered, asks
from tests.workflow.stage import QUICK, Stage, new_thread, replayer, result_of
from turnkeeper.connection import refuse_unreadable
from turnkeeper.encryption_keys import KeyRing
from turnkeeper.errors import EncryptionError, RefusedError, ServiceUnavailableError
from turnkeeper.failures import to_application_error
from turnkeeper.messages import thread_workflow_id
from turnkeeper.vocabulary import Reason

PROMPT: Final = "Prompt-of-Ada: fix the failing test"
WAITING: Final = "Waiting-of-Ada: and then the next"
ANSWER: Final = "Answer-to-Ada: it was an off-by-one"
TITLE: Final = "Title-for-Ada: git push"
WHY: Final = "Why-of-Ada: wrong branch"
MISHAP: Final = "Mishap-of-Ada: boom"
LIVELY: Final = QUICK.model_copy(
    update={"look_interval": timedelta(seconds=0.2), "look_interval_max": timedelta(seconds=0.4)}
)
"""No relay runs here that would wake a turn."""

SAID: Final = tuple(text.partition(":")[0].encode() for text in (PROMPT, WAITING, ANSWER, TITLE, WHY, MISHAP))


async def stage_of(server: Stage, keys: KeyRing | None, like: Stage | None = None) -> Stage:
    """A process with these keys; `like`: on the queue of another, with its provider."""
    stage = Stage(await client_of(server.client, keys), like.queue if like else None)
    stage.provider = like.provider if like else stage.provider
    return stage


async def conversation(stage: Stage) -> str:
    """A thread in which everything was said: prompts, a request, an answer, a stop, an error."""
    thread = new_thread()
    running = Held(RUNNING)
    stage.provider.says("look", asks(TITLE), running, answered(ANSWER))
    stage.provider.says("abort", ApplicationError(MISHAP))
    await stage.start(thread, PROMPT, limits=LIVELY)
    turn = stage.turn_of(thread)
    await until(lambda: stage.keeper.turn(thread), lambda turn: turn.open_requests)
    await stage.start(thread, WAITING, limits=LIVELY)
    await turn.signal("interrupt", {"why": WHY})
    running.released.set()
    await result_of(turn)
    await stage.keeper.resume_queue(thread)
    settled = await stage.settled_thread(thread, turns=2)
    assert settled.recent[-1].reason is Reason.FINISHED
    assert (await stage.keeper.result(thread)).outcome.text == ANSWER
    return thread


async def kept_of(stage: Stage, thread: str) -> bytes:
    async def listed() -> bytes:
        return await all_that_is_kept(stage.client, f"TurnkeeperThread = '{thread}'")

    return await until(listed, lambda kept: kept.count(thread.encode()) > 3)


async def test_nothing_that_was_said_is_kept_in_clear(empty_stage: Stage) -> None:
    stage = await stage_of(empty_stage, ring())
    async with stage.worker_up():
        thread = await conversation(stage)
    kept = await kept_of(stage, thread)
    assert [text for text in SAID if text in kept] == []
    await stage.assert_replays()


async def test_the_same_without_encryption_is_all_there(empty_stage: Stage) -> None:
    """So that the test above can fail."""
    stage = await stage_of(empty_stage, None)
    async with stage.worker_up():
        thread = await conversation(stage)
    kept = await kept_of(stage, thread)
    assert [text for text in SAID if text not in kept] == []


async def test_what_the_ui_shows_is_for_those_with_the_key(empty_stage: Stage) -> None:
    stage = await stage_of(empty_stage, ring())
    async with stage.worker_up():
        thread = await conversation(stage)
        described = await stage.turn_of(thread).describe()
        assert (await described.static_summary()) == WAITING
        stranger = await stage_of(empty_stage, None, stage)
        with pytest.raises(EncryptionError, match=f"{OLD}.*encryption is off in this process"):
            await stranger.keeper.thread(thread)
        with pytest.raises(EncryptionError, match=f"{OLD}.*does not have it"):
            await (await stage_of(empty_stage, ring(NEW), stage)).keeper.result(thread)


async def test_a_refusal_is_told_to_who_asked_and_to_nobody_else(empty_stage: Stage) -> None:
    stage = await stage_of(empty_stage, ring())
    no = RefusedError("The directory /srv/Ada does not exist.", code="no_directory", next_step="Make it.")
    stage.provider.says("admit", to_application_error(no))
    thread = new_thread()
    async with stage.worker_up():
        with pytest.raises(RefusedError) as refused:
            await stage.start(thread, PROMPT, limits=LIVELY)
    assert (str(refused.value), refused.value.detail_code) == (str(no), "no_directory")
    kept = await kept_of(stage, thread)
    assert b"/srv/Ada" not in kept
    assert b"no_directory" in kept, "error codes are what operators search for"


async def test_a_key_is_rotated_while_a_thread_lives(empty_stage: Stage) -> None:
    before = await stage_of(empty_stage, ring(OLD, NEW))
    thread = new_thread()
    async with before.worker_up():
        await before.start(thread, PROMPT, limits=LIVELY)
        await before.settled_thread(thread)
    after = await stage_of(empty_stage, ring(NEW, OLD), before)
    async with after.worker_up():
        await after.start(thread, WAITING, limits=LIVELY)
        settled = await after.settled_thread(thread, turns=2)
        assert [turn.prompt_start for turn in settled.recent] == [PROMPT, WAITING]
    kept = await kept_of(after, thread)
    assert OLD.encode() in kept
    assert NEW.encode() in kept
    await after.assert_replays()


async def test_encryption_is_switched_on_under_a_thread_that_lives(empty_stage: Stage) -> None:
    before = await stage_of(empty_stage, None)
    thread = new_thread()
    async with before.worker_up():
        await before.start(thread, PROMPT, limits=LIVELY)
        await before.settled_thread(thread)
    after = await stage_of(empty_stage, ring(), before)
    async with after.worker_up():
        await after.start(thread, WAITING, limits=LIVELY)
        await after.settled_thread(thread, turns=2)
    kept = await kept_of(after, thread)
    assert PROMPT.encode() in kept, "what was written stays as it was"
    assert WAITING.encode() not in kept
    await after.assert_replays()


@pytest.mark.parametrize("keys", [None, ring(NEW)], ids=["off", "another key"])
async def test_a_worker_without_the_key_says_so_and_loses_nothing(empty_stage: Stage, keys: KeyRing | None) -> None:
    """The SDK would drop a signal that it cannot convert; here the whole task waits for a worker that can."""
    stage = await stage_of(empty_stage, ring())
    thread = new_thread()
    await stage.request(thread, stage.prompt(PROMPT, limits=LIVELY), timedelta(seconds=2))
    keyless = await stage_of(empty_stage, keys, stage)
    async with keyless.worker_up():
        failed = await until(lambda: _task_failure(empty_stage.client, thread), bool)
    assert "A payload is encrypted with the key '2026-05'" in failed
    assert "Give every worker and client the same keys" in failed
    assert stage.provider.calls == []
    async with stage.worker_up():
        await stage.provider.called("submit")  # after the task's timeout: the worker without the key had it again
        settled = await stage.settled_thread(thread)
    assert [turn.reason for turn in settled.recent] == [Reason.FINISHED]
    assert [request.prompt for request in stage.provider.requests("submit")] == [PROMPT]


async def test_a_worker_without_the_key_tells_a_client_that_has_it(empty_stage: Stage) -> None:
    stage = await stage_of(empty_stage, ring())
    thread = new_thread()
    async with stage.worker_up():
        await stage.start(thread, PROMPT, limits=LIVELY)
        await stage.settled_thread(thread)
    keyless = await stage_of(empty_stage, None, stage)

    async def said() -> str:
        with pytest.raises(ServiceUnavailableError) as unavailable:
            await stage.keeper.turn(thread)
        return str(unavailable.value)

    async with keyless.worker_up():
        await until(
            said, lambda said: "A worker could not answer: A payload is encrypted with the key '2026-05'" in said
        )


async def _task_failure(client: Client, thread: str) -> str:
    """What anybody reads in Temporal of a workflow task that failed."""
    history = await client.get_workflow_handle(thread_workflow_id(thread)).fetch_history()
    texts = [event.workflow_task_failed_event_attributes.failure.message for event in history.events]
    return " ".join(text for text in texts if text)


async def test_a_worker_that_could_not_read_what_is_there_does_not_start(empty_stage: Stage) -> None:
    stage = await stage_of(empty_stage, ring())
    thread = await stage.small_thread(1000)
    workflow_id = thread_workflow_id(thread)
    for keys in (ring(), ring(NEW, OLD)):
        await refuse_unreadable(await client_of(empty_stage.client, keys), workflow_id)
    for stranger in (None, ring(NEW)):
        with pytest.raises(EncryptionError, match=OLD):
            await refuse_unreadable(await client_of(empty_stage.client, stranger), workflow_id)
    await refuse_unreadable(stage.client, "nobody")
    await stage.thread_of(thread).terminate()


async def test_a_history_replays_with_the_key_alone(empty_stage: Stage) -> None:
    stage = await stage_of(empty_stage, ring())
    thread = new_thread()
    async with stage.worker_up():
        await stage.start(thread, PROMPT, limits=LIVELY)
        await stage.settled_thread(thread)
    history = await stage.turn_of(thread).fetch_history()
    for keys, readable in ((ring(), True), (ring(NEW, OLD), True), (ring(NEW), False), (None, False)):
        converter = (await client_of(empty_stage.client, keys)).data_converter
        replayed = await replayer(converter).replay_workflow(history, raise_on_replay_failure=False)
        assert (replayed.replay_failure is None) == readable, replayed.replay_failure


async def test_plain_payloads_can_be_refused(empty_stage: Stage) -> None:
    """Whoever writes to Temporal without a key is not heard; nor does the thread take harm."""
    stage = await stage_of(empty_stage, ring(accepts_plain=False))
    thread = new_thread()
    async with stage.worker_up():
        await stage.start(thread, PROMPT, limits=LIVELY)
        await stage.settled_thread(thread)
        intruder = await stage_of(empty_stage, None, stage)
        given = await intruder.start(thread, WAITING, limits=LIVELY, accept_timeout=1)
        assert given.kept
        assert [request.prompt for request in stage.provider.requests("submit")] == [PROMPT]
        assert "refuses such" in await _task_failure(empty_stage.client, thread)
    await stage.thread_of(thread).terminate()
