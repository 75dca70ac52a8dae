"""Two builds of the worker, as two processes: what runs stays on the old one, what begins goes to the new one.

Which build did what is read from Temporal's histories; the code of both is the same.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from tests.e2e.turns.deployment import Deployment, assert_ended, deployed
from tests.e2e.turns.prompts import DONE, bash, plan, short
from tests.e2e.turns.worker_process import worker_process
from tests.e2e.waiting import until, until_true
from turnkeeper.builds import Builds, count_turns, promote, read_builds
from turnkeeper.client import StartedTurn
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.dev.processes import SupervisedProcess
from turnkeeper.errors import RefusedError
from turnkeeper.messages import TurnResult, endpoint_workflow_id, thread_workflow_id, turn_workflow_id
from turnkeeper.vocabulary import Reason, TurnState, Wake

pytestmark = pytest.mark.timeout(240)  # two worker processes in each test, on a machine that runs others

UNHURRIED: Final = short(deadline=300, tool_stall_timeout=290)
"""For turns that wait until the test lets them end: two workers start meanwhile."""

VISIBLE: Final = 60.0
"""Seconds for what is polled and what is counted to show: one or two on a machine that has time."""


class Site:
    """One task queue, and beside it one of the endpoint's own, as endpoints in other networks have."""

    def __init__(self, unmanned: Deployment, opencode: OpenCodeServer, root: Path, logs: Path) -> None:
        self.unmanned = unmanned
        self.temporal: Client = unmanned.keeper.temporal
        self.queue = unmanned.endpoint
        self._opencode = opencode
        self._root = root
        self._logs = logs

    @asynccontextmanager
    async def worker(self, build: str | None) -> AsyncIterator[SupervisedProcess]:
        """A worker of that build; without one, an unversioned worker."""
        version: Mapping[str, str] = {"DEPLOYMENT_NAME": self.queue, "BUILD_ID": build} if build else {}
        log = self.log(build)
        process = worker_process(self.unmanned, self._opencode, self._root, log, own_queue=True, settings=version)
        await process.start()
        try:
            yield process
        finally:
            await process.kill()

    async def held_turn(self) -> tuple[StartedTurn, Path]:
        """A turn that runs until the file is there."""
        name = uuid.uuid4().hex[:8]
        begun, end = (self.unmanned.directory / f"{word}-{name}" for word in ("begun", "end"))
        prompt = plan(bash(f"touch {begun.name}; until [ -e {end.name} ]; do sleep 0.1; done"), DONE)
        started = await self.unmanned.start(prompt, limits=UNHURRIED)
        await until_true(begun.exists, deadline=VISIBLE)
        return started, end

    def log(self, build: str | None) -> Path:
        return self._logs / f"worker-{build or 'unversioned'}.log"

    async def promoted(self, build: str) -> None:
        """Make `build` current, once its worker has shown on both queues: until then it is refused."""

        async def tried() -> bool:
            try:
                await promote(self.temporal, self.queue, build)
            except RefusedError:
                return False
            return True

        await until(lambda: read_builds(self.temporal, self.queue), lambda seen: build in seen.up, deadline=VISIBLE)
        await until(tried, deadline=VISIBLE)
        await until(self.builds, lambda seen: seen.current == build, deadline=VISIBLE)

    async def builds(self) -> Builds:
        return await read_builds(self.temporal, self.queue)

    async def history(self, workflow_id: str, run_id: str | None = None) -> list[HistoryEvent]:
        return list((await self.temporal.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()).events)


@pytest.fixture
async def site(
    own_temporal: Client, opencode: OpenCodeServer, workspace: Path, root: Path, tmp_path: Path
) -> AsyncIterator[Site]:
    async with deployed(own_temporal, opencode, directory=workspace, root=root, run_worker=False) as unmanned:
        yield Site(unmanned, opencode, root, tmp_path)


def builds_in(events: list[HistoryEvent]) -> list[str]:
    """The builds that did the workflow's own steps, in their order."""
    done = [event.workflow_task_completed_event_attributes for event in events if _completed(event)]
    return [task.deployment_version.build_id for task in done]


