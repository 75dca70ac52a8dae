"""What a turn does in its first workflow task, and what a task that is lost may have done.

Turns that were begun with local calls sent their prompt in it; they go on so, and nothing is sent blindly again.
"""

from __future__ import annotations

import pytest

from tests.e2e.waiting import until_true
from tests.workflow.scripted_provider import ABORTED, RUNNING, Held, answered
from tests.workflow.stage import Stage, TurnHandle, events_of, new_thread, outcome_of
from turnkeeper.messages import Interrupt
from turnkeeper.observations import Accepted, PerhapsSent
from turnkeeper.vocabulary import EvidenceKind, Reason
from workflows.turn import TurnWorkflow


async def test_the_first_prompt_of_a_new_session_is_sent_without_a_look(skipping_stage: Stage) -> None:
    thread = new_thread()
    await skipping_stage.start(thread)
    await skipping_stage.start(thread)
    await skipping_stage.settled_thread(thread, turns=2)
    assert [request.fresh_session for request in skipping_stage.provider.requests("submit")] == [True, False]


async def test_no_call_of_a_turn_is_local(skipping_stage: Stage) -> None:
    """A local call's end may be told otherwise in a replay, and the turn is then stuck for ever."""
    thread = new_thread()
    await skipping_stage.start(thread)
    await skipping_stage.settled_thread(thread)
    assert "marker_recorded" not in await events_of(skipping_stage.turn_of(thread))


async def with_local_calls(stage: Stage) -> TurnHandle:
    """As turns were begun before."""
    return await stage.turn(session_id="ses_new", session_is_new=True, local_calls=True)


@pytest.mark.parametrize("found", [Accepted(), PerhapsSent(taken=True)], ids=["had arrived", "had not arrived"])
async def test_a_lost_first_task_sends_the_same_prompt_after_looking_for_it(
    skipping_stage: Stage, monkeypatch: pytest.MonkeyPatch, found: Accepted | PerhapsSent
) -> None:
    """The first try delivers the prompt and dies before anybody knows."""
    _lose_first_task_after_submit(monkeypatch)
    skipping_stage.provider.says("submit", PerhapsSent(taken=True), found).says("look", answered())
    turn = await with_local_calls(skipping_stage)
    assert (await outcome_of(turn)).reason is Reason.FINISHED
    sent, again = skipping_stage.provider.requests("submit")
    assert (sent.fresh_session, again.fresh_session) == (True, False)
    assert (sent.session_id, sent.message_id) == (again.session_id, again.message_id)
    assert "activity_task_scheduled" in await events_of(turn), "it runs at most once"


async def test_a_stop_does_not_believe_that_the_lost_first_task_sent_nothing(
    skipping_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent works on the prompt of the lost try; nobody may be told that nothing had been sent."""
    provider = skipping_stage.provider
    _lose_first_task_after_submit(monkeypatch)
    sending = Held(PerhapsSent(taken=True))
    provider.says("submit", sending).says("look", lambda _: ABORTED if provider.count("abort") else RUNNING)
    turn = await with_local_calls(skipping_stage)
    await until_true(lambda: provider.count("submit") == 1)
    await turn.signal("interrupt", Interrupt(why="enough"))
    sending.released.set()
    outcome = await outcome_of(turn)
    assert (outcome.reason, outcome.confirmed) == (Reason.STOPPED, True)
    assert outcome.evidence.kind is EvidenceKind.SNAPSHOT
    assert provider.count("submit") == 1
    assert provider.count("abort") == 1


def _lose_first_task_after_submit(monkeypatch: pytest.MonkeyPatch) -> None:
    submit = TurnWorkflow._submit  # noqa: SLF001 - a fault put inside
    lost: list[str] = []

    async def submit_and_die(self: TurnWorkflow, *, anew: bool) -> None:
        await submit(self, anew=anew)
        if not lost:
            lost.append("once")
            # Not a failure type of the workflow, so the task fails and is repeated.
            raise RuntimeError("the worker died here")

    monkeypatch.setattr(TurnWorkflow, "_submit", submit_and_die)
