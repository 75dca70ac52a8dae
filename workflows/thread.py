"""`Thread`: a durable conversation. Takes prompts, runs one turn at a time, remembers how they ended."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import (
    ApplicationError,
    ChildWorkflowError,
    WorkflowAlreadyStartedError,
)

with workflow.unsafe.imports_passed_through():
    from turnkeeper import queueing, threads
    from turnkeeper.continuation import continued
    from turnkeeper.errors import RefusedError, ServiceUnavailableError, bounded
    from turnkeeper.failures import to_application_error
    from turnkeeper.limits import PROMPT_START_CHARACTERS
    from turnkeeper.messages import Interrupt, Outcome, StopFailed, TurnInput, TurnResult, turn_workflow_id
    from turnkeeper.observations import Admission, AdmitRequest, SessionRequest
    from turnkeeper.outcomes import workflow_lost
    from turnkeeper.refusals import start_too_big
    from turnkeeper.search_attributes import ENDPOINT, STATE, THREAD
    from turnkeeper.thread_messages import (
        QueuedTurn,
        StartTurn,
        StartTurnResult,
        ThreadInput,
        ThreadSnapshot,
        ThreadState,
    )
    from turnkeeper.vocabulary import OnBusy, TurnState
    from workflows import calls
    from workflows.details import describe_thread
    from workflows.thread_adoption import ThreadAdoption
    from workflows.thread_ending import ThreadEnding
    from workflows.thread_places import ThreadPlaces
    from workflows.turn_calls import first_task_was_lost

PREDECESSOR_PAUSE: Final = timedelta(seconds=2)
"""Between tries to start a turn while a run of an earlier thread of this id still winds down."""

TURN_TASK_TIMEOUT: Final = timedelta(seconds=6)
"""A worker that dies inside a turn's workflow task is replaced after this long; 10 s by default. A task is some
milliseconds of work; the rest is for the replay of a long turn on a crowded machine, and for older turns, whose calls
are local (two of 2 s fit into the four fifths after which the SDK would prolong the task)."""

STEER_ANSWER: Final = timedelta(seconds=10)
"""How long a start waits to hear whether its prompt went into the running turn. It goes on without an answer."""

ADMIT_BESIDE: Final = "admit-beside"
"""Patch: starts are checked by a plain activity while anything else goes on in the thread.

A local activity's end can be handled after what came later, such as a turn's end, while its marker stands before that
(measured with SDK 1.35: live the turn had ended, replayed it ran, and the thread was stuck). What a start leads to
depends on that order, so where there can be one the order has to be in history.
"""

HOLD_AFTER_STOP: Final = "hold-after-stop"
"""Patch: what waits is held after a person's stop."""

COUNT_BYTES: Final = "count-bytes"
"""Patch: prompts and queues are bounded in bytes, not in characters alone."""

_NOT_ADMITTED: Final = ServiceUnavailableError(
    "The start could not be checked in time.", code="not_admitted", next_step="Try again; nothing was started."
)


