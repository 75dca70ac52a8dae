"""The world of one row: the real workflows, activities and adapter; only the OpenCode behind them is in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner

import worker as composition
from activities.endpoints import Endpoints
from activities.routing import Route, Router
from tests.conformance.opencode import DIRECTORY, Called, OpenCode
from tests.e2e.waiting import until
from turnkeeper.client import StartedTurn, Turnkeeper
from turnkeeper.errors import TurnkeeperError
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import (
    AnswerResult,
    InterruptResult,
    TurnRecord,
    TurnSnapshot,
    thread_workflow_id,
    turn_workflow_id,
)
from turnkeeper.observations import ProviderEvent, ProviderEvents
from turnkeeper.opencode.client import OpenCodeClient
from turnkeeper.opencode.driver import OpenCodeDriver
from turnkeeper.opencode.translate import Tally, translate
from turnkeeper.punctual_worker import PunctualWorker
from turnkeeper.settings import EndpointSettings
from turnkeeper.thread_messages import StartTurn, ThreadInput, ThreadSnapshot, ThreadState
from turnkeeper.vocabulary import EventKind
from workflows.endpoint import EndpointWorkflow
from workflows.thread import ThreadWorkflow
from workflows.turn import TurnWorkflow

LIMITS: Final = TurnLimits(
    interrupt_grace=timedelta(seconds=3),
    stop_quiet=timedelta(seconds=0.6),
    abort_interval=timedelta(seconds=0.3),
    confirm_delay=timedelta(seconds=0.2),
    look_interval=timedelta(seconds=2),
    retry_interval=timedelta(seconds=0.3),
    unreachable_timeout=timedelta(seconds=30),
)
"""On a real clock: events do the work, and a run that died is known within half a second."""

VIRTUAL: Final = TurnLimits(
    look_interval=timedelta(minutes=5), look_interval_max=timedelta(hours=1), deadline=timedelta(hours=24)
)
"""On a skipped clock: the product's own patience, fewer looks, and an end that is beyond every row."""

HURRIED: Final = LIMITS.model_copy(update={"unreachable_timeout": timedelta(seconds=2)})
"""Where a row lets a long time pass without an answer of the provider."""

ROUTED_WITHIN: Final = 2.0
"""Seconds to read a session whose thread is not known, from an OpenCode in memory that may hold its answers back."""

ANSWERED_WITHIN: Final = 4.0
"""Seconds after which an answer that the provider does not take is kept."""

NAMESPACE: Final = "default"
WORKFLOWS: Final = (ThreadWorkflow, TurnWorkflow, EndpointWorkflow)


class PaperEndpoints(Endpoints):
    """The worker's endpoints, each with an OpenCode in memory behind it."""

    def __init__(self) -> None:
        super().__init__({})

    def add(self, name: str, opencode: OpenCode, task_queue: str) -> None:
        """Configure one more endpoint."""
        settings = EndpointSettings.model_validate(
            {"url": "http://opencode.invalid", "roots": ["/srv"], "shares_filesystem": False, "task_queue": task_queue}
        )
        self._settings[name] = settings
        self._clients[name] = OpenCodeClient(settings, name, transport=opencode)
        self._drivers[name] = OpenCodeDriver(self._clients[name])


@dataclass
class Workers:
    """The queue of a world, and the workers on it. `slow_queue`: calls to the provider are activities of their own."""

    client: Client
    queue: str
    endpoints: PaperEndpoints
    _running: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def slow_queue(self) -> str:
        return f"{self.queue}-provider"

    @asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        """Workers while the body runs."""
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        """A second process's worker on the same queues, with a connection of its own."""
        config = self.client.service_client.config
        client = await Client.connect(config.target_host, data_converter=self.client.data_converter)
        async with Workers(client, self.queue, self.endpoints).up():
            yield

    async def start(self) -> None:
        """Bring a worker of each queue up."""
        calls = composition._activities(self.client, self.endpoints)  # noqa: SLF001 - whatever a real worker registers
        for queue, workflows in ((self.queue, WORKFLOWS), (self.slow_queue, ())):
            worker = PunctualWorker(
                self.client,
                task_queue=queue,
                workflows=workflows,
                activities=calls,
                workflow_runner=UnsandboxedWorkflowRunner(),
                max_heartbeat_throttle_interval=composition.HEARTBEAT_THROTTLE,
                sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
            )
            await self._running.enter_async_context(worker)

    async def stop(self) -> None:
        """Let them end; what they were calling is cut off."""
        await self._running.aclose()


