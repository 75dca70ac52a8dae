"""Bad input is refused at the door: a clear error, nothing started by halves, nothing left open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from tests.e2e.bare_session import BareSession
from tests.e2e.turns.deployment import Deployment, assert_ended, new_thread
from tests.e2e.turns.prompts import SHORT, plan, slow_text
from tests.e2e.waiting import until
from turnkeeper.errors import RefusedError
from turnkeeper.limits import MAX_PROMPT_BYTES, MAX_PROMPT_CHARACTERS
from turnkeeper.messages import thread_workflow_id, turn_workflow_id
from turnkeeper.sizes import encoded
from turnkeeper.thread_messages import ThreadInput, ThreadState
from turnkeeper.vocabulary import EvidenceKind, Fault, OnBusy, Reason, TurnState

REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "empty prompt": ({"prompt": ""}, "invalid_input", "prompt"),
    "blank prompt": ({"prompt": " \n\t"}, "invalid_input", "prompt"),
    "huge prompt": ({"prompt": "x" * (MAX_PROMPT_CHARACTERS + 1)}, "invalid_input", "prompt"),
    "half a character": ({"prompt": "\ud800"}, "invalid_input", "prompt"),
    "unknown endpoint": ({"endpoint": "nowhere"}, "unknown_endpoint", "nowhere"),
    "malformed endpoint": ({"endpoint": "No Where"}, "invalid_input", "endpoint"),
    "unknown model": ({"model": "scripted/other"}, "unknown_model", "scripted/other"),
    "malformed model": ({"model": "scripted"}, "invalid_input", "model"),
    "unknown agent": ({"agent": "nobody"}, "unknown_agent", "nobody"),
    "missing directory": ({"directory": "{root}/nothing-here"}, "no_directory", "does not exist"),
    "a file as directory": ({"directory": "{root}/a-file"}, "no_directory", "does not exist"),
    "relative directory": ({"directory": "here"}, "bad_directory", "not absolute"),
    "directory outside": ({"directory": "/"}, "directory_outside_roots", "outside"),
    "way out": ({"directory": "{root}/.."}, "directory_outside_roots", "outside"),
    "link out": ({"directory": "{root}/a-link"}, "directory_outside_roots", "outside"),
    "directory with a zero byte": ({"directory": "{root}/\0"}, "bad_directory", "zero byte"),
    "directory with a long name": ({"directory": "/" + "x" * 300}, "no_directory", "does not exist"),
    "directory in a circle": ({"directory": "{root}/a-circle/below"}, "no_directory", "does not exist"),
    "malformed thread": ({"thread_id": "a/b"}, "invalid_input", "thread_id"),
}


@pytest.fixture(scope="module")
def traps(root: Path) -> Iterator[Path]:
    """Removed at the end: pytest's own cleaning fails on a circle of links."""
    links = {root / "a-link": Path("/"), root / "a-circle": root / "a-circle"}
    (root / "a-file").touch()
    for link, target in links.items():
        link.symlink_to(target)
    yield root
    for link in links:
        link.unlink()


@pytest.mark.parametrize("name", REFUSED)
async def test_a_bad_start_is_refused(deployment: Deployment, traps: Path, name: str) -> None:
    changed, code, word = REFUSED[name]
    thread = new_thread()
    arguments: dict[str, Any] = {
        "thread_id": thread,
        "prompt": "hello",
        "endpoint": deployment.endpoint,
        "directory": str(deployment.directory),
        "limits": SHORT,
    } | changed
    arguments["directory"] = arguments["directory"].replace("{root}", str(traps))
    with pytest.raises(RefusedError) as refused:
        await deployment.keeper.start_turn(**arguments)
    assert refused.value.detail_code == code, refused.value
    assert word in str(refused.value)
    assert len(str(refused.value)) < 1000
    assert await _open(deployment, thread) == []


async def test_an_unknown_thread(deployment: Deployment) -> None:
    for ask in (deployment.keeper.thread, deployment.keeper.turn, deployment.keeper.interrupt):
        with pytest.raises(RefusedError) as refused:
            await ask("no-such-thread")
        assert refused.value.detail_code == "not_found"
    with pytest.raises(RefusedError):
        await deployment.keeper.start_turn("no-such-thread", "hello")


async def test_a_thread_keeps_its_directory_and_rejects_when_asked_to(
    deployment: Deployment, cold_workspace: Path
) -> None:
    started = await deployment.start(plan(slow_text(20)))
    await deployment.until_running(started)
    with pytest.raises(RefusedError) as wrong:
        await deployment.start("hello", thread=started.thread_id, directory=cold_workspace)
    assert wrong.value.detail_code == "wrong_directory"
    with pytest.raises(RefusedError) as busy:
        await deployment.keeper.start_turn(started.thread_id, "hello", on_busy=OnBusy.REJECT)
    assert busy.value.detail_code == "thread_busy"
    with pytest.raises(RefusedError) as another:
        await deployment.keeper.interrupt(started.thread_id, "t9")
    assert another.value.detail_code == "not_running"
    assert (await deployment.keeper.thread(started.thread_id)).active is not None
    await deployment.keeper.interrupt(started.thread_id)
    await deployment.settled(started)


async def test_a_session_of_another_directory(deployment: Deployment, cold_workspace: Path) -> None:
    """Found out before the prompt leaves, by the turn: its session is read there anyway."""
    foreign = await BareSession.create(deployment.truth, cold_workspace)
    thread = new_thread()
    carried = ThreadState(session_id=foreign.id)
    await deployment.keeper.temporal.start_workflow(
        "Thread",
        ThreadInput(
            thread_id=thread, endpoint=deployment.endpoint, directory=str(deployment.directory), carried=carried
        ),
        id=thread_workflow_id(thread),
        task_queue=deployment.endpoint,
    )
    started = await deployment.start("hello", thread=thread)
    outcome = (await deployment.keeper.wait(started)).outcome
    kind = EvidenceKind.COMMAND
    assert_ended(outcome, TurnState.ERROR, Reason.PROMPT_REJECTED, kind=kind, woken_by=(None,))
    assert outcome.failure is not None
    assert (outcome.failure.code, outcome.failure.fault) == ("foreign_directory", Fault.CALLER)
    assert await foreign.messages() == []


async def test_the_largest_prompt_that_is_allowed(deployment: Deployment) -> None:
    """As many bytes and as many characters as there may be, through Temporal and OpenCode."""
    character = "\N{HIRAGANA LETTER A}"
    prompt = character * MAX_PROMPT_CHARACTERS
    assert encoded(prompt) == MAX_PROMPT_BYTES
    result = await deployment.run(prompt)
    assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED)
    assert character in result.outcome.text


async def _open(deployment: Deployment, thread: str) -> list[str]:
    """Which of the thread's workflows still run, once a refused one had the time to end."""
    ids = (thread_workflow_id(thread), turn_workflow_id(thread))

    async def running() -> list[str]:
        return [workflow_id for workflow_id in ids if await _runs(deployment.keeper.temporal, workflow_id)]

    return await until(running, lambda found: not found, deadline=5)


async def _runs(temporal: Client, workflow_id: str) -> bool:
    try:
        description = await temporal.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return description.status is WorkflowExecutionStatus.RUNNING
