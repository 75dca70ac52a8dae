"""One test's world: a task queue of its own, the real workflows on it, a scripted provider, the real client."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter
from temporalio.worker import Replayer
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

import worker as composition
from tests.e2e.waiting import DEADLINE, until
from tests.workflow.scripted_provider import ScriptedProvider
from turnkeeper import search_attributes
from turnkeeper.client import StartedTurn, Turnkeeper
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import Outcome, TurnInput, TurnResult, TurnSnapshot, thread_workflow_id, turn_workflow_id
from turnkeeper.observations import ProviderEvent, ProviderEvents, Reading, Seen
from turnkeeper.punctual_worker import PunctualWorker
from turnkeeper.thread_messages import StartTurn, ThreadInput, ThreadSnapshot
from turnkeeper.vocabulary import EventKind
from workflows.endpoint import EndpointWorkflow
from workflows.thread import ThreadWorkflow
from workflows.turn import TurnWorkflow

PASSTHROUGH: Final = ("turnkeeper", "workflows", "pydantic", "pydantic_core", "annotated_types")
"""Imported once, not again for every workflow: models cost 28 ms of CPU a start (measured). All are pure there."""

WORKFLOWS: Final = (ThreadWorkflow, TurnWorkflow, EndpointWorkflow)
ENDPOINT: Final = "scripted"
DIRECTORY: Final = "/srv/shop"

QUICK: Final = TurnLimits(
    interrupt_grace=timedelta(seconds=2),
    stop_quiet=timedelta(seconds=0.6),
    abort_interval=timedelta(seconds=0.3),
    confirm_delay=timedelta(seconds=0.2),
    look_interval=timedelta(seconds=0.5),
)
"""For tests on a real clock: time cannot be skipped while a call is under way, and no event tells that a turn ended."""

HASTY: Final = QUICK.model_copy(update={"interrupt_grace": timedelta(seconds=1), "stop_quiet": timedelta(seconds=0.4)})
"""For stops that nobody confirms."""

TurnHandle = WorkflowHandle[Any, TurnResult]


def sandbox() -> SandboxedWorkflowRunner:
    """The worker runs without it, for speed: here it is on, so that it catches what it can."""
    return SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules(*PASSTHROUGH))


def replayer(converter: DataConverter = pydantic_data_converter) -> Replayer:
    """What a worker that takes over does, without doing it."""
    return Replayer(workflows=WORKFLOWS, workflow_runner=sandbox(), data_converter=converter)


class Stage:
    """What a test acts on."""

    def __init__(self, client: Client, queue: str | None = None) -> None:
        """Workers come up with `worker_up`."""
        self.client = client
        self.queue = queue or f"stage-{uuid.uuid4().hex[:8]}"
        self.keeper = Turnkeeper(client, task_queue=self.queue)
        self.provider = ScriptedProvider(self.queue)
        self.endpoint = ENDPOINT
        self.more_activities: list[Callable[..., Any]] = []

    @asynccontextmanager
    async def worker_up(self) -> AsyncIterator[None]:
        """A worker while the body runs; another one later takes over by replaying."""
        async with PunctualWorker(
            self.client,
            task_queue=self.queue,
            workflows=WORKFLOWS,
            activities=[*self.provider.activities, *self.more_activities],
            workflow_runner=sandbox(),
            max_heartbeat_throttle_interval=composition.HEARTBEAT_THROTTLE,
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
        ):
            yield

    @asynccontextmanager
    async def provider_worker_up(self, queue: str) -> AsyncIterator[None]:
        """A worker for the activities of an endpoint with a queue of its own."""
        async with PunctualWorker(self.client, task_queue=queue, activities=self.provider.activities):
            yield

    async def assert_replays(self) -> None:
        """Whatever the test did, a worker that takes over now must come to the same commands."""
        histories = self.client.list_workflows(f"TaskQueue = '{self.queue}'").map_histories()
        await replayer(self.client.data_converter).replay_workflows(histories)

    # A turn alone.

    async def turn(
        self,
        *,
        thread_id: str | None = None,
        session_id: str | None = None,
        limits: TurnLimits | None = None,
        task_queue: str | None = None,
        prompt: str = "Fix the failing test",
        **more: Any,  # noqa: ANN401 - as the model takes them
    ) -> TurnHandle:
        """A `Turn` without a thread around it."""
        thread_id = thread_id or new_thread()
        turn = TurnInput(
            thread_id=thread_id,
            turn_id="t1",
            endpoint=ENDPOINT,
            task_queue=task_queue or self.queue,
            directory=DIRECTORY,
            session_id=session_id,
            prompt=prompt,
            limits=limits or self.provider.limits,
            **more,
        )
        return await self.client.start_workflow(
            "Turn", turn, id=turn_workflow_id(thread_id), task_queue=self.queue, result_type=TurnResult
        )

    def turn_of(self, thread_id: str, run_id: str | None = None) -> TurnHandle:
        """The turn that a thread runs."""
        return self.client.get_workflow_handle(turn_workflow_id(thread_id), run_id=run_id, result_type=TurnResult)

    # A thread.

    async def start(self, thread_id: str, prompt: str = "Fix the failing test", **more: Any) -> StartedTurn:  # noqa: ANN401 - as the client takes them
        """Give a prompt to a thread, as another program does."""
        return await self.keeper.start_turn(thread_id, prompt, endpoint=self.endpoint, directory=DIRECTORY, **more)

    def thread_input(self, thread_id: str, **more: Any) -> ThreadInput:  # noqa: ANN401 - as the model takes them
        return ThreadInput(
            thread_id=thread_id,
            endpoint=self.endpoint,
            directory=DIRECTORY,
            admits_beside=True,
            counts_bytes=True,
            **more,
        )

    @staticmethod
    def prompt(text: str = "Fix the failing test", key: str | None = None, **more: Any) -> StartTurn:  # noqa: ANN401 - as above
        """A start as it travels in updates and signals."""
        return StartTurn(prompt=text, idempotency_key=key or uuid.uuid4().hex, **more)

    async def request(self, thread_id: str, start: StartTurn, task_timeout: timedelta | None = None) -> None:
        """Give a prompt by signal, as it is done when no worker is up; makes the thread.

        `task_timeout`: after so long Temporal gives a workflow task that no worker could do to another one.
        """
        await self.client.start_workflow(
            "Thread",
            self.thread_input(thread_id),
            id=thread_workflow_id(thread_id),
            task_queue=self.queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            start_signal="request_turn",
            start_signal_args=[start],
            task_timeout=task_timeout,
        )

    async def small_thread(self, continue_after_events: int, thread_id: str | None = None) -> str:
        """A thread that nobody gave a prompt yet, and that continues as new after so few events."""
        thread_id = thread_id or new_thread()
        thread = self.thread_input(thread_id, continue_after_events=continue_after_events)
        await self.client.start_workflow(
            "Thread",
            thread,
            id=thread_workflow_id(thread_id),
            task_queue=self.queue,
            search_attributes=TypedSearchAttributes([SearchAttributePair(search_attributes.ENDPOINT, self.endpoint)]),
        )
        return thread_id

    def thread_of(self, thread_id: str) -> WorkflowHandle[Any, ThreadSnapshot]:
        return self.client.get_workflow_handle(thread_workflow_id(thread_id), result_type=ThreadSnapshot)

    async def settled_thread(self, thread_id: str, turns: int = 1) -> ThreadSnapshot:
        """The thread once so many turns are over and none runs or waits."""

        def over(thread: ThreadSnapshot) -> bool:
            return len(thread.recent) >= turns and thread.active is None and not thread.queued

        return await until(lambda: self.keeper.thread(thread_id), over)


def new_thread() -> str:
    return f"th-{uuid.uuid4().hex[:8]}"


async def result_of(turn: TurnHandle) -> TurnResult:
    """The turn's result; an error if it does not end."""
    async with asyncio.timeout(DEADLINE):
        return await turn.result()


