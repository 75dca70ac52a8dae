"""An abort that arrives after its turn was given up must not hit the next prompt."""

from __future__ import annotations

from pathlib import Path

from temporalio.client import Client

from tests.e2e.turns.deployment import assert_ended, deployed
from tests.e2e.turns.gate import Gate
from tests.e2e.turns.prompts import plan, short, slow_text
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.vocabulary import Reason, TurnState


async def test_the_next_prompt_waits_for_the_run_that_nobody_could_stop(
    own_temporal: Client, opencode: OpenCodeServer, workspace: Path, root: Path
) -> None:
    """Sent beside it, OpenCode would drop it together with that run (opencode 1.18.33)."""
    async with (
        Gate.before(opencode.port) as gate,
        deployed(own_temporal, opencode, directory=workspace, root=root, url=gate.url) as deployment,
    ):
        started = await deployment.start(plan(slow_text(60)), limits=short(interrupt_grace=6))
        await deployment.until_running(started)
        gate.hold_requests("/abort")
        answer = await deployment.keeper.interrupt(started.thread_id)
        assert not answer.confirmed
        second = await deployment.start("hello", thread=started.thread_id)
        await deployment.until_turn(second, lambda turn: turn.turn_id == "t2" and "not this turn's" in turn.doing)
        gate.let_pass()
        (await gate.next_held()).deliver()
        assert_ended((await deployment.settled(second)).outcome, TurnState.COMPLETED, Reason.FINISHED)
