"""Sessions that somebody began in OpenCode itself, driven here over its own bare routes, become threads."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.client import Client

from tests.e2e.bare_session import BareSession
from tests.e2e.turns.deployment import Deployment, assert_ended, deployed, new_thread
from tests.e2e.turns.prompts import DONE, SHORT, bash, plan, slow_text
from tests.e2e.waiting import until
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.errors import RefusedError
from turnkeeper.findings import AdoptResult
from turnkeeper.messages import TurnResult
from turnkeeper.vocabulary import Reason, SessionStatus, TurnState, Wake


async def begun(deployment: Deployment, directory: Path | None = None) -> BareSession:
    return await BareSession.create(deployment.truth, directory or deployment.directory, title="typed by a person")


async def adopt(deployment: Deployment, session: BareSession, thread: str | None = None) -> AdoptResult:
    return await deployment.keeper.adopt(session.id, endpoint=deployment.endpoint, thread_id=thread, limits=SHORT)


async def followed(deployment: Deployment, adopted: AdoptResult) -> TurnResult:
    return await deployment.keeper.result(adopted.thread_id, adopted.run_id)


async def prompts(session: BareSession) -> list[str]:
    messages = await session.messages()
    return [message["info"]["id"] for message in messages if message["info"]["role"] == "user"]


async def test_a_run_that_is_live_is_followed_to_its_outcome_and_nothing_is_sent(deployment: Deployment) -> None:
    session = await begun(deployment)
    await session.prompt(plan(bash("echo ask whoever takes over"), DONE))
    asked = await session.until_pending("permission")
    adopted = await adopt(deployment, session)
    assert (adopted.thread_id, adopted.turn_id, adopted.directory) == (session.id, "t1", str(deployment.directory))
    assert adopted.run_id is not None
    await until(lambda: deployment.keeper.turn(session.id), lambda turn: turn.state is TurnState.WAITING)
    await session.reply("permission", asked["id"], {"reply": "once"})
    result = await followed(deployment, adopted)
    assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED, woken_by=(Wake.EVENT,))
    assert (result.outcome.text, result.session_id) == ("all done", session.id)
    assert [result.client_message_id] == await prompts(session), "the person's own, and no other"
    thread = await until(lambda: deployment.keeper.thread(session.id), lambda now: now.active is None)
    assert [(turn.turn_id, turn.adopted) for turn in thread.recent] == [("t1", True)]
    again = await deployment.settled(await deployment.keeper.start_turn(session.id, "go on", limits=SHORT))
    assert_ended(again.outcome, TurnState.COMPLETED, Reason.FINISHED)
    assert (again.session_id, again.context_lost) == (session.id, False)


async def test_a_run_that_was_taken_over_can_be_stopped(deployment: Deployment) -> None:
    session = await begun(deployment)
    await session.prompt(plan(slow_text(60)))
    await session.until(lambda messages: len(messages) > 1)
    adopted = await adopt(deployment, session)
    stopped = await deployment.keeper.interrupt(adopted.thread_id)
    assert stopped.confirmed
    assert stopped.outcome is not None
    assert stopped.outcome.reason is Reason.STOPPED
    await session.until_idle()


async def test_an_idle_session_is_ready_for_the_next_prompt_and_its_old_answer_is_nobodys(
    deployment: Deployment,
) -> None:
    session = await begun(deployment)
    await session.run("hello")
    thread = new_thread()
    adopted = await adopt(deployment, session, thread)
    assert (adopted.thread_id, adopted.turn_id, adopted.status) == (thread, None, SessionStatus.READY)
    seen = await deployment.keeper.thread(thread)
    assert (seen.session_id, seen.recent, seen.directory) == (session.id, (), str(deployment.directory))
    result = await deployment.settled(await deployment.keeper.start_turn(thread, "and now?", limits=SHORT))
    assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED)
    assert result.session_id == session.id
    assert len(await prompts(session)) == 2


async def test_twice_is_once_and_what_others_wrote_into_the_session_stays(deployment: Deployment) -> None:
    session = await begun(deployment)
    body = {"metadata": {"team": "payments"}}
    (await deployment.truth.patch(f"/session/{session.id}", json=body)).raise_for_status()
    first = await adopt(deployment, session)
    second = await adopt(deployment, session)
    assert (first.repeated, second.repeated) == (False, True)
    assert second.model_copy(update={"repeated": False}) == first
    found = (await deployment.truth.get(f"/session/{session.id}")).json()
    assert found["metadata"]["team"] == "payments"
    assert found["metadata"]["turnkeeper"]["thread"] == session.id
    with pytest.raises(RefusedError, match=f"belongs to thread {session.id} already") as refused:
        await adopt(deployment, session, new_thread())
    assert refused.value.detail_code == "already_adopted"


async def test_a_thread_with_prompts_of_its_own_takes_over_nothing(deployment: Deployment) -> None:
    thread = new_thread()
    await deployment.settled(await deployment.start("hello", thread=thread))
    session = await begun(deployment)
    with pytest.raises(RefusedError) as refused:
        await adopt(deployment, session, thread)
    assert refused.value.detail_code == "thread_in_use"
    assert "turnkeeper" not in (await deployment.truth.get(f"/session/{session.id}")).json().get("metadata", {})


async def test_what_is_no_session_of_ours_is_refused_and_leaves_no_thread(
    deployment: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def code(session_id: str, directory: str | None = None) -> str:
        with pytest.raises(RefusedError) as refused:
            await deployment.keeper.adopt(session_id, endpoint=deployment.endpoint, directory=directory)
        await until(lambda: gone(session_id))
        return refused.value.detail_code

    async def gone(session_id: str) -> bool:
        return session_id not in [found.thread_id async for found in deployment.keeper.threads(None, only_open=True)]

    assert await code("ses_doesnotexist000000000000") == "no_session"
    assert await code("nonsense") == "malformed_session"
    outside = await begun(deployment, Path("/"))
    assert await code(outside.id) == "directory_outside_roots"
    elsewhere = await begun(deployment)
    other = tmp_path_factory.mktemp("other")
    assert await code(elsewhere.id, str(other)) == "foreign_directory"


async def test_a_child_session_is_refused_with_the_name_of_its_parent(deployment: Deployment) -> None:
    parent = await begun(deployment)
    child = {"title": "a child", "parentID": parent.id}
    place = {"directory": str(deployment.directory)}
    made = (await deployment.truth.post("/session", params=place, json=child)).raise_for_status().json()
    with pytest.raises(RefusedError, match=parent.id) as refused:
        await deployment.keeper.adopt(made["id"], endpoint=deployment.endpoint)
    assert refused.value.detail_code == "child_session"


async def test_an_endpoint_with_workers_of_its_own(
    temporal_client: Client, opencode: OpenCodeServer, workspace: Path, root: Path
) -> None:
    async with deployed(temporal_client, opencode, directory=workspace, root=root, own_queue=True) as deployment:
        session = await begun(deployment)
        await session.prompt(plan(bash("echo ask whoever takes over"), DONE))
        asked = await session.until_pending("permission")
        adopted = await adopt(deployment, session)
        assert adopted.turn_id == "t1"
        await session.reply("permission", asked["id"], {"reply": "once"})
        result = await followed(deployment, adopted)
        assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED, woken_by=(Wake.EVENT, Wake.TIMER))
        assert [result.client_message_id] == await prompts(session)
