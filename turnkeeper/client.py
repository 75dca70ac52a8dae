"""What other programs import: start turns, follow them, stop them, list threads.

>>> keeper = Turnkeeper(await connect())
>>> started = await keeper.start_turn("shop", "Fix the failing test", endpoint="local", directory="/srv/shop")
>>> result = await keeper.wait(started)

Every method raises `TurnkeeperError` children: `RefusedError` for what a retry cannot help, `ServiceUnavailableError`
when Temporal or its workers do not answer.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, TypeVar

from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowHandle,
)

from turnkeeper.answers import TurnAnswers
from turnkeeper.asking import answer_of, explaining, refusing_bad_input, update_or_keep
from turnkeeper.controls import ThreadControls
from turnkeeper.errors import RefusedError, TurnkeeperError
from turnkeeper.keys import key_reused, prompt_digest
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import (
    WORKFLOW_TASK_QUEUE,
    EndpointSnapshot,
    PermissionRule,
    TurnResult,
    TurnSnapshot,
    endpoint_workflow_id,
    thread_workflow_id,
    turn_workflow_id,
)
from turnkeeper.recovery import ThreadRecovery
from turnkeeper.refusals import refuse, start_too_big
from turnkeeper.search_attributes import ENDPOINT
from turnkeeper.thread_messages import StartTurn, StartTurnResult, ThreadInput, ThreadSnapshot
from turnkeeper.vocabulary import OnBusy, OnLost
from turnkeeper.with_start import signal_with_start, update_with_start

ACCEPT_TIMEOUT: Final = 15.0
"""Seconds for a worker to accept a start. Accepting takes tens of milliseconds; the rest is for a busy fleet."""

ANSWER_TIMEOUT: Final = 10.0
"""Seconds for a query: it needs a live worker."""

BEGIN_POLL: Final = 0.1
"""Seconds between looks at a thread whose next turn may begin right now; doubles up to `QUEUE_POLL`."""

QUEUE_POLL: Final = 3.0
"""Seconds between looks at a thread while a turn waits in its queue, if the turn before it does not end: each costs a
worker 5 ms, and hundreds may wait. Bounds how late one learns that a prompt was taken out, or got its place."""

OPEN_THREADS_QUERY: Final = "WorkflowType = 'Thread' AND ExecutionStatus = 'Running'"

THREADS_QUERY: Final = "WorkflowType = 'Thread' AND ExecutionStatus != 'ContinuedAsNew'"
"""Open and closed threads. One that continued as new is listed by its latest run."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StartedTurn:
    """What became of a start. `kept`: no worker answered; the prompt is durable and runs once one is up."""

    thread_id: str
    idempotency_key: str
    result: StartTurnResult | None
    prompt_digest: str = ""

    @property
    def kept(self) -> bool:
        """Is the prompt stored without a worker having seen it?"""
        return self.result is None


@dataclass(frozen=True, slots=True)
class ThreadSummary:
    """A thread as lists show it, from Temporal's visibility: no worker is asked."""

    thread_id: str
    endpoint: str
    started_at: datetime
    open: bool


