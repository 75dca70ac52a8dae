"""What is too big is refused with its size, by whoever it comes; the biggest that is taken goes all the way."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.client import WithStartWorkflowOperation, WorkflowUpdateFailedError
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError

from tests.e2e.waiting import until
from tests.workflow.scripted_provider import Held, answered
from tests.workflow.stage import DIRECTORY, ENDPOINT, Stage, new_thread
from turnkeeper.errors import RefusedError
from turnkeeper.limits import MAX_ANSWER_CHARACTERS, MAX_PROMPT_BYTES, MAX_PROMPT_CHARACTERS, MAX_RULES_BYTES
from turnkeeper.messages import PermissionRule, thread_workflow_id
from turnkeeper.vocabulary import PolicyAction, Reason

COLOURED = "\x1b"
"""A control character: six bytes of JSON, as in the output of a terminal."""


def rules(number: int) -> tuple[PermissionRule, ...]:
    return tuple(PermissionRule(permission="p" * 500, target="t" * 500, action=PolicyAction.ASK) for _ in range(number))


@pytest.mark.parametrize(
    ("given", "size", "limit"),
    [
        ({"prompt": "x" * (MAX_PROMPT_CHARACTERS + 1)}, MAX_PROMPT_CHARACTERS + 1, MAX_PROMPT_CHARACTERS),
        ({"prompt": COLOURED * 200_000}, 1_200_002, MAX_PROMPT_BYTES),
        ({"prompt": "Go", "permissions": rules(80)}, "rules", MAX_RULES_BYTES),
        ({"prompt": "Go", "permissions": rules(101)}, 101, 100),
        ({"prompt": "Go", "directory": "/" + "d" * 5000}, 5001, 4096),
        ({"prompt": "Go", "idempotency_key": "k" * 201}, 201, 200),
    ],
    ids=["characters", "bytes", "rules", "number of rules", "directory", "key"],
)
async def test_a_start_that_is_too_big_is_refused_before_it_is_sent(
    empty_stage: Stage, given: dict[str, Any], size: object, limit: int
) -> None:
    start = {"endpoint": ENDPOINT, "directory": DIRECTORY, **given}
    with pytest.raises(RefusedError) as refused:
        await empty_stage.keeper.start_turn(new_thread(), start.pop("prompt"), **start)
    assert str(size) in refused.value.message
    assert str(limit) in refused.value.message
    assert refused.value.next_step
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("prompt", ["x" * (MAX_PROMPT_CHARACTERS + 1), COLOURED * 200_000], ids=["characters", "bytes"])
async def test_plain_json_from_somebody_else_is_refused_in_the_same_words(stage: Stage, prompt: str) -> None:
    thread = new_thread()
    with pytest.raises(WorkflowUpdateFailedError) as failed:
        await stage.client.execute_update_with_start_workflow(
            "start_turn",
            {"prompt": prompt, "idempotency_key": "one"},
            start_workflow_operation=WithStartWorkflowOperation(
                "Thread",
                stage.thread_input(thread),
                id=thread_workflow_id(thread),
                task_queue=stage.queue,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            ),
        )
    refusal = failed.value.cause
    assert isinstance(refusal, ApplicationError)
    assert "are allowed" in refusal.message
    assert len(refusal.message) < 300
    assert (refusal.type, refusal.non_retryable) in {("invalid_input", True), ("too_big", True)}
    shown = await stage.keeper.thread(thread)
    assert (shown.active, shown.queued, shown.recent) == (None, (), ())


async def test_a_kept_start_that_is_too_big_shows_among_the_refusals(stage: Stage) -> None:
    stage.provider.says("look", Held(answered("done")))
    thread = new_thread()
    await stage.start(thread)
    handle = stage.client.get_workflow_handle(thread_workflow_id(thread))
    await handle.signal("request_turn", {"prompt": COLOURED * 200_000, "idempotency_key": "big"})
    shown = await until(lambda: stage.keeper.thread(thread), lambda shown: bool(shown.refusals))
    assert [refusal.idempotency_key for refusal in shown.refusals] == ["big"]
    assert "1200002" in shown.refusals[0].message


async def test_answers_that_are_too_big_are_refused_before_they_are_sent(empty_stage: Stage) -> None:
    page = "x" * MAX_ANSWER_CHARACTERS
    with pytest.raises(RefusedError, match=r"answers have \d+ bytes together; \d+ are allowed"):
        await empty_stage.keeper.answer(new_thread(), "que_1", answers=[[page] * 10])


async def test_the_biggest_prompt_is_taken_queued_and_carried_on(stage: Stage) -> None:
    """Through the server's own limits: as update, signal, child input and in the next run of the thread."""
    biggest = "\u6f22" * (MAX_PROMPT_BYTES // 3)
    first = Held(answered("first"))
    stage.provider.says("look", first, answered("second"))
    thread = new_thread()
    await stage.start(thread)
    second = await stage.start(thread, prompt=biggest, permissions=rules(60))
    with pytest.raises(RefusedError, match=r"would have \d+ (bytes|characters) together"):
        await stage.start(thread, prompt=biggest)
    first.released.set()
    result = await stage.keeper.wait(second)
    assert (result.outcome.reason, result.outcome.text) == (Reason.FINISHED, "second")


async def test_a_queue_full_of_rules_is_refused_by_its_bytes(stage: Stage) -> None:
    """Fifty short prompts with a hundred rules each are five megabytes, and travel in one payload."""
    first = Held(answered("first"))
    stage.provider.says("look", first, answered("next"))
    thread = new_thread()
    await stage.start(thread)
    for _ in range(13):
        await stage.start(thread, permissions=rules(60))
    with pytest.raises(RefusedError, match=r"would have \d+ bytes together, rules included") as refused:
        await stage.start(thread, permissions=rules(60))
    assert refused.value.detail_code == "queue_full"
    assert len((await stage.keeper.thread(thread)).queued) == 13
    await stage.client.get_workflow_handle(thread_workflow_id(thread)).cancel()