def callers_in(events: list[HistoryEvent]) -> set[str]:
    """The process ids of the workers that made the calls."""
    started = [event for event in events if event.HasField("activity_task_started_event_attributes")]
    return {event.activity_task_started_event_attributes.identity.partition("@")[0] for event in started}


def _completed(event: HistoryEvent) -> bool:
    return event.HasField("workflow_task_completed_event_attributes")


def assert_finished(result: TurnResult) -> None:
    assert_ended(result.outcome, TurnState.COMPLETED, Reason.FINISHED, woken_by=Wake)


async def test_a_turn_ends_on_its_build_and_everything_new_begins_on_the_next(site: Site) -> None:
    deployment = site.unmanned
    async with site.worker("b1") as old:
        waits = await until(site.builds, lambda seen: seen.up == ("b1",), deadline=VISIBLE)
        assert waits.trouble is not None
        assert "versions --promote b1" in waits.trouble, "nothing runs yet, and whoever asks is told why"
        await until_true(lambda: "nothing runs until" in site.log("b1").read_text(), deadline=VISIBLE)
        await site.promoted("b1")
        with pytest.raises(RefusedError, match="Start its workers first"):
            await promote(site.temporal, site.queue, "b2")
        assert ((await site.builds()).current, (await site.builds()).trouble) == ("b1", None)
        running, end = await site.held_turn()
        async with site.worker("b2") as new:
            await site.promoted("b2")
            begun = await deployment.start("on the new one")
            assert_finished(await deployment.settled(begun))
            events = await site.history(turn_workflow_id(begun.thread_id))
            assert (set(builds_in(events)), callers_in(events)) == ({"b2"}, {str(new.pid)})
            await until(lambda: count_turns(site.temporal, site.queue, "b1"), lambda left: left == 1, deadline=VISIBLE)
            end.touch()
            assert_finished(await deployment.settled(running))
            events = await site.history(turn_workflow_id(running.thread_id))
            assert (set(builds_in(events)), callers_in(events)) == ({"b1"}, {str(old.pid)})
            await until(lambda: count_turns(site.temporal, site.queue, "b1"), lambda left: left == 0, deadline=VISIBLE)
            await old.stop(grace=30)
            assert old.exit_code == 0
            again = await deployment.start("in the same thread", thread=running.thread_id)
            assert_finished(await deployment.settled(again))
            thread = builds_in(await site.history(thread_workflow_id(running.thread_id)))
            assert (thread[0], thread[-1]) == ("b1", "b2"), "the thread went over without a run of its own"
            assert set(builds_in(await site.history(turn_workflow_id(running.thread_id)))) == {"b2"}
            relay = await until(
                lambda: deployment.keeper.endpoint(deployment.endpoint),
                lambda seen: seen.relay is not None and seen.relay.attached and seen.relay.attempt > 1,
                deadline=VISIBLE,
            )
            assert relay.relay is not None
            assert builds_in(await site.history(endpoint_workflow_id(site.queue)))[-1] == "b2"


async def test_running_turns_survive_the_switch_to_versioned_workers(site: Site) -> None:
    """They begin on a worker without a version and end on the first build that is made current."""
    deployment = site.unmanned
    async with site.worker(None) as unversioned:
        running, end = await site.held_turn()
        async with site.worker("b1"):
            before = await deployment.start("before the promotion")
            assert_finished(await deployment.settled(before))
            assert set(builds_in(await site.history(turn_workflow_id(before.thread_id)))) == {""}
            await site.promoted("b1")
            await unversioned.stop(grace=30)
            end.touch()
            assert_finished(await deployment.settled(running))
            events = await site.history(turn_workflow_id(running.thread_id))
            assert (builds_in(events)[0], builds_in(events)[-1]) == ("", "b1")
            after = await deployment.start("after it", thread=running.thread_id)
            assert_finished(await deployment.settled(after))
            assert set(builds_in(await site.history(turn_workflow_id(running.thread_id)))) == {"b1"}