class Turnkeeper(ThreadControls, ThreadRecovery, TurnAnswers):
    """A client of the `Thread`, `Turn` and `Endpoint` workflows."""

    def __init__(self, temporal: Client, *, task_queue: str = WORKFLOW_TASK_QUEUE) -> None:
        """Use `temporal`, which must have the pydantic data converter (as `connection.connect` gives it)."""
        super().__init__(temporal)
        self.task_queue = task_queue

    async def start_turn(  # noqa: PLR0913 - the fields of StartTurn, as a person thinks of them
        self,
        thread_id: str,
        prompt: str,
        *,
        endpoint: str | None = None,
        directory: str | None = None,
        model: str | None = None,
        agent: str | None = None,
        idempotency_key: str | None = None,
        on_busy: OnBusy = OnBusy.QUEUE,
        expected_turn_id: str | None = None,
        on_lost: OnLost = OnLost.SETTLE,
        limits: TurnLimits | None = None,
        permissions: Sequence[PermissionRule] | None = None,
        accept_timeout: float = ACCEPT_TIMEOUT,
    ) -> StartedTurn:
        """Give `prompt` to a thread. With `endpoint` and `directory` the thread is created if it does not exist.

        The same `idempotency_key` twice gives the same turn; without one, every call is a new turn. `permissions` stay
        with the thread until they are given again. A prompt that steers goes into the turn `expected_turn_id`, if one
        is named, or is refused.

        Raises:
            RefusedError: bad input, unknown thread, endpoint, model or directory, or a busy thread that rejects.
            ServiceUnavailableError: Temporal does not answer. Repeat with the same key: it cannot run twice.

        """
        key = uuid.uuid4().hex if idempotency_key is None else idempotency_key
        with refusing_bad_input():
            start = StartTurn(
                prompt=prompt,
                idempotency_key=key,
                model=model,
                agent=agent,
                on_busy=on_busy,
                expected_turn_id=expected_turn_id,
                on_lost=on_lost,
                limits=limits,
                permissions=None if permissions is None else tuple(permissions),
                endpoint=endpoint,
                directory=directory,
            )
            thread = (
                ThreadInput(
                    thread_id=thread_id, endpoint=endpoint, directory=directory, admits_beside=True, counts_bytes=True
                )
                if endpoint is not None and directory is not None
                else None
            )
        refuse(start_too_big(start))
        with explaining(f"thread {thread_id!r}"):
            result = await update_or_keep(
                lambda: self._update_start(thread_id, thread, start),
                lambda: self._signal_start(thread_id, thread, start),
                accept_timeout,
            )
        return StartedTurn(thread_id, key, result, prompt_digest(prompt))

    async def _update_start(self, thread_id: str, thread: ThreadInput | None, start: StartTurn) -> StartTurnResult:
        # Not under the key as the update's id: Temporal would give a repeated one the first answer, and the thread
        # could neither say that it is repeated nor refuse another prompt.
        if thread is not None:
            return await update_with_start(self.temporal, self.task_queue, thread, "start_turn", start, StartTurnResult)
        handle = self.temporal.get_workflow_handle(thread_workflow_id(thread_id))
        answer: StartTurnResult = await handle.execute_update("start_turn", start, result_type=StartTurnResult)
        return answer

    async def _signal_start(self, thread_id: str, thread: ThreadInput | None, start: StartTurn) -> None:
        if thread is not None:
            await signal_with_start(self.temporal, self.task_queue, thread, "request_turn", start)
        else:
            await self.temporal.get_workflow_handle(thread_workflow_id(thread_id)).signal("request_turn", start)

    async def wait(self, started: StartedTurn) -> TurnResult:
        """The turn's result, once it is settled. Waits for ever: a turn's own deadline bounds it."""
        run_id = await self._run_of(started)
        result = await self.result(started.thread_id, run_id)
        if started.result is None or started.result.turn_id in {result.turn_id, *result.steered}:
            return result
        # It went into the running turn, which dropped it: now it is a turn of its own.
        await asyncio.sleep(BEGIN_POLL)
        again = started.result.model_copy(update={"run_id": None, "steered": None})
        return await self.wait(replace(started, result=again))

    async def result(self, thread_id: str, run_id: str | None = None) -> TurnResult:
        """The result of one run of the thread's turns (the latest without `run_id`), once it is settled."""
        handle = self.temporal.get_workflow_handle(turn_workflow_id(thread_id), run_id=run_id, result_type=TurnResult)
        with explaining(f"turn of thread {thread_id!r}"):
            result: TurnResult = await handle.result(follow_runs=False)
            return result

    async def _run_of(self, started: StartedTurn) -> str:
        if started.result is not None and started.result.run_id is not None:
            return started.result.run_id
        pause, ended = BEGIN_POLL, ""
        while True:
            thread = await self.thread(started.thread_id)
            if (run_id := _begun(started, thread)) is not None:
                return run_id
            ahead = thread.active.run_id if thread.active else None
            if ahead is None or ahead == ended:
                await asyncio.sleep(pause)
                pause = min(2 * pause, QUEUE_POLL)
            elif await self._ends(started.thread_id, ahead, within=QUEUE_POLL):
                pause, ended = BEGIN_POLL, ahead

    async def _ends(self, thread_id: str, run_id: str, within: float) -> bool:
        """Wait for the end of the turn ahead, whatever it is. Temporal tells of it: no worker is asked."""
        try:
            async with asyncio.timeout(within):
                await self.result(thread_id, run_id)
        except TimeoutError:
            return False
        except TurnkeeperError:
            return True  # it was terminated, say: the thread knows what follows
        return True

    async def turn(self, thread_id: str, run_id: str | None = None) -> TurnSnapshot:
        """What the thread's turn (the latest without `run_id`) does right now."""
        return await self._query(turn_workflow_id(thread_id), TurnSnapshot, f"turn of thread {thread_id!r}", run_id)

    async def thread(self, thread_id: str) -> ThreadSnapshot:
        """Status, active, waiting and latest turns of a thread."""
        return await self._query(thread_workflow_id(thread_id), ThreadSnapshot, f"thread {thread_id!r}")

    async def endpoint(self, name: str) -> EndpointSnapshot:
        """Health of an endpoint's event stream."""
        return await self._query(endpoint_workflow_id(name), EndpointSnapshot, f"endpoint {name!r}")

    async def _query(self, workflow_id: str, kind: type[T], what: str, run_id: str | None = None) -> T:
        handle: WorkflowHandle[object, object] = self.temporal.get_workflow_handle(workflow_id, run_id=run_id)
        with explaining(what):
            snapshot: T = await answer_of(lambda: handle.query("snapshot", result_type=kind), ANSWER_TIMEOUT)
            return snapshot

    async def threads(self, limit: int | None = 50, *, only_open: bool = False) -> AsyncIterator[ThreadSummary]:
        """The latest threads, open ones first; all of them without a limit. Each name once.

        Closed ones stay as long as Temporal keeps them (the namespace's retention), a first start that was refused too.
        """
        query = OPEN_THREADS_QUERY if only_open else THREADS_QUERY
        known: set[str] = set()
        with explaining("threads"):
            async for execution in self.temporal.list_workflows(query):
                thread_id = execution.id.removeprefix(thread_workflow_id(""))
                if thread_id in known:
                    continue  # an earlier thread of this name
                if len(known) == limit:
                    return
                known.add(thread_id)
                yield ThreadSummary(
                    thread_id=thread_id,
                    endpoint=execution.typed_search_attributes.get(ENDPOINT) or "",
                    started_at=execution.start_time,
                    open=execution.status is WorkflowExecutionStatus.RUNNING,
                )


def _begun(started: StartedTurn, thread: ThreadSnapshot) -> str | None:
    """The run of a prompt that was in the queue; None while it still is, or waits to be taken in.

    Raises:
        RefusedError: it will never begin.

    """
    known = [*thread.recent, *([thread.active] if thread.active else []), *thread.steering, *thread.queued]
    turn = next((turn for turn in known if turn.idempotency_key == started.idempotency_key), None)
    if turn is not None and (mistake := key_reused(turn.turn_id, turn.prompt_digest, started.prompt_digest)):
        raise mistake
    if turn is not None and turn.run_id is not None:
        return turn.run_id
    if turn is not None and turn.completed_at is not None:
        why = turn.error or turn.reason
        raise RefusedError(f"Turn {turn.turn_id} ended before it began: {why}", code="not_begun")
    for refusal in thread.refusals:
        if refusal.idempotency_key == started.idempotency_key:
            raise RefusedError(refusal.message)
    if turn is None and started.result is not None:
        raise RefusedError(f"Thread {started.thread_id!r} no longer knows the turn.", code="unknown_turn")
    return None