async def outcome_of(turn: TurnHandle) -> Outcome:
    return (await result_of(turn)).outcome


def elapsed(outcome: Outcome) -> float:
    """Seconds from the turn's start to its end, on its own clock."""
    return (outcome.completed_at - outcome.started_at).total_seconds()


async def snapshot(turn: TurnHandle) -> TurnSnapshot:
    """What the turn says of itself."""
    answer: TurnSnapshot = await turn.query("snapshot", result_type=TurnSnapshot)
    return answer


async def tell(
    turn: TurnHandle,
    *kinds: EventKind,
    count: int = 1,
    detail: str = "",
    child: bool = False,
    cut_off: bool = False,
    reading: Reading | None = None,
) -> None:
    """Signal provider events in one batch, with what the relay read after the last of them."""
    events = tuple(
        ProviderEvent(id=f"e{number}", kind=kind, count=count, detail=detail, child=child, cut_off=cut_off)
        for number, kind in enumerate(kinds)
    )
    await turn.signal("provider_events", ProviderEvents(events=events, reading=reading))


async def ended(turn: TurnHandle, seen: Seen, **more: Any) -> Reading:  # noqa: ANN401 - as the model takes them
    """What the relay reads when the turn's run is over; `more` is what is otherwise."""
    now = await snapshot(turn)
    fields = {"session_id": now.session_id, "message_id": now.client_message_id, "text_limit": TurnLimits().text_limit}
    return Reading(**(fields | more), seen=seen)


async def events_of(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """The types of the events of a run's history, in words."""
    history = await handle.fetch_history()
    return [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_").lower() for event in history.events]