@workflow.defn(name="Thread")
class ThreadWorkflow(ThreadEnding, ThreadAdoption, ThreadPlaces):
    """Continues as new between turns only: a child's result goes to the run that started it."""

    @workflow.init
    def __init__(self, thread: ThreadInput) -> None:
        """Take over what an earlier run of this thread carried."""
        self._input = thread
        self._state = thread.carried or ThreadState()
        if not self._state.counts_bytes and (thread.counts_bytes or workflow.patched(COUNT_BYTES)):
            self._state = self._state.model_copy(update={"counts_bytes": True})
        self._turn: workflow.ChildWorkflowHandle[object, TurnResult] | None = None
        self._last: tuple[str, Outcome] | None = None
        self._stop_early: Interrupt | None = None
        self._asked = {}
        self._failed_stop: StopFailed | None = None
        self._failed_stops = 0
        self._handed: set[str] = set()
        self._admitting = 0
        self._adopting = 0
        self._stopping_at_rest = 0
        self._refused = False
        # Here and not where it is needed: in a handler a patch's marker may stand in another task than replay asks it.
        self._admits_beside = thread.admits_beside or workflow.patched(ADMIT_BESIDE)
        self._ending = False
        self._closing = False

    @workflow.run
    async def run(self, thread: ThreadInput) -> ThreadSnapshot:
        """Run what waits, one turn at a time, for ever; a thread whose first start was refused ends at once."""
        try:
            return await self._run_turns(thread)
        except asyncio.CancelledError:
            self._ending = self._closing = True
            await self._give_place_back()
            await workflow.wait_condition(workflow.all_handlers_finished)
            raise

    async def _run_turns(self, thread: ThreadInput) -> ThreadSnapshot:
        while True:
            self._show()
            await workflow.wait_condition(lambda: self._may_begin() or self._over() or self._full())
            may_begin = self._may_begin() and await self._take_place()
            begun = threads.begin_next(self._state, workflow.now()) if may_begin else None
            if begun is not None:
                self._state, queued = begun
                await self._run_turn(queued)
                await self._give_place_back()
                if workflow.cancellation_reason() is not None:
                    raise asyncio.CancelledError  # it went to the turn, which was stopped; what waits is not begun
            elif self._over():
                await workflow.wait_condition(workflow.all_handlers_finished)
                if self._over():
                    return self.snapshot()
            if self._full():
                await self._continue_as_new(thread)

    # Messages.

    @workflow.update(description="Give the thread a prompt.")
    async def start_turn(self, start: StartTurn) -> StartTurnResult:
        """Admit, queue, and answer once the turn runs or is known to wait."""
        accepted = await self._accept(start)
        steering = queueing.steer_pending(self._state, accepted.turn_id)
        if steering:
            with suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda: not queueing.steer_pending(self._state, accepted.turn_id),
                    timeout=STEER_ANSWER,
                    timeout_summary="into the running turn?",
                )
        await workflow.wait_condition(lambda: self._ending or threads.placed(self._state, accepted.turn_id))
        if (error := queueing.late_steer_refusal(self._state, accepted.turn_id)) is not None:
            raise to_application_error(error)
        result = threads.start_result(self._state, self._input.thread_id, accepted)
        if not steering or result.steered or queueing.steer_pending(self._state, accepted.turn_id):
            return result
        return result.model_copy(update={"steered": False})

    @start_turn.validator
    def _check_start(self, start: StartTurn) -> None:
        error = self._mismatch(start) or start_too_big(start) or threads.refusal(self._state, start)
        if error is not None:
            raise to_application_error(error)

    @workflow.signal(description="The twin of `start_turn` for when no worker is up: kept, and done when one is.")
    async def request_turn(self, start: StartTurn) -> None:
        """Like `start_turn`; what is refused shows among the thread's refusals and as its last error."""
        try:
            if (error := self._mismatch(start)) is not None:
                raise to_application_error(error)
            await self._accept(start)
        except ApplicationError as error:
            self._refused = True
            self._state = threads.refused(self._state, start, error.message)

    @workflow.query(description="Status, active, waiting and latest turns.")
    def snapshot(self) -> ThreadSnapshot:
        """What a person sees of the thread."""
        return ThreadSnapshot(
            thread_id=self._input.thread_id,
            endpoint=self._input.endpoint,
            directory=self._state.directory or self._input.directory,
            status=self._state.status,
            session_id=self._state.session_id,
            active=self._state.active,
            steering=queueing.steering_records(self._state),
            queued=queueing.records(self._state),
            held=self._state.held,
            closed=self._state.closed,
            recent=self._state.recent,
            permissions=self._state.permissions,
            last_error=self._state.last_error,
            refusals=self._state.refusals,
            place=self._state.place,
        )

    # Starting.

    async def _accept(self, start: StartTurn) -> threads.Accepted:
        admission = await self._admit(start) if not threads.knows(self._state, start) else None
        if self._closing:
            raise to_application_error(RefusedError("The thread is being closed.", code="thread_closed"))
        try:
            accepted = threads.accept(self._state, start, admission, workflow.now())
        except RefusedError as error:
            self._refused = True
            raise to_application_error(error) from error
        self._state = accepted.state
        if start.on_busy is OnBusy.INTERRUPT and not accepted.repeated:
            await self._make_way(f"{accepted.turn_id} is sent in its place")
        await self._steer()
        return accepted

    async def _admit(self, start: StartTurn) -> Admission:
        """Ask a worker whether the start is acceptable, before anything of it exists."""
        request = AdmitRequest(
            endpoint=self._input.endpoint,
            directory=self._state.directory or self._input.directory,
            model=start.model,
            agent=start.agent,
            limits=start.limits,
            session=self._session_to_open(start) if self._has_no_session() else None,
        )
        beside = self._admits_beside and (self._admitting or self._state.active is not None or self._state.queue)
        queue = workflow.info().task_queue if beside else None
        self._admitting += 1
        try:
            admission: Admission = await calls.ask_at_door(
                calls.ADMIT, request, unanswered=_NOT_ADMITTED, task_queue=queue
            )
        except ApplicationError:
            self._refused = True
            raise
        finally:
            self._admitting -= 1
        return admission

    def _has_no_session(self) -> bool:
        """Nor is anybody about to open one: this is the first start that the thread ever got."""
        return self._state.session_id is None and not (self._state.turns_accepted or self._admitting)

    def _session_to_open(self, start: StartTurn) -> SessionRequest:
        """Opened at the door, so that it is in history before the turn, which may then submit at once."""
        return SessionRequest(
            endpoint=self._input.endpoint,
            thread_id=self._input.thread_id,
            namespace=workflow.info().namespace,
            directory=self._input.directory,
            session_id=None,
            creation_key=workflow.uuid4().hex,
            # A first task that was lost had the same key, and has perhaps created one that nobody would ever use.
            perhaps_created=first_task_was_lost(),
            title=self._input.thread_id,
            model=start.model,
            agent=start.agent,
        )

    def _mismatch(self, start: StartTurn) -> RefusedError | None:
        if start.endpoint is not None and start.endpoint != self._input.endpoint:
            message = f"The thread belongs to endpoint {self._input.endpoint}, not {start.endpoint}."
            return RefusedError(message, code="wrong_endpoint", next_step="Use another thread.")
        known = {self._input.directory, self._state.directory}
        if start.directory is not None and start.directory not in known:
            message = f"The thread works in {self._input.directory}, not {start.directory}."
            return RefusedError(message, code="wrong_directory", next_step="Use another thread.")
        return None

    # Running.

    async def _run_turn(self, queued: QueuedTurn) -> None:
        try:
            self._turn = await self._start_child(queued)
            self._state = threads.started(self._state, self._turn.first_execution_run_id or "")
            self._show()
            if self._stop_early is not None:
                await self._stop(self._stop_early)
            await self._steer()
            result = await self._turn
            outcome, session_id, context_lost = result.outcome, result.session_id, result.context_lost
            stop_asked = result.stop_asked
            steered: tuple[str, ...] | None = result.steered
        except ChildWorkflowError as error:
            # Terminated by an operator, or failed by a fault of ours: the turn itself could not say how it ended.
            outcome = workflow_lost(_started_at(self._state), workflow.now(), type(error.cause).__name__)
            session_id, context_lost, steered = self._state.session_id, False, None
            stop_asked = False
        self._turn, self._stop_early = None, None
        self._last = (queued.turn_id, outcome)
        # Threads that stopped a turn before queues were held went on: their histories have to replay so.
        hold = queueing.would_hold(self._state, outcome) and workflow.patched(HOLD_AFTER_STOP)
        stop_asked = stop_asked or self._state.stopping
        state = threads.settled(self._state, outcome, session_id, context_lost=context_lost, hold=hold, steered=steered)
        self._state = continued(state, queued, outcome, workflow.now(), stop_asked=stop_asked)

    async def _start_child(self, queued: QueuedTurn) -> workflow.ChildWorkflowHandle[object, TurnResult]:
        turn = TurnInput(
            thread_id=self._input.thread_id,
            turn_id=queued.turn_id,
            endpoint=self._input.endpoint,
            task_queue=self._state.task_queue,
            looks_grow=True,
            recovers=True,
            gap_decides=True,
            takes_readings=True,
            directory=self._state.directory or self._input.directory,
            session_id=queued.new_session_id or self._state.session_id,
            session_is_new=queued.new_session_id is not None,
            creation_key=queued.creation_key,
            prompt=queued.start.prompt,
            model=queued.start.model,
            agent=queued.start.agent,
            limits=queued.limits,
            continues=queued.continues,
            adopted_message_id=queued.adopted_message_id,
            steer_message_id=queued.steer_message_id,
            withdraw=queueing.left_behind(self._state, queued),
            permissions=self._state.permissions,
        )
        attributes = TypedSearchAttributes(
            [
                SearchAttributePair(THREAD, turn.thread_id),
                SearchAttributePair(ENDPOINT, turn.endpoint),
                SearchAttributePair(STATE, TurnState.RUNNING.value),
            ]
        )
        while True:
            try:
                return await workflow.start_child_workflow(
                    "Turn",
                    turn,
                    id=turn_workflow_id(turn.thread_id),
                    result_type=TurnResult,
                    # A closed thread stops its turn, and the turn tells the provider; it is not simply cut off.
                    parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
                    search_attributes=attributes,
                    task_timeout=TURN_TASK_TIMEOUT,
                    static_summary=bounded(turn.prompt, PROMPT_START_CHARACTERS),
                )
            except WorkflowAlreadyStartedError:
                await workflow.sleep(PREDECESSOR_PAUSE, summary="an earlier turn of this thread id winds down")

    def _may_begin(self) -> bool:
        """A prompt that was given while a session is being taken over or stopped waits for that."""
        return queueing.may_begin(self._state) and not (self._adopting or self._stopping_at_rest)

    # Ending a run.

    def _over(self) -> bool:
        return (self._state.closed and self._state.active is None) or self._born_dead()

    def _born_dead(self) -> bool:
        """Nothing was ever accepted and the first start was refused: leave no empty thread behind."""
        used = self._state.turns_accepted or self._state.session_id is not None
        return self._refused and not used and not self._admitting

    def _full(self) -> bool:
        info = workflow.info()
        long = info.get_current_history_length() >= self._input.continue_after_events
        return (long or info.is_continue_as_new_suggested()) and self._state.active is None

    async def _continue_as_new(self, thread: ThreadInput) -> None:
        self._ending = True
        await workflow.wait_condition(workflow.all_handlers_finished)
        workflow.continue_as_new(thread.model_copy(update={"carried": self._state}))

    def _show(self) -> None:
        workflow.set_current_details(describe_thread(self.snapshot()))


def _started_at(state: ThreadState) -> datetime:
    active = state.active
    return active.started_at if active is not None and active.started_at is not None else workflow.now()
