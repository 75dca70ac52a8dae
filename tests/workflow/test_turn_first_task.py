"""A turn's first workflow task sends the prompt itself. When that task is lost, nothing is sent blindly again."""

from __future__ import annotations

import pytest

from tests.e2e.waiting import until_true
from tests.workflow.scripted_provider import ABORTED, RUNNING, Held, answered
from tests.workflow.stage import Stage, events_of, new_thread
from turnkeeper.messages import Interrupt
from turnkeeper.observations import Accepted, PerhapsSent
from turnkeeper.vocabulary import EvidenceKind, Reason
from workflows.turn import TurnWorkflow


async def test_a_first_turn_submits_within_its_first_task_and_without_a_look(skipping_stage: Stage) -> None:
    thread = new_thread()
    await skipping_stage.start(thread)
    await skipping_stage.settled_thread(thread)
    (request,) = skipping_stage.provider.requests("submit")
    assert request.fresh_session
    assert "activity_task_scheduled" not in await events_of(skipping_stage.turn_of(thread))


async def test_a_later_turn_looks_for_its_prompt_before_it_sends(skipping_stage: Stage) -> None:
    thread = new_thread()
    await skipping_stage.start(thread)
    await skipping_stage.start(thread)
    await skipping_stage.settled_thread(thread, turns=2)
    assert [request.fresh_session for request in skipping_stage.provider.requests("submit")] == [True, False]


@pytest.mark.parametrize("found", [Accepted(), PerhapsSent(taken=True)], ids=["had arrived", "had not arrived"])
async def test_a_lost_first_task_sends_the_same_prompt_after_looking_for_it(
    skipping_stage: Stage, monkeypatch: pytest.MonkeyPatch, found: Accepted | PerhapsSent
) -> None:
    """The first try delivers the prompt and dies before anybody knows."""
    _lose_first_task_after_submit(monkeypatch)
    skipping_stage.provider.says("submit", PerhapsSent(taken=True), found).says("look", answered())
    thread = new_thread()
    started = await skipping_stage.start(thread)
    result = await skipping_stage.keeper.wait(started)
    assert result.outcome.reason is Reason.FINISHED
    sent, again = skipping_stage.provider.requests("submit")
    assert (sent.fresh_session, again.fresh_session) == (True, False)
    assert (sent.session_id, sent.message_id) == (again.session_id, again.message_id)
    assert "activity_task_scheduled" in await events_of(skipping_stage.turn_of(thread)), "it runs at most once"


async def test_a_stop_does_not_believe_that_the_lost_first_task_sent_nothing(
    skipping_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent works on the prompt of the lost try; nobody may be told that nothing had been sent."""
    provider = skipping_stage.provider
    _lose_first_task_after_submit(monkeypatch)
    sending = Held(PerhapsSent(taken=True))
    provider.says("submit", sending).says("look", lambda _: ABORTED if provider.count("abort") else RUNNING)
    thread = new_thread()
    started = await skipping_stage.start(thread)
    await until_true(lambda: provider.count("submit") == 1)
    await skipping_stage.turn_of(thread).signal("interrupt", Interrupt(why="enough"))
    sending.released.set()
    outcome = (await skipping_stage.keeper.wait(started)).outcome
    assert (outcome.reason, outcome.confirmed) == (Reason.STOPPED, True)
    assert outcome.evidence.kind is EvidenceKind.SNAPSHOT
    assert provider.count("submit") == 1
    assert provider.count("abort") == 1


def _lose_first_task_after_submit(monkeypatch: pytest.MonkeyPatch) -> None:
    submit = TurnWorkflow._submit  # noqa: SLF001 - a fault put inside
    lost: list[str] = []

    async def submit_and_die(self: TurnWorkflow) -> None:
        await submit(self)
        if not lost:
            lost.append("once")
            # Not a failure type of the workflow, so the task fails and is repeated.
            raise RuntimeError("the worker died here")

    monkeypatch.setattr(TurnWorkflow, "_submit", submit_and_die)
