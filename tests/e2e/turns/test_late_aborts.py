"""An abort that arrives after its turn was given up: it hits the next turn's prompt, which then says the truth."""

from __future__ import annotations

from pathlib import Path

from temporalio.client import Client

from tests.e2e.turns.deployment import assert_ended, deployed
from tests.e2e.turns.gate import Gate
from tests.e2e.turns.prompts import plan, short, slow_text
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.vocabulary import Reason, TurnState, Wake


async def test_the_next_prompt_is_dropped_and_not_called_failed(
    own_temporal: Client, opencode: OpenCodeServer, workspace: Path, root: Path
) -> None:
    async with (
        Gate.before(opencode.port) as gate,
        deployed(own_temporal, opencode, directory=workspace, root=root, url=gate.url) as deployment,
    ):
        started = await deployment.start(plan(slow_text(60)), limits=short(interrupt_grace=6))
        await deployment.until_running(started)
        gate.hold_requests("/abort")
        waiting = await deployment.start("hello", thread=started.thread_id, limits=short(start_budget=4))
        answer = await deployment.keeper.interrupt(started.thread_id)
        assert not answer.confirmed
        # OpenCode keeps the second prompt behind the run that nobody could stop, and drops it with that run.
        await deployment.until_turn(waiting, lambda turn: turn.turn_id == "t2" and turn.delivery == "accepted")
        gate.let_pass()
        (await gate.next_held()).deliver()
        outcome = (await deployment.settled(waiting)).outcome
        assert_ended(outcome, TurnState.ERROR, Reason.PROMPT_DROPPED, woken_by=(Wake.TIMER, Wake.EVENT))
        assert outcome.failure is not None
        assert outcome.failure.retryable
        again = await deployment.settled(await deployment.start("hello", thread=started.thread_id))
        assert_ended(again.outcome, TurnState.COMPLETED, Reason.FINISHED)
