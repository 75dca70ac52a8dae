"""Encryption with real servers: what a thief of Temporal's database has of a turn, with keys and without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest
from temporalio.client import Client

from tests.e2e.turns.deployment import Deployment, assert_ended, deployed, new_thread
from tests.e2e.turns.prompts import DONE, Step, bash, plan
from tests.e2e.turns.worker_process import worker_process
from tests.e2e.waiting import until
from tests.encryption import NEW, OLD, all_that_is_kept, client_of, line, ring
from turnkeeper.dev.errors import ProcessFailedError
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.dev.processes import SupervisedProcess
from turnkeeper.encryption_keys import KEYS, KeyRing
from turnkeeper.messages import endpoint_workflow_id
from turnkeeper.vocabulary import Reason, TurnState

PROMPT: Final = "Prompt-of-Ada"
COMMAND: Final = "echo Command-of-Ada"
ANSWER: Final = "Answer-to-Ada"
SAY: Final[Step] = {"kind": "text", "say": ANSWER}


async def kept_after_turns(deployment: Deployment) -> bytes:
    """Everything that Temporal keeps after a turn that ended well, one that failed, and their endpoint's relay."""
    thread = new_thread()
    started = await deployment.start(f"{PROMPT} {plan(bash(COMMAND), SAY)}", thread=thread)
    result = await deployment.settled(started)
    assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED)
    assert result.outcome.text == ANSWER
    refused: Step = {"kind": "http", "status": 400, "message": "Mishap-of-Ada"}
    failed = await deployment.settled(await deployment.start(f"{PROMPT} {plan(refused)}", thread=thread))
    assert failed.outcome.state is TurnState.ERROR
    query = f"TurnkeeperThread = '{thread}' OR WorkflowId = '{endpoint_workflow_id(deployment.endpoint)}'"

    async def kept() -> bytes:
        return await all_that_is_kept(deployment.keeper.temporal, query)

    return await until(kept, lambda kept: kept.count(thread.encode()) > 3)


def secrets_of(opencode: OpenCodeServer) -> list[str]:
    return [opencode.password, opencode.base_url, opencode.base_url.removeprefix("http://")]


def found(kept: bytes, texts: Sequence[str]) -> list[str]:
    return [text for text in texts if text.encode() in kept]


@pytest.mark.parametrize("keys", [None, ring()], ids=["plain", "encrypted"])
async def test_what_temporal_keeps_of_a_turn(
    own_temporal: Client, opencode: OpenCodeServer, workspace: Path, root: Path, keys: KeyRing | None
) -> None:
    client = await client_of(own_temporal, keys)
    async with deployed(client, opencode, directory=workspace, root=root) as deployment:
        kept = await kept_after_turns(deployment)
    said = [PROMPT, ANSWER, "Mishap-of-Ada", str(workspace)]
    assert found(kept, said) == ([] if keys else said)
    assert found(kept, secrets_of(opencode)) == []


async def test_a_worker_process_with_the_wrong_key_does_not_start_and_one_with_the_right_key_takes_over(
    own_temporal: Client,
    opencode: OpenCodeServer,
    workspace: Path,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, name, thread = await client_of(own_temporal, ring(OLD, NEW)), "sealed", new_thread()
    async with deployed(client, opencode, directory=workspace, root=root, name=name) as first:
        await first.settled(await first.start(f"{PROMPT} {plan(DONE)}", thread=thread))
    async with deployed(client, opencode, directory=workspace, root=root, name=name, run_worker=False) as deployment:
        monkeypatch.setenv(KEYS, line(NEW))
        said = await _refusal(worker_process(deployment, opencode, root, tmp_path / "wrong.log"))
        assert f"with the key '{OLD}', and this process does not have it. Give every worker" in said
        monkeypatch.delenv(KEYS)
        said = await _refusal(worker_process(deployment, opencode, root, tmp_path / "off.log"))
        assert f"with the key '{OLD}', and encryption is off in this process. Give every worker" in said
        monkeypatch.setenv(KEYS, f"{line(NEW)},{line(OLD)}")
        right = worker_process(deployment, opencode, root, tmp_path / "right.log")
        await right.start()
        try:
            again = await deployment.start(f"{PROMPT} {plan(SAY)}", thread=thread)
            assert (await deployment.settled(again)).outcome.text == ANSWER
        finally:
            await right.stop()


async def _refusal(process: SupervisedProcess) -> str:
    """The one line of a worker that does not start."""
    with pytest.raises(ProcessFailedError, match="code 2"):
        await process.start()
    said = process.log.path.read_text()
    (line,) = (line for line in said.splitlines() if line.startswith("turnkeeper worker: "))
    assert "Traceback" not in said
    return line
