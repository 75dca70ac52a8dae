"""What may happen to a thread: the steps of a story, and the world that they act on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final

from temporalio.service import RPCError

from tests.workflow.model_provider import ModelProvider, RunState
from tests.workflow.stage import DIRECTORY, ENDPOINT, Stage, new_thread, tell
from turnkeeper.client import StartedTurn
from turnkeeper.errors import RefusedError, ServiceUnavailableError
from turnkeeper.findings import Adopt, Reconcile
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import Answer, Interrupt, InterruptResult, TurnRecord
from turnkeeper.observations import Reading
from turnkeeper.thread_messages import ThreadInput, ThreadSnapshot
from turnkeeper.vocabulary import EventKind, Finding, OnBusy, OnLost, PermissionReply
from turnkeeper.with_start import signal_with_start

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

THEIRS: Final = "ses_theirs"
"""A session that somebody began in the provider itself."""


class Step(StrEnum):
    """What may happen."""

    START = "a prompt is given"
    START_OR_NOT = "a prompt is given, unless the thread is busy"
    START_INSTEAD = "a prompt is given that interrupts what runs"
    START_TO_CONTINUE = "a prompt is given that is gone on with if the provider loses it"
    STEER = "a prompt is given for the running turn"
    STEER_KEPT = "a prompt for the running turn is kept as a signal"
    STEER_TOO_LATE = "the agent finishes just before the next such prompt reaches it"
    SAME_START = "the latest start is sent again"
    ADOPT = "a person adopts a session in which something runs"
    ADOPT_IDLE = "a person adopts a session in which nothing runs"
    ADOPT_KEPT = "an adoption is kept as a signal"
    RECONCILE = "a person has the thread look again"
    RECONCILE_KEPT = "the same, kept as a signal"
    SEND_NOW = "a person sends the last waiting prompt now"
    REMOVE = "a person takes the last waiting prompt back"
    RESUME = "a person lets a held queue go on"
    STOP = "a person stops the thread"
    STOP_KEPT = "a stop of the thread is kept as a signal"
    STOP_TURN = "a person stops the turn itself"
    FINISH = "the agent finishes"
    FINISH_TOLD = "the agent finishes, and the relay reads that and tells it"
    FINISH_TOLD_LATE = "the same, but it is told with the next event that says idle"
    FAIL = "the model fails"
    ASK = "the agent asks a person"
    ANSWER = "the person answers"
    ANSWER_KEPT = "the person's answer is kept as a signal"
    WORK = "the agent works on"
    FORGET = "the provider forgets what came while the agent worked"
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
    exists: bool = False
    adopted: bool = False
    given: list[str] = field(default_factory=list)
    steers: set[str] = field(default_factory=set)
    removed: list[str] = field(default_factory=list)
    stopped: set[str] = field(default_factory=set)
    """Turns that a person stopped, and Turnkeeper said so or took the signal."""
    commands: list[asyncio.Task[None]] = field(default_factory=list)
    worker: AsyncExitStack = field(default_factory=AsyncExitStack)
    latest: StartedTurn | None = None
    read: Reading | None = None
    """What the relay has read and not told yet."""

    async def perform(self, step: Step) -> None:
        """One step; what takes as long as a stop goes on beside the next ones."""
        if (lever := self._levers().get(step)) is not None:
            lever()
        elif (slow := self._slow().get(step)) is not None:
            self.commands.append(asyncio.create_task(slow()))
        else:
            await self._quick()[step]()

    def _levers(self) -> dict[Step, Callable[[], None]]:
        provider = self.provider
        return {
            Step.FINISH: lambda: provider.end_all(RunState.FINISHED),
            Step.FAIL: lambda: provider.end_all(RunState.FAILED),
            Step.ASK: lambda: provider.end_all(RunState.ASKING),
            Step.CRASH: lambda: provider.end_all(RunState.DEAD),
            Step.WORK: provider.work,
            Step.FORGET: provider.forget_waiting,
            Step.DELETE: provider.delete_sessions,
            Step.GO_AWAY: lambda: setattr(provider, "away", True),
            Step.COME_BACK: lambda: setattr(provider, "away", False),
            Step.LOSE_ANSWER: lambda: setattr(provider, "loses_next_answer", True),
            Step.LOSE_ABORT: lambda: setattr(provider, "loses_next_abort", True),
            Step.STEER_TOO_LATE: lambda: setattr(provider, "ends_before_next_steer", True),
        }

    def _slow(self) -> dict[Step, Callable[[], Coroutine[object, object, None]]]:
        return {
            Step.START_INSTEAD: lambda: self.start(OnBusy.INTERRUPT),
            Step.STEER: lambda: self.start(OnBusy.STEER),
            Step.SEND_NOW: self.send_now,
            Step.STOP: self.stop,
            Step.STOP_TURN: self.stop_turn,
            Step.ANSWER: self.answer,
            Step.RECONCILE: self.reconcile,
        }

    def _quick(self) -> dict[Step, Callable[[], Awaitable[None]]]:
        return {
            Step.START: lambda: self.start(OnBusy.QUEUE),
            Step.START_OR_NOT: lambda: self.start(OnBusy.REJECT),
            Step.START_TO_CONTINUE: lambda: self.start(OnBusy.QUEUE, OnLost.CONTINUE),
            Step.STEER_KEPT: self.steer_kept,
            Step.SAME_START: self.start_again,
            Step.ADOPT: lambda: self.adopt(live=True),
            Step.ADOPT_IDLE: lambda: self.adopt(live=False),
            Step.ADOPT_KEPT: self.adopt_kept,
            Step.RECONCILE_KEPT: self.reconcile_kept,
            Step.REMOVE: self.remove,
            Step.RESUME: self.resume,
            Step.STOP_KEPT: self.stop_kept,
            Step.ANSWER_KEPT: self.answer_kept,
            Step.IDLE_EVENT: lambda: self.tell_event(EventKind.IDLE),
            Step.FINISH_TOLD: lambda: self.finish_told(late=False),
            Step.FINISH_TOLD_LATE: lambda: self.finish_told(late=True),
            Step.ERROR_EVENT: lambda: self.tell_event(EventKind.SESSION_ERROR),
            Step.WORKER_RESTARTS: self.restart_worker,
            Step.PAUSE: lambda: asyncio.sleep(5 * STEP),
            Step.LONG_PAUSE: lambda: asyncio.sleep(1.2),
        }

    # Prompts.

    def next_prompt(self, on_busy: OnBusy) -> str:
        prompt = f"prompt {len(self.given) + 1}"
        self.given.append(prompt)
        if on_busy is OnBusy.STEER:
            self.steers.add(prompt)
        return prompt

    async def start(self, on_busy: OnBusy, on_lost: OnLost = OnLost.SETTLE) -> None:
        prompt = self.next_prompt(on_busy)
        try:
            self.latest = await self.stage.start(
                self.thread, prompt, idempotency_key=prompt, on_busy=on_busy, on_lost=on_lost, limits=SHORT
            )
        except RefusedError as error:
            if on_busy is not OnBusy.REJECT:
                raise AssertionError("a prompt that could wait was refused") from error
            self.given.remove(prompt)
            self.given.append("refused")
        else:
            self.exists = True

    async def steer_kept(self) -> None:
        prompt = self.next_prompt(OnBusy.STEER)
        await self.stage.request(self.thread, Stage.prompt(prompt, prompt, on_busy=OnBusy.STEER, limits=SHORT))
        self.exists = True

    async def start_again(self) -> None:
        first = self.latest.result if self.latest is not None else None
        if self.latest is None or first is None:
            return
        key = self.latest.idempotency_key
        again = await self.stage.start(self.thread, key, idempotency_key=key, limits=SHORT)
        assert again.result is not None
        assert again.result.turn_id == first.turn_id

    # Taking over, and looking again.

    async def adopt(self, *, live: bool) -> None:
        unused = self.theirs_begun(live=live)
        try:
            await self.stage.keeper.adopt(THEIRS, endpoint=ENDPOINT, thread_id=self.thread, limits=SHORT)
        except RefusedError:
            assert not (unused and THEIRS in self.provider.sessions), "a thread without prompts takes a session over"
        except ServiceUnavailableError:
            assert self.provider.away
        else:
            self.exists = self.adopted = True

    async def adopt_kept(self) -> None:
        self.theirs_begun(live=True)
        thread = ThreadInput(
            thread_id=self.thread, endpoint=ENDPOINT, directory=DIRECTORY, admits_beside=True, counts_bytes=True
        )
        command = Adopt(session_id=THEIRS, limits=SHORT)
        await signal_with_start(self.stage.client, self.stage.queue, thread, "request_adopt", command)
        self.exists = True

    def theirs_begun(self, *, live: bool) -> bool:
        """Somebody works in a session of their own. Is the thread still without one?"""
        if not any(run.session_id == THEIRS for run in self.provider.runs):
            self.provider.begin_elsewhere(THEIRS, "typed by a person")
            if not live:
                self.provider.runs[-1].end(RunState.FINISHED)
        return not (self.exists or self.given)

    async def reconcile(self) -> None:
        if not self.exists:
            return
        found = await self.stage.keeper.reconcile(self.thread)
        if found.finding is Finding.GONE:
            assert found.session_id not in self.provider.sessions, found

    async def reconcile_kept(self) -> None:
        if self.exists:
            await self.stage.thread_of(self.thread).signal("request_reconcile", Reconcile())

    # Stops.

    async def stop(self) -> None:
        if self.exists:
            self.was_stopped(await self.stage.keeper.interrupt(self.thread))

    async def stop_kept(self) -> None:
        active = (await self.snapshot()).active if self.exists else None
        if active is not None:
            command = Interrupt(turn_id=active.turn_id)
            await self.stage.thread_of(self.thread).signal("request_interrupt", command)

    async def stop_turn(self) -> None:
        """Past the thread, as an operator does in Temporal's UI."""
        active = (await self.snapshot()).active if self.exists else None
        if active is None or active.run_id is None:
            return
        with suppress(RPCError):  # it ended meanwhile
            turn = self.stage.turn_of(self.thread, active.run_id)
            await turn.signal("interrupt", Interrupt(turn_id=active.turn_id))
            self.stopped.add(active.turn_id)

    def was_stopped(self, answer: InterruptResult) -> None:
        if answer.turn_id is None:
            return
        if answer.was_running:
            self.stopped.add(answer.turn_id)

    # The queue.

    async def send_now(self) -> None:
        if (waiting := await self.last_waiting()) is not None:
            with suppress(RefusedError):  # it began, or was taken back, meanwhile
                await self.stage.keeper.send_now(self.thread, waiting.turn_id)

    async def remove(self) -> None:
        if (waiting := await self.last_waiting()) is not None:
            with suppress(RefusedError):
                removal = await self.stage.keeper.remove_queued(self.thread, waiting.turn_id)
                self.removed.append(removal.removed.start.idempotency_key)

    async def resume(self) -> None:
        if self.exists:
            await self.stage.keeper.resume_queue(self.thread)

    async def last_waiting(self) -> TurnRecord | None:
        queued = (await self.snapshot()).queued if self.exists else ()
        return queued[-1] if queued else None

    # Answers, events, deaths.

    async def answer(self) -> None:
        if not self.exists or (await self.snapshot()).active is None:
            return
        # The turn is over; or the provider is away, and the answer kept; or the worker is just being replaced.
        with suppress(RefusedError, ServiceUnavailableError):
            for request in (await self.stage.keeper.turn(self.thread)).open_requests:
                await self.stage.keeper.answer(
                    self.thread, request.request_id, permission=PermissionReply.ONCE, within=ANSWERED_WITHIN
                )

    async def answer_kept(self) -> None:
        if not self.exists or (await self.snapshot()).active is None:
            return
        for request in (await self.stage.keeper.turn(self.thread)).open_requests:
            with suppress(RPCError):  # it ended meanwhile
                answer = Answer(request_id=request.request_id, permission=PermissionReply.ONCE)
                await self.stage.turn_of(self.thread).signal("request_answer", answer)

    async def tell_event(self, kind: EventKind) -> None:
        """As the relay does it: it reads what became idle, whichever turn it then tells."""
        if not self.exists or (await self.snapshot()).active is None:
            return
        reading = None
        if kind is EventKind.IDLE:
            reading, self.read = self.read or self.provider.read_ended(), None
        with suppress(RPCError):  # as above
            await tell(self.stage.turn_of(self.thread), kind, detail="somebody says so", reading=reading)

    async def finish_told(self, *, late: bool) -> None:
        self.provider.end_all(RunState.FINISHED)
        self.read = self.provider.read_ended()
        if not late:
            await self.tell_event(EventKind.IDLE)

    async def restart_worker(self) -> None:
        await self.worker.aclose()
        await self.worker.enter_async_context(self.stage.worker_up())

    async def snapshot(self) -> ThreadSnapshot:
        return await self.stage.keeper.thread(self.thread)
