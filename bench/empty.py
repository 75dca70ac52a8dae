"""The steps of one short turn without what they are for: the least that this design can cost on a Temporal server.

Counted in the histories of the shortest turn in a new thread (`events_and_bytes` counts them again in every run): a
thread of 16 events (update-with-start, a local activity, the child's start, the update's answer, the child's end) and a
turn of 18 (an activity, a timer, a signal that cancels it, an upsert of search attributes). Payloads are strings of the
same sizes. Nothing is decided, looked up, shown or translated, and no provider is called: the worker itself gives the
signal, `pause` seconds after the activity, as the provider's end would come. Without a pause it comes before the timer,
as the end of a provider that answers at once does, on both sides.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from temporalio import activity, workflow
from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import (
    RetryPolicy,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
)

from turnkeeper.search_attributes import ENDPOINT, REASON, SESSION, STATE, THREAD, attributes_of

TASK_QUEUE: Final = "bench-empty"

STEPS: Final = {"thread": 16, "turn": 18}
"""History events of the shortest turn in a new thread, as the current code makes them against OpenCode 1.18.33."""

THREAD_INPUT: Final = 213
START: Final = 309
ADMISSION: Final = 615
TURN_INPUT: Final = 957
STARTED: Final = 180
PROMPT: Final = 289
SUBMITTED: Final = 48
EVENTS: Final = 1100
RESULT: Final = 934
"""Bytes of the payloads of that turn, in the order of its histories."""

ONCE: Final = RetryPolicy(maximum_attempts=1)
CALL_LIMIT: Final = timedelta(seconds=15)
"""As a submit's; no call here takes a millisecond."""

LOOK_INTERVAL: Final = timedelta(seconds=10)
"""As a turn's first, after the pause. A floor that needed it would be none, so such a run is an error."""


@dataclass(frozen=True)
class EmptyTurn:
    """`pause`: seconds from the first activity to the signal. `filler` makes it as big as a turn's input."""

    pause: float
    filler: str


@dataclass(frozen=True)
class EmptyStarted:
    """The answer to a start: the run of the turn, by which its result is waited for."""

    run_id: str
    filler: str


def filler(size: int) -> str:
    """A string whose JSON has `size` bytes."""
    return "x" * (size - len('""'))


@workflow.defn(name="EmptyThread")
class EmptyThread:
    """Takes one start, runs one turn and stays open, as a thread does."""

    @workflow.init
    def __init__(self, thread: str) -> None:
        """Nothing was asked yet."""
        self._thread = thread
        self._asked: float | None = None
        self._run_id: str | None = None

    @workflow.run
    async def run(self, _: str) -> None:
        """Start the turn once it is asked for, and wait for its end."""
        await workflow.wait_condition(lambda: self._asked is not None)
        name = workflow.info().workflow_id
        attributes = TypedSearchAttributes(
            [
                SearchAttributePair(THREAD, name),
                SearchAttributePair(ENDPOINT, "empty"),
                SearchAttributePair(STATE, "running"),
            ]
        )
        turn = await workflow.start_child_workflow(
            EmptyTurnWorkflow.run,
            EmptyTurn(self._asked or 0.0, filler(TURN_INPUT)),
            id=f"{name}:turn",
            search_attributes=attributes,
        )
        self._run_id = turn.first_execution_run_id
        await turn
        await workflow.wait_condition(lambda: False)

    @workflow.update
    async def start(self, start: EmptyTurn) -> EmptyStarted:
        """Answer once the turn runs."""
        await workflow.execute_local_activity_method(
            EmptyActivities.admit, filler(START), start_to_close_timeout=CALL_LIMIT, retry_policy=ONCE
        )
        self._asked = start.pause
        await workflow.wait_condition(lambda: self._run_id is not None)
        return EmptyStarted(self._run_id or "", filler(STARTED))


@workflow.defn(name="EmptyTurn", failure_exception_types=[TimeoutError])
class EmptyTurnWorkflow:
    """An activity, and a wait for the signal."""

    @workflow.init
    def __init__(self, turn: EmptyTurn) -> None:
        """Nothing was told yet."""
        self._turn = turn
        self._told = False

    @workflow.run
    async def run(self, turn: EmptyTurn) -> str:
        """Give the result of a turn's size.

        Raises:
            TimeoutError: no signal came.

        """
        prompt = EmptyTurn(turn.pause, filler(PROMPT))
        await workflow.execute_activity_method(
            EmptyActivities.submit, prompt, start_to_close_timeout=CALL_LIMIT, retry_policy=ONCE
        )
        await workflow.wait_condition(lambda: self._told, timeout=timedelta(seconds=turn.pause) + LOOK_INTERVAL)
        workflow.upsert_search_attributes(
            [STATE.value_set("completed"), REASON.value_set("finished"), SESSION.value_set("none")]
        )
        return filler(RESULT)

    @workflow.signal
    def tell(self, _: str) -> None:
        """The provider came to its end."""
        self._told = True


class EmptyActivities:
    """Activities that do nothing; the first one has the signal given."""

    def __init__(self, temporal: Client) -> None:
        """Signal through `temporal`."""
        self._temporal = temporal
        self._signals: set[asyncio.Task[None]] = set()

    @activity.defn(name="empty_admit")
    async def admit(self, _: str) -> str:
        """As the check at the door."""
        return filler(ADMISSION)

    @activity.defn(name="empty_submit")
    async def submit(self, prompt: EmptyTurn) -> str:
        """As the delivery of the prompt."""
        info = activity.info()
        task = asyncio.create_task(self._signal(info.workflow_id or "", info.workflow_run_id or "", prompt.pause))
        self._signals.add(task)
        task.add_done_callback(self._signals.discard)
        return filler(SUBMITTED)

    async def _signal(self, workflow_id: str, run_id: str, pause: float) -> None:
        await asyncio.sleep(pause)
        handle = self._temporal.get_workflow_handle(workflow_id, run_id=run_id)
        with suppress(asyncio.CancelledError):  # the worker shuts down
            await handle.signal(EmptyTurnWorkflow.tell, filler(EVENTS))


async def empty_turn(temporal: Client, pause: float) -> str:
    """One empty turn in a new empty thread, until its result is there; the thread's workflow id."""
    name = f"empty:{uuid.uuid4().hex}"
    operation = WithStartWorkflowOperation(
        EmptyThread.run,
        filler(THREAD_INPUT),
        id=name,
        task_queue=TASK_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        search_attributes=attributes_of(name, "empty"),
    )
    started = await temporal.execute_update_with_start_workflow(
        EmptyThread.start, EmptyTurn(pause, filler(START)), start_workflow_operation=operation
    )
    turn = temporal.get_workflow_handle(f"{name}:turn", run_id=started.run_id, result_type=str)
    await turn.result(follow_runs=False)
    return name


async def events_and_bytes(temporal: Client, *workflow_ids: str) -> tuple[int, int]:
    """History events and bytes of these workflows together."""
    found = [await temporal.get_workflow_handle(name).describe() for name in workflow_ids]
    infos = [execution.raw_description.workflow_execution_info for execution in found]
    return sum(info.history_length for info in infos), sum(info.history_size_bytes for info in infos)
