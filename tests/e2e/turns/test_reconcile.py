"""Looking again by hand on real servers: a deleted session, an endpoint that is down beside one that is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.e2e.turns.deployment import Deployment, assert_ended, deployed, new_thread
from tests.e2e.turns.prompts import plan, slow_text
from tests.e2e.waiting import until
from turnkeeper.cli import reconcile
from turnkeeper.cli.endings import Exit
from turnkeeper.cli.service import Service
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.vocabulary import Finding, Reason, SessionStatus, Standing, TurnState

NOBODY_THERE = "http://127.0.0.1:9"
"""The discard port: nothing listens."""


async def test_a_session_deleted_outside_is_found_and_the_next_prompt_says_that_context_was_lost(
    deployment: Deployment,
) -> None:
    thread = new_thread()
    first = await deployment.settled(await deployment.start("remember this", thread=thread))
    await until(lambda: deployment.keeper.thread(thread), lambda now: now.active is None)
    assert (await deployment.keeper.reconcile(thread)).finding is Finding.READY
    (await deployment.truth.delete(f"/session/{first.session_id}")).raise_for_status()
    gone = await deployment.keeper.reconcile(thread)
    assert (gone.finding, gone.status, gone.session_id) == (Finding.GONE, SessionStatus.STOPPED, first.session_id)
    again = await deployment.settled(await deployment.start("and now?", thread=thread))
    assert_ended(again.outcome, TurnState.COMPLETED, Reason.FINISHED)
    assert again.context_lost
    seen = await until(lambda: deployment.keeper.thread(thread), lambda now: len(now.recent) > 1)
    assert [turn.context_lost for turn in seen.recent] == [False, True]
    assert (seen.status, seen.last_error, seen.session_id) == (SessionStatus.READY, None, again.session_id)


async def test_all_threads_though_one_endpoint_is_down(
    own_temporal: Client, opencode: OpenCodeServer, workspace: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with (
        deployed(own_temporal, opencode, directory=workspace, root=root, run_relays=False) as up,
        deployed(own_temporal, opencode, directory=workspace, root=root, run_relays=False, url=NOBODY_THERE) as down,
    ):
        running = await up.start(plan(slow_text(60)))
        await up.until_running(running)
        rests = await up.settled(await up.start("hello"))
        silent = await down.start("hello")
        service = Service(up.keeper, own_temporal, "a test")

        async def connect(_: Path) -> Service:
            return service

        async def listed() -> list[str]:
            return [found.thread_id async for found in up.keeper.threads(None, only_open=True)]

        await until(listed, lambda found: len(found) == 3)
        code = await reconcile.reconcile(connect, root, None, every=True, as_json=True)
        found = {entry["thread"]: entry for entry in map(json.loads, capsys.readouterr().out.splitlines())}
        assert code == Exit.ENDED_OTHERWISE, "one could not be asked"
        assert (found[running.thread_id]["finding"], found[running.thread_id]["standing"]) == (
            Finding.LIVE,
            Standing.RUNNING,
        )
        assert found[rests.thread_id]["finding"] == Finding.READY
        assert (found[silent.thread_id]["finding"], found[silent.thread_id]["checked"]) == (Finding.UNKNOWN, False)
        assert not any(entry["changed"] for entry in found.values())
        await reconcile.reconcile(connect, root, running.thread_id, every=False, as_json=False)
        assert "live (running)" in capsys.readouterr().out
        for started in (running, silent):
            await up.keeper.interrupt(started.thread_id)
