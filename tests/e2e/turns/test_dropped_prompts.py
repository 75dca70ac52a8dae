"""OpenCode stores a prompt and never runs it, as when the connection that brought it breaks during a cold start."""

from __future__ import annotations

from pathlib import Path

from temporalio.client import Client

from tests.e2e.turns.deployment import Deployment, assert_ended, deployed
from tests.e2e.turns.gate import Gate
from tests.e2e.turns.prompts import DONE, bash, plan, short
from tests.e2e.waiting import until
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.messages import TurnSnapshot
from turnkeeper.opencode.identifiers import part_id
from turnkeeper.vocabulary import Reason, TurnState, Wake

PROMPTS = "/prompt_async"


async def test_it_is_taken_out_and_sent_again_and_runs_once(
    own_temporal: Client, opencode: OpenCodeServer, workspace: Path, root: Path
) -> None:
    ran = workspace / "dropped-and-run.txt"
    prompt = plan(bash(f"echo run >> {ran.name}"), DONE)
    async with (
        Gate.before(opencode.port) as gate,
        deployed(own_temporal, opencode, directory=workspace, root=root, url=gate.url) as deployment,
    ):
        gate.hold_requests(PROMPTS)
        started = await deployment.start(prompt, limits=short(start_budget=4, look_interval=1))
        held = await gate.next_held()
        turn = await deployment.until_turn(started, lambda turn: turn.delivery != "unsent")
        await _store_only(deployment, turn, prompt)
        gate.let_pass()
        held.drop()
        result = await deployment.settled(started)
        assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED, woken_by=(Wake.EVENT, Wake.TIMER))
        assert ran.read_text() == "run\n"
        assert sum(PROMPTS in line for line in gate.seen) == 2, "the one that was lost, and one more"
        assert sum("DELETE" in line for line in gate.seen) == 1


async def _store_only(deployment: Deployment, turn: TurnSnapshot, prompt: str) -> None:
    """What OpenCode has of a prompt that it dropped."""
    assert turn.client_message_id is not None
    part = {"type": "text", "text": prompt, "id": part_id(turn.client_message_id)}
    body = {"messageID": turn.client_message_id, "noReply": True, "parts": [part]}
    (await deployment.truth.post(f"/session/{turn.session_id}/message", json=body)).raise_for_status()
    session = deployment.session(turn.session_id or "")
    await until(session.messages, lambda messages: [one["info"]["role"] for one in messages] == ["user"])
