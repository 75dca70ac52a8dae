"""Whatever a person, a provider and an operator do to a thread, and in whatever order: it keeps its promises.

A story is a list of steps. They act on the real workflows with a provider that has real runs inside (`ModelProvider`),
so that what Turnkeeper says can be compared with what is true. The clock is real and the limits are short. A failing
story shrinks to the fewest steps that still fail.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final

from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from tests.e2e.waiting import until
from tests.workflow.model_provider import LIVE, ModelProvider, Run, RunState
from tests.workflow.stage import Stage, new_thread, tell
from turnkeeper.client import StartedTurn
from turnkeeper.errors import RefusedError, ServiceUnavailableError
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import TurnRecord
from turnkeeper.thread_messages import ThreadSnapshot
from turnkeeper.vocabulary import EventKind, OnBusy, PermissionReply, Reason, SessionStatus, TurnState

SHORT: Final = TurnLimits(
    look_interval=timedelta(seconds=0.15),
    look_interval_max=timedelta(seconds=0.3),
    accept_budget=timedelta(seconds=0.6),
    start_budget=timedelta(seconds=0.5),
    confirm_delay=timedelta(seconds=0.1),
    retry_interval=timedelta(seconds=0.05),
    retry_interval_max=timedelta(seconds=0.2),
    unreachable_timeout=timedelta(seconds=1),
    session_busy_timeout=timedelta(seconds=10),
    stall_timeout=timedelta(seconds=20),
    interrupt_grace=timedelta(seconds=1.5),
    abort_interval=timedelta(seconds=0.2),
    stop_quiet=timedelta(seconds=0.6),
    deadline=timedelta(seconds=30),
)

STEP: Final = 0.03
"""Seconds after a step: sometimes enough for the workflows to notice it, sometimes not. Both must be right."""

ANSWERED_WITHIN: Final = 3.0
"""Seconds after which an answer that is not delivered is kept as a signal."""

STORIES: Final = int(os.environ.get("TURNKEEPER_STORIES", "25"))
"""Stories a run, some 2 s each: always the same ones, unless the variable asks for a longer, random search.
`--hypothesis-show-statistics` says how turns ended."""


class Step(StrEnum):
    """What may happen."""

    START = "a prompt is given"
    START_OR_NOT = "a prompt is given, unless the thread is busy"
    START_INSTEAD = "a prompt is given that interrupts what runs"
    SAME_START = "the latest start is sent again"
    SEND_NOW = "a person sends the last waiting prompt now"
    REMOVE = "a person takes the last waiting prompt back"
    RESUME = "a person lets a held queue go on"
    STOP = "a person stops the thread"
    FINISH = "the agent finishes"
    FAIL = "the model fails"
    ASK = "the agent asks a person"
    ANSWER = "the person answers"
    WORK = "the agent works on"
    CRASH = "the provider crashes"
    GO_AWAY = "the provider does not answer"
    COME_BACK = "the provider answers again"
    DELETE = "somebody deletes the session"
    LOSE_ANSWER = "the next answer to a prompt gets lost"
    LOSE_ABORT = "the next abort gets lost"
    IDLE_EVENT = "an event says idle"
    ERROR_EVENT = "an event says error"
    WORKER_RESTARTS = "the worker is replaced"
    PAUSE = "a moment passes"
    LONG_PAUSE = "a second passes"


@dataclass
class World:
    """One thread, its provider, and what a person knows of both."""

    stage: Stage
    provider: ModelProvider
    thread: str = field(default_factory=new_thread)
    started: list[StartedTurn] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    commands: list[asyncio.Task[None]] = field(default_factory=list)
    worker: AsyncExitStack = field(default_factory=AsyncExitStack)
    prompts: int = 0

    async def perform(self, step: Step) -> None:  # noqa: C901, PLR0912 - one line a step is the clearest list of them
        match step:
            case Step.START:
                await self.start(OnBusy.QUEUE)
            case Step.START_OR_NOT:
                await self.start(OnBusy.REJECT)
            case Step.START_INSTEAD:
                self.later(self.start(OnBusy.INTERRUPT))
            case Step.SAME_START:
                await self.start_again()
            case Step.SEND_NOW:
                self.later(self.send_now())
            case Step.REMOVE:
                await self.remove()
            case Step.RESUME:
                await self.resume()
            case Step.STOP:
                self.later(self.stop())
            case Step.FINISH:
                self.provider.end_all(RunState.FINISHED)
            case Step.FAIL:
                self.provider.end_all(RunState.FAILED)
            case Step.ASK:
                self.provider.end_all(RunState.ASKING)
            case Step.ANSWER:
                self.later(self.answer())
            case Step.WORK:
                self.provider.work()
            case Step.CRASH:
                self.provider.end_all(RunState.DEAD)
            case Step.GO_AWAY:
                self.provider.away = True
            case Step.COME_BACK:
                self.provider.away = False
            case Step.DELETE:
                self.provider.delete_sessions()
            case Step.LOSE_ANSWER:
                self.provider.loses_next_answer = True
            case Step.LOSE_ABORT:
                self.provider.loses_next_abort = True
            case Step.IDLE_EVENT:
                await self.tell_event(EventKind.IDLE)
            case Step.ERROR_EVENT:
                await self.tell_event(EventKind.SESSION_ERROR)
            case Step.WORKER_RESTARTS:
                await self.restart_worker()
            case Step.PAUSE:
                await asyncio.sleep(5 * STEP)
            case Step.LONG_PAUSE:
                await asyncio.sleep(1.2)

    async def start(self, on_busy: OnBusy) -> None:
        self.prompts += 1
        prompt = f"prompt {self.prompts}"
        try:
            self.started.append(
                await self.stage.start(self.thread, prompt, idempotency_key=prompt, on_busy=on_busy, limits=SHORT)
            )
        except RefusedError as error:
            if on_busy is not OnBusy.REJECT:
                raise AssertionError("a prompt that could wait was refused") from error

    async def start_again(self) -> None:
        if self.started:
            key = self.started[-1].idempotency_key
            again = await self.stage.start(self.thread, key, idempotency_key=key, limits=SHORT)
            first = self.started[-1].result
            assert again.result is not None
            assert first is not None
            assert again.result.turn_id == first.turn_id

    async def stop(self) -> None:
        if not self.started:
            return
        answer = await self.stage.keeper.interrupt(self.thread)
        if answer.turn_id is not None and answer.confirmed:
            run = self.run_of(await self.record(answer.turn_id))
            assert run is None or run.state not in LIVE, f"confirmed, but {run.prompt} is {run.state}"

    def later(self, command: Coroutine[object, object, None]) -> None:
        """What takes as long as a stop goes on beside the next steps."""
        self.commands.append(asyncio.create_task(command))

    async def send_now(self) -> None:
        if (waiting := await self.last_waiting()) is not None:
            with suppress(RefusedError):  # it began, or was taken back, meanwhile
                await self.stage.keeper.send_now(self.thread, waiting.turn_id)

    async def remove(self) -> None:
        if (waiting := await self.last_waiting()) is not None:
            with suppress(RefusedError):
                removal = await self.stage.keeper.remove_queued(self.thread, waiting.turn_id)
                self.removed.append(removal.removed.start.prompt)

    async def resume(self) -> None:
        if self.started:
            await self.stage.keeper.resume_queue(self.thread)

    async def last_waiting(self) -> TurnRecord | None:
        queued = (await self.snapshot()).queued if self.started else ()
        return queued[-1] if queued else None

    async def answer(self) -> None:
        if not self.started or (await self.snapshot()).active is None:
            return
        for request in (await self.stage.keeper.turn(self.thread)).open_requests:
            with suppress(RefusedError, ServiceUnavailableError):  # the turn is over; or the provider is away: kept
                await self.stage.keeper.answer(
                    self.thread, request.request_id, permission=PermissionReply.ONCE, within=ANSWERED_WITHIN
                )

    async def tell_event(self, kind: EventKind) -> None:
        if self.started and (await self.snapshot()).active is not None:
            with suppress(RPCError):  # it ended meanwhile
                await tell(self.stage.turn_of(self.thread), kind, detail="somebody says so")

    async def restart_worker(self) -> None:
        await self.worker.aclose()
        await self.worker.enter_async_context(self.stage.worker_up())

    async def snapshot(self) -> ThreadSnapshot:
        return await self.stage.keeper.thread(self.thread)

    async def record(self, turn_id: str) -> TurnRecord:
        thread = await self.snapshot()
        known = [*thread.recent, *([thread.active] if thread.active else []), *thread.queued]
        return next(turn for turn in known if turn.turn_id == turn_id)

    def run_of(self, turn: TurnRecord) -> Run | None:
        return next((run for run in self.provider.runs if run.prompt == turn.idempotency_key), None)

    # What must hold.

    async def check(self) -> None:
        """After every step."""
        for run in self.provider.runs:
            assert len(set(run.answers)) == len(run.answers), f"a request of {run.prompt} was answered twice"
            assert run.posts == 1, f"{run.prompt} was sent {run.posts} times"
            assert not run.beside, f"{run.prompt} was sent beside {run.beside}"
        if not self.started:
            return
        thread = await self.snapshot()
        busy = thread.status in {SessionStatus.STARTING, SessionStatus.RUNNING}
        assert busy == (thread.active is not None), thread
        known = [*thread.recent, *([thread.active] if thread.active else []), *thread.queued]
        assert len({turn.turn_id for turn in known}) == len(known), thread
        for turn in thread.recent:
            assert turn.completed_at is not None, turn
            assert turn.reason is not None, turn

    async def check_end(self) -> None:
        """Once all trouble is over and every run ended: everything settled, and truly."""
        if not self.started:
            return
        self.provider.away = False

        async def settled() -> ThreadSnapshot:
            self.provider.end_all(RunState.FINISHED)
            thread = await self.snapshot()
            if thread.held:
                await self.resume()
            return thread

        over = [command for command in self.commands if not command.done()]
        await until(settled, lambda now: now.active is None and not now.queued and all(task.done() for task in over))
        await asyncio.gather(*self.commands)
        thread = await self.snapshot()
        given = [start.idempotency_key for start in self.started]
        assert sorted(turn.idempotency_key for turn in thread.recent) == sorted(set(given))
        taken_back = {turn.idempotency_key for turn in thread.recent if turn.reason is Reason.REMOVED}
        assert taken_back == set(self.removed)
        for turn in thread.recent:
            self.check_truth(turn)

    def check_truth(self, turn: TurnRecord) -> None:
        run = self.run_of(turn)
        event(f"{turn.reason}, really {run.state if run else 'never sent'}")
        truth = run.state if run is not None else None
        match turn.reason:
            case Reason.FINISHED:
                assert (turn.state, truth) == (TurnState.COMPLETED, RunState.FINISHED)
            case Reason.PROVIDER_ERROR:
                assert (turn.state, truth) == (TurnState.ERROR, RunState.FAILED)
            case Reason.PROVIDER_LOST_TURN:
                assert (turn.state, truth) == (TurnState.INTERRUPTED, RunState.DEAD)
            case Reason.SESSION_GONE:
                assert run is None or run.session_id not in self.provider.sessions
            case Reason.STOPPED:
                assert turn.state is TurnState.INTERRUPTED
            case Reason.REMOVED | Reason.SESSION_BUSY:
                assert run is None, "nothing was to be sent"
            case Reason.PROVIDER_UNREACHABLE:
                assert turn.state is TurnState.ERROR
            case _:
                raise AssertionError(f"no step leads to {turn.reason}: {turn}, really {truth}")


STOPPED_WHILE_AWAY: Final = [
    Step.START,
    Step.GO_AWAY,
    Step.STOP,
    Step.LONG_PAUSE,
    Step.LONG_PAUSE,
    Step.COME_BACK,
    Step.START,
    Step.PAUSE,
]
"""The stop stays unconfirmed, and the old run goes on when the next prompt is given."""


@settings(
    max_examples=STORIES,
    derandomize="TURNKEEPER_STORIES" not in os.environ,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(story=st.lists(st.sampled_from(Step), max_size=14).map(lambda steps: [Step.START, *steps]))
@example(story=STOPPED_WHILE_AWAY)
async def test_every_story_ends_and_is_told_truly(skipping_server: WorkflowEnvironment, story: list[Step]) -> None:
    with skipping_server.with_time_skipping_disabled():
        stage = Stage(skipping_server.client)
        provider = ModelProvider(stage.queue)
        stage.provider = provider  # type: ignore[assignment]  # the stage only asks it for its activities
        world = World(stage, provider)
        await world.worker.enter_async_context(stage.worker_up())
        try:
            for step in story:
                await world.perform(step)
                await asyncio.sleep(STEP)
                await world.check()
            await world.check_end()
        finally:
            await world.worker.aclose()
        await stage.assert_replays()
