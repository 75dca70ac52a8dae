"""OpenCode is killed, stays away, comes back, or loses the session. On a server of its own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.e2e.bare_session import BareSession
from tests.e2e.conftest import ASKING_PERMISSIONS
from tests.e2e.turns.conftest import Measured
from tests.e2e.turns.deployment import Deployment, assert_ended, deployed, new_thread
from tests.e2e.turns.prompts import DONE, bash, plan, short, slow_text
from tests.e2e.waiting import until
from turnkeeper.client import StartedTurn
from turnkeeper.continuation import CONTINUE_PROMPT
from turnkeeper.dev.model import ScriptedModel
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.vocabulary import AnswerState, EvidenceKind, OnLost, Reason, SessionStatus, TurnState, Wake

AFTER_RETURN = (Wake.ATTACH, Wake.TIMER, Wake.EVENT)
"""The relay attaches again and makes the turn look, or the turn's own clock was faster; the second reading that a loss
needs comes by the clock."""

PATIENT = short(unreachable_timeout=120, deadline=170)
"""OpenCode is back after 7 s, and after a minute on a crowded machine."""


@pytest.fixture(scope="module")
async def mortal_opencode(
    scripted_model: ScriptedModel, pinned_opencode: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[OpenCodeServer]:
    """To be killed. Every test leaves it running."""
    state = tmp_path_factory.mktemp("mortal-opencode")
    async with OpenCodeServer.hermetic(
        state=state,
        log=state / "opencode.log",
        model_url=scripted_model.base_url,
        permissions=ASKING_PERMISSIONS,
        program=pinned_opencode,
    ) as server:
        yield server


@pytest.fixture(scope="module")
async def doomed(
    temporal_client: Client, mortal_opencode: OpenCodeServer, workspace: Path, root: Path
) -> AsyncIterator[Deployment]:
    async with deployed(temporal_client, mortal_opencode, directory=workspace, root=root) as deployment:
        yield deployment


async def test_killed_in_the_middle_and_restarted(
    doomed: Deployment, mortal_opencode: OpenCodeServer, measured: Measured
) -> None:
    in_text = await doomed.start(plan(slow_text(120)), limits=PATIENT)
    in_tool = await doomed.start(plan(bash("sleep 120"), DONE), limits=PATIENT)
    asking = await doomed.start(plan(bash("echo ask me"), DONE), limits=PATIENT)
    going_on = await doomed.keeper.start_turn(
        new_thread(),
        plan(slow_text(120)),
        endpoint=doomed.endpoint,
        directory=str(doomed.directory),
        limits=PATIENT,
        on_lost=OnLost.CONTINUE,
    )
    goes_on_in = await doomed.until_running(going_on)
    for started in (in_text, in_tool, asking):
        await doomed.until_running(started)
    asked = await doomed.until_turn(asking, lambda turn: turn.state is TurnState.WAITING)
    await mortal_opencode.kill()
    await mortal_opencode.start()
    back = asyncio.get_running_loop().time()
    for started in (in_text, in_tool, asking):
        result = await doomed.settled(started)
        assert_ended(result.outcome, TurnState.INTERRUPTED, Reason.PROVIDER_LOST_TURN, woken_by=AFTER_RETURN)
        assert result.outcome.failure is not None
        assert result.outcome.failure.code == "provider_lost_turn"
        await until(partial(doomed.keeper.thread, started.thread_id), lambda now: now.status is SessionStatus.STOPPED)
    measured("three lost turns settled after OpenCode was back", asyncio.get_running_loop().time() - back)
    await _went_on(doomed, going_on, goes_on_in)
    turn = await doomed.keeper.turn(asking.thread_id)
    assert turn.open_requests == ()
    late = await doomed.keeper.answer(asking.thread_id, asked.open_requests[0].request_id, reject=True)
    assert late.state is AnswerState.STALE
    again = await doomed.settled(await doomed.start("go on", thread=in_text.thread_id))
    # Whether the relay is attached again by then is a matter of a second, and of no matter to the turn.
    assert_ended(again.outcome, TurnState.COMPLETED, Reason.FINISHED, woken_by=AFTER_RETURN)
    assert again.session_id == (await doomed.keeper.result(in_text.thread_id)).session_id


async def _went_on(deployment: Deployment, started: StartedTurn, session: BareSession) -> None:
    """The turn was lost with the others, and its thread went on in the same session, as it was told to."""
    lost = await deployment.settled(started)
    assert_ended(lost.outcome, TurnState.INTERRUPTED, Reason.PROVIDER_LOST_TURN, woken_by=AFTER_RETURN)
    thread = await until(
        lambda: deployment.keeper.thread(started.thread_id), lambda now: now.status is SessionStatus.READY, deadline=60
    )
    assert [(turn.reason, turn.continues) for turn in thread.recent] == [
        (Reason.PROVIDER_LOST_TURN, None),
        (Reason.FINISHED, "t1"),
    ]
    users = [message for message in await session.messages() if message["info"]["role"] == "user"]
    assert [user["parts"][0]["text"] for user in users] == [plan(slow_text(120)), CONTINUE_PROMPT]


async def test_away_for_good_then_back_for_the_next_prompt(doomed: Deployment, mortal_opencode: OpenCodeServer) -> None:
    running = await doomed.start(plan(slow_text(60)), limits=short(unreachable_timeout=5, look_interval=1))
    stopped = await doomed.start(plan(slow_text(60)), limits=short(interrupt_grace=6))
    for started in (running, stopped):
        await doomed.until_running(started)
    await mortal_opencode.kill()
    try:
        unsent = await doomed.start("hello", limits=short(unreachable_timeout=5))
        patient = await doomed.start("hello")
        await _unconfirmed_stop(doomed, stopped)
        await _unreachable(doomed, running, "the agent may still be at work")
        await _unreachable(doomed, unsent, "the prompt was not sent")
    finally:
        await mortal_opencode.start()
    for started in (running, stopped):
        assert len(await doomed.prompts_of(await doomed.keeper.wait(started))) == 1
    result = await doomed.settled(patient)
    # Sent as soon as OpenCode is back, maybe before the relay is attached again: that is of no matter to the turn.
    assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED, woken_by=AFTER_RETURN)
    again = await doomed.settled(await doomed.start("and now?", thread=unsent.thread_id))
    assert_ended(again.outcome, TurnState.COMPLETED, Reason.FINISHED)


async def test_frozen_and_thawed(doomed: Deployment, mortal_opencode: OpenCodeServer) -> None:
    """It answers nothing, keeps every connection open, and afterwards goes on as if nothing had been."""
    goes_on = await doomed.start(plan(slow_text(3)))
    stopped = await doomed.start(plan(slow_text(60)), limits=short(interrupt_grace=6))
    for started in (goes_on, stopped):
        await doomed.until_running(started)
    mortal_opencode.process.signal(signal.SIGSTOP)
    try:
        await _unconfirmed_stop(doomed, stopped)
        next_prompt = await doomed.start("and now?", thread=stopped.thread_id)
    finally:
        mortal_opencode.process.signal(signal.SIGCONT)
    result = await doomed.settled(goes_on)
    assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED, woken_by=AFTER_RETURN)
    again = await doomed.settled(next_prompt)
    assert_ended(again.outcome, TurnState.COMPLETED, Reason.FINISHED, woken_by=AFTER_RETURN)
    assert "and now?" in again.outcome.text


async def test_a_stop_that_was_not_confirmed_is_said_and_done_by_the_next_one(
    doomed: Deployment, mortal_opencode: OpenCodeServer
) -> None:
    started = await doomed.start(plan(slow_text(60)), limits=short(interrupt_grace=6))
    session = await doomed.until_running(started)
    mortal_opencode.process.signal(signal.SIGSTOP)
    try:
        await _unconfirmed_stop(doomed, started)
        not_done = await doomed.keeper.stop_session(started.thread_id)
        assert not not_done.confirmed
        assert (await doomed.keeper.thread(started.thread_id)).status is SessionStatus.STOPPED
    finally:
        mortal_opencode.process.signal(signal.SIGCONT)
    assert (await doomed.keeper.stop_session(started.thread_id)).confirmed
    assert await session.status() == "none"
    thread = await doomed.keeper.thread(started.thread_id)
    assert (thread.status, thread.session_id, thread.last_error) == (SessionStatus.STOPPED, session.id, None)


async def _unconfirmed_stop(deployment: Deployment, started: StartedTurn) -> None:
    answer = await deployment.keeper.interrupt(started.thread_id)
    assert not answer.confirmed
    assert answer.outcome is not None
    kind = EvidenceKind.TIMER
    assert_ended(answer.outcome, TurnState.INTERRUPTED, Reason.STOPPED, kind=kind, woken_by=(None,))
    seconds = (answer.outcome.completed_at - answer.outcome.started_at).total_seconds()
    assert seconds < 30
    await deployment.until_resting(started.thread_id, SessionStatus.STOPPED)
    assert "may still be at work" in ((await deployment.keeper.thread(started.thread_id)).last_error or "")


async def _unreachable(deployment: Deployment, started: StartedTurn, sent: str) -> None:
    outcome = (await deployment.keeper.wait(started)).outcome
    kind = EvidenceKind.TIMER
    assert_ended(outcome, TurnState.ERROR, Reason.PROVIDER_UNREACHABLE, kind=kind, woken_by=(None,))
    assert outcome.evidence.detail.endswith(sent)
    assert outcome.failure is not None
    assert outcome.failure.code == "provider_unreachable"
    await deployment.until_resting(started.thread_id, SessionStatus.ERROR)


async def test_a_session_deleted_in_the_middle(deployment: Deployment) -> None:
    started = await deployment.start(plan(slow_text(20)))
    session = await deployment.until_streaming(started)
    (await deployment.truth.delete(f"/session/{session.id}")).raise_for_status()
    result = await deployment.keeper.wait(started)
    assert_ended(result.outcome, TurnState.INTERRUPTED, Reason.SESSION_GONE, woken_by=(Wake.EVENT, Wake.TIMER))
    await until(
        lambda: deployment.keeper.thread(started.thread_id), lambda thread: thread.status is SessionStatus.STOPPED
    )
    again = await deployment.settled(await deployment.start("hello", thread=started.thread_id))
    assert_ended(again.outcome, TurnState.COMPLETED, Reason.FINISHED)
    assert again.context_lost
    assert again.session_id != session.id
    shown = await until(lambda: deployment.keeper.thread(started.thread_id), lambda now: len(now.recent) > 1)
    assert [turn.context_lost for turn in shown.recent] == [False, True]