@dataclass
class World:
    """What a row is given, does and sees. Turns are known by their idempotency keys, for which rows have names."""

    name: str
    workers: Workers
    slow: bool = False
    limits: TurnLimits = LIMITS
    opencode: OpenCode = field(default_factory=OpenCode)
    aliases: dict[str, str] = field(default_factory=dict)
    errors: list[TurnkeeperError] = field(default_factory=list)
    stops: list[InterruptResult] = field(default_factory=list)
    answers: list[AnswerResult] = field(default_factory=list)
    reports: list[Any] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    asked: dict[str, TurnSnapshot] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    background: list[asyncio.Task[Any]] = field(default_factory=list)
    calls_before: int = 0
    heard_before: int = 0
    elapsed: timedelta | None = None

    def __post_init__(self) -> None:
        queue = self.workers.slow_queue if self.slow else self.workers.queue
        self.workers.endpoints.add(self.endpoint, self.opencode, queue)
        self.keeper = Turnkeeper(self.workers.client, task_queue=self.workers.queue)
        self.router = Router(self.workers.endpoints.client(self.endpoint), NAMESPACE)
        self.opencode.new_session({}, "ses_foreign")

    @property
    def endpoint(self) -> str:
        return self.name.lower().replace(".", "-").replace("_", "-")

    @property
    def thread_id(self) -> str:
        return self.thread_named("thread-1")

    def thread_named(self, name: str) -> str:
        return f"{self.workers.queue}-{self.name}-{name}"

    @property
    def driver(self) -> OpenCodeDriver:
        return self.workers.endpoints.driver(self.endpoint)

    @property
    def calls(self) -> list[Called]:
        """What was asked of the provider since the row's `when` began."""
        return self.opencode.calls[self.calls_before :]

    def key_of(self, turn: str) -> str:
        return self.aliases.get(turn, turn)

    # Commands, as another program gives them.

    async def start(self, key: str, thread: str = "thread-1", **more: Any) -> StartedTurn | None:  # noqa: ANN401 - as the client takes them
        given = {"endpoint": self.endpoint, "directory": DIRECTORY, "limits": self.limits, "idempotency_key": key}
        started: StartedTurn | None = await self.asking(
            self.keeper.start_turn(self.thread_named(thread), key, **{**given, **more})
        )
        return started

    async def start_again(self, key: str) -> None:
        """The same start once more, by the signal twin: Temporal itself would join a repeated update."""
        start = StartTurn(prompt=key, idempotency_key=key, limits=self.limits)
        await self.workers.client.get_workflow_handle(thread_workflow_id(self.thread_id)).signal("request_turn", start)

    async def carry(self, state: ThreadState) -> None:
        """A thread that continues as new from `state`."""
        thread = ThreadInput(
            thread_id=self.thread_id,
            endpoint=self.endpoint,
            directory=DIRECTORY,
            carried=state,
            admits_beside=True,
            counts_bytes=True,
        )
        await self.workers.client.start_workflow(
            "Thread",
            thread,
            id=thread_workflow_id(self.thread_id),
            task_queue=self.workers.queue,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        )

    async def interrupt(self, turn: str | None) -> None:
        result = await self.asking(self.keeper.interrupt(self.thread_id, await self.turn_id(turn)))
        if result is not None:
            self.stops.append(result)

    async def stop(self, *, only_if_idle: bool = False) -> None:
        result = await self.asking(self.keeper.stop_session(self.thread_id, only_if_idle=only_if_idle))
        if result is not None:
            self.stops.append(result)

    async def answer(self, request_id: str, **how: Any) -> None:  # noqa: ANN401 - as the client takes it
        result = await self.asking(self.keeper.answer(self.thread_id, request_id, within=ANSWERED_WITHIN, **how))
        if result is not None:
            self.answers.append(result)

    async def asking(self, call: Awaitable[Any]) -> Any:  # noqa: ANN401 - whatever the call gives
        """The answer; a refusal is kept for the row to see, and None."""
        try:
            return await call
        except TurnkeeperError as error:
            self.errors.append(error)
            return None

    def later(self, call: Awaitable[Any]) -> None:
        """Give a command and do not wait for its answer."""
        self.background.append(asyncio.ensure_future(call))

    # Events, as the relay gives them.

    async def hear(self, *frames: bytes) -> None:
        """Frames of the event stream: translated, routed and signalled by the parts that the relay is made of."""
        for data in frames:
            said = translate(data, self.tally)
            if said is None:
                continue
            if said.session is not None:
                self.router.remember(said.session)
            if said.event is None:
                continue
            route = await self._route(said.event.session_id)
            if route is not None:
                await self.signal(route.thread_id, replace(said.event, child=route.child).told())
            elif said.event.session_id == self.session_id:
                raise AssertionError(f"an event of the thread's own session found no way: {said.event}")

    async def _route(self, session_id: str) -> Route | None:
        """The relay reads on while it waits to learn where an event goes, and lets it go when it cannot learn it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(ROUTED_WITHIN):
                return await self.router.find(session_id)
        return None

    async def attach(self) -> None:
        """A relay that (re)attached: events before now may be lost."""
        await self.signal(self.thread_id, ProviderEvent(id="attach", kind=EventKind.ATTACHED))

    async def signal(self, thread_id: str, event: ProviderEvent) -> bool:
        """Whether a turn was there to take it."""
        handle = self.workers.client.get_workflow_handle(turn_workflow_id(thread_id))
        try:
            await handle.signal("provider_events", ProviderEvents(events=(event,)))
        except RPCError:
            return False
        return True

    # What there is to see.

    async def thread(self) -> ThreadSnapshot | None:
        """The thread; None when there is none."""
        errors = list(self.errors)
        snapshot: ThreadSnapshot | None = await self.asking(self.keeper.thread(self.thread_id))
        self.errors = errors
        return snapshot

    async def turn(self) -> TurnSnapshot:
        return await self.keeper.turn(self.thread_id)

    async def turn_id(self, turn: str | None) -> str | None:
        """The id of the turn that the row names; the name itself for a turn that there is not."""
        known = await self.record(turn) if turn is not None else None
        return known.turn_id if known is not None else turn

    async def record(self, turn: str) -> TurnRecord | None:
        """What the thread knows of the turn that the row names."""
        thread = await self.thread()
        if thread is None:
            return None
        known = (*thread.recent, *([thread.active] if thread.active else []), *thread.queued)
        return next((one for one in known if one.idempotency_key == self.key_of(turn)), None)

    @property
    def session_id(self) -> str:
        """The provider session of the thread that the row is about."""
        ours = (
            name
            for name, session in self.opencode.sessions.items()
            if session["metadata"].get("turnkeeper", {}).get("thread") == self.thread_id
        )
        return next(reversed(list(ours)), "ses_none")

    async def steady(self) -> None:
        """Until everything said so far was heard and looked at: the turn waits again, or none is left."""

        async def doing() -> str:
            thread = await self.thread()
            if thread is None or thread.active is None:
                return "" if thread is None or not thread.queued else "queued"
            return (await self.turn()).doing if thread.active.run_id else "begins"

        def waits(what: str) -> bool:
            return not what or (what.startswith("waits") and "second reading" not in what) or bool(self.opencode.held)

        await until(doing, waits)

    def close(self) -> None:
        """Let nothing of this world hang on."""
        for task in self.background:
            task.cancel()
        for hold in self.opencode.held.values():
            hold.set()
