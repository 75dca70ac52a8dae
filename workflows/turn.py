"""`Turn`: one user message and all the agent work that follows from it. Performs what the core decides."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from turnkeeper import requests, steering
    from turnkeeper.errors import RefusedError
    from turnkeeper.failures import to_application_error
    from turnkeeper.findings import Reconcile, TurnFinding
    from turnkeeper.lifecycle import adopted, begin, deadline_of, decide, learn, state_of
    from turnkeeper.messages import (
        Interrupt,
        InterruptResult,
        SteerTurn,
        StopFailed,
        TurnInput,
        TurnResult,
        TurnSnapshot,
    )
    from turnkeeper.observations import (
        ProviderEvents,
        Reading,
        Usage,
    )
    from turnkeeper.opencode.identifiers import message_id
    from turnkeeper.outcomes import stop_words
    from turnkeeper.reconciliation import TURN_PATIENCE, is_sure, turn_finding
    from turnkeeper.search_attributes import REASON, SESSION, STATE
    from turnkeeper.turn import (
        Abort,
        Decision,
        Dismiss,
        EventsArrived,
        Fact,
        GiveUp,
        GiveUpStop,
        IllegalTransitionError,
        Look,
        LookAsked,
        OpenSession,
        ReadingTold,
        SendReply,
        SendSteer,
        Settle,
        Settled,
        StopAsked,
        StopCause,
        StopGivenUp,
        Submit,
        Wait,
    )
    from turnkeeper.vocabulary import TurnState
    from workflows.details import describe_turn
    from workflows.turn_answers import TurnAnswers
    from workflows.turn_calls import perhaps_tried_before
    from workflows.turn_steers import TurnSteers

LOST_TRY_PATCH: Final = "lost-try"
"""A turn whose first task was lost does not say any more that nothing was sent. Only such turns have the marker."""


# A broken rule is our fault: the turn fails and its thread says so, instead of retrying the same step for ever.
@workflow.defn(name="Turn", failure_exception_types=[IllegalTransitionError])
class TurnWorkflow(TurnAnswers, TurnSteers):
    """Each turn of a thread is a run of the same workflow id, so Temporal itself allows one at a time."""

    @workflow.init
    def __init__(self, turn: TurnInput) -> None:
        """Mint the client message id, once: it is in history, so whatever is retried sends the same one."""
        self._input = turn
        resume = turn.session_id is not None and not turn.session_is_new
        tried_before = (
            turn.session_id is not None
            and turn.adopted_message_id is None
            and perhaps_tried_before(local_calls=turn.local_calls)
            and workflow.patched(LOST_TRY_PATCH)
        )
        self._turn = begin(
            turn.limits,
            workflow.now(),
            resume=resume,
            session_open=turn.session_is_new,
            tried_before=tried_before,
            looks_grow=turn.looks_grow,
            recovers=turn.recovers,
            gap_decides=turn.gap_decides,
            bound=turn.continues is not None,
            permissions=turn.permissions,
        )
        if turn.adopted_message_id is not None:
            self._turn = adopted(self._turn, workflow.now())
        self._session_id = turn.session_id
        self._session_created = False
        own_key = workflow.uuid4().hex
        self._creation_key = turn.creation_key or own_key
        # Of the workflow's start, not of this task's: a first task that has to be repeated mints the same id.
        started_at = workflow.info().workflow_start_time
        own_id = message_id(int(started_at.timestamp() * 1000), workflow.random())
        self._message_id = turn.adopted_message_id or turn.steer_message_id or own_id
        self._failed_stops = 0
        self._stop_failure = ""
        self._steers: dict[str, SteerTurn] = {}
        self._decision: Decision | None = None
        self._shown_state: TurnState | None = None

    @workflow.run
    async def run(self, turn: TurnInput) -> TurnResult:
        """Decide and perform until the turn is settled."""
        while self._turn.outcome is None:
            try:
                await self._perform(decide(self._turn, workflow.now()))
            except asyncio.CancelledError:
                # Cancelling the workflow is a stop like any other: the provider has to be told.
                self._learn(StopAsked(StopCause.ASKED, "the workflow was cancelled"))
        self._show()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return TurnResult(
            thread_id=turn.thread_id,
            turn_id=turn.turn_id,
            session_id=self._session_id,
            client_message_id=self._message_id,
            context_lost=self._turn.context_lost,
            outcome=self._turn.outcome,
            steered=steering.answered(self._turn),
            stop_asked=self._turn.stop_wanted,
        )

    # Messages.

    @workflow.signal(description="Events of the provider, in canonical form, and what was read after the last one.")
    def provider_events(self, batch: ProviderEvents) -> None:
        """Wake the turn, unless it is told what it would find."""
        self._learn(EventsArrived(batch.events))
        if batch.reading is not None and self._asks_for(batch.reading):
            self._learn(ReadingTold(batch.reading.seen))

    @workflow.signal(description='Stop the turn. Plain JSON: {"why": "..."}')
    def interrupt(self, command: Interrupt) -> None:
        """Stop the turn, if it is the one that was meant, or goes on with that one."""
        if command.turn_id in {None, self._input.turn_id, self._input.continues}:
            self._learn(StopAsked(StopCause.ASKED, command.why, command.keep))

    @workflow.update(description="Stop the turn and answer when that is confirmed or declared unconfirmed.")
    async def interrupt_and_wait(self, command: Interrupt) -> InterruptResult:
        """Stop the turn; joins a stop in progress."""
        failures = self._failed_stops
        self._learn(StopAsked(StopCause.ASKED, command.why, command.keep))
        await workflow.wait_condition(lambda: self._turn.outcome is not None or self._failed_stops > failures)
        return InterruptResult(
            turn_id=self._input.turn_id,
            was_running=True,
            outcome=self._turn.outcome,
            failure=self._stop_failure if self._turn.outcome is None else None,
        )

    @interrupt_and_wait.validator
    def _check_interrupt(self, command: Interrupt) -> None:
        if command.turn_id not in {None, self._input.turn_id, self._input.continues}:
            message = f"Turn {command.turn_id} is not the running one; that is {self._input.turn_id}."
            raise to_application_error(RefusedError(message, code="not_running"))

    @workflow.update(description="Look now, and answer what was found.")
    async def reconcile(self, command: Reconcile) -> TurnFinding:
        """Make the turn look, and wait until it is sure, or until that takes too long."""
        return await self._look_now(command)

    @workflow.signal(description="The twin of `reconcile`: the answer goes to the thread, if there is one.")
    async def request_reconcile(self, command: Reconcile) -> None:
        """Look now, and tell the thread what was found."""
        found = await self._look_now(command)
        parent = workflow.info().parent
        if parent is None:
            return
        thread = workflow.get_external_workflow_handle(parent.workflow_id, run_id=parent.run_id)
        with suppress(ApplicationError):  # the thread is gone, and with it who asked
            await thread.signal("turn_reconciled", found)

    @workflow.query(description="What the turn does right now.")
    def snapshot(self) -> TurnSnapshot:
        """Everything a person may want to see, the prompt excepted."""
        turn, seen, wait = self._turn, self._turn.seen, self._decision
        return TurnSnapshot(
            thread_id=self._input.thread_id,
            turn_id=self._input.turn_id,
            state=state_of(turn),
            session_id=self._session_id,
            client_message_id=self._message_id,
            context_lost=turn.context_lost,
            continues=self._input.continues,
            delivery=turn.delivery,
            doing=_doing(wait),
            started_at=turn.started_at,
            last_progress_at=turn.progress_at,
            next_check_at=wait.until if isinstance(wait, Wait) else None,
            deadline_at=deadline_of(turn),
            stop_requested_at=turn.stop.asked_at if turn.stop else None,
            retry_at=seen.retry_at if seen and turn.outcome is None else None,
            stop=stop_words(turn.stop) if turn.stop else "",
            looks=turn.looks,
            events_seen=turn.events_seen,
            open_requests=requests.open_requests(turn),
            answers=requests.answers_shown(turn, self._input.turn_id),
            tools=seen.tools if seen else (),
            tool_calls=seen.tool_calls if seen else 0,
            usage=seen.usage if seen else Usage(),
            text=seen.text if seen else "",
            outcome=turn.outcome,
        )

    # Performing decisions.

    async def _look_now(self, command: Reconcile) -> TurnFinding:
        before, answers = state_of(self._turn), self._turn.answers
        self._learn(LookAsked())
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: is_sure(self._turn, answers), timeout=TURN_PATIENCE, timeout_summary="asked to look now"
            )
        return turn_finding(self._turn, self._input.turn_id, before, command.token)

    def _asks_for(self, reading: Reading) -> bool:
        """Is this what a look of ours would ask for? A turn that is looking has its answer on the way."""
        ours = (self._session_id, self._message_id, self._input.limits.text_limit)
        told = (reading.session_id, reading.message_id, reading.text_limit)
        return self._input.takes_readings and told == ours and not isinstance(self._decision, Look)

    async def _perform(self, decision: Decision) -> None:
        self._decision = decision
        if isinstance(decision, Wait):
            self._show()  # what is done in between is over before anybody could read it
        match decision:
            case OpenSession(resume=resume, again=again):
                await self._open_session(resume=resume, again=again)
            case Submit(anew=anew):
                await self._submit(anew=anew)
            case SendSteer():
                await self._send_steer(decision)
            case Look():
                await self._look()
            case Abort():
                await self._abort()
            case SendReply() | Dismiss():
                await self._reply(decision)
            case GiveUp(cause, why):
                self._learn(StopAsked(cause, why))
            case GiveUpStop(why):
                await self._give_up_stop(why)
            case Wait():
                await self._wait(decision)
            case Settle(outcome):
                self._learn(Settled(outcome))

    def _learn(self, fact: Fact) -> None:
        self._turn = learn(self._turn, fact, workflow.now())

    async def _wait(self, wait: Wait) -> None:
        """Until `wait` is over or something was learnt that makes another decision due.

        The timer is lazy: what only moves a deadline further away costs no history.
        """

        def due() -> bool:
            decision = decide(self._turn, workflow.now())
            return not isinstance(decision, Wait) or decision.until < wait.until

        timeout = wait.until - workflow.now()
        with suppress(TimeoutError):
            await workflow.wait_condition(due, timeout=timeout, timeout_summary=f"waits for {wait.reason}"[:200])

    async def _give_up_stop(self, why: str) -> None:
        self._failed_stops, self._stop_failure = self._failed_stops + 1, why
        self._learn(StopGivenUp())
        await self._tell_thread("stop_failed", StopFailed(turn_id=self._input.turn_id, why=why))

    # Showing.

    def _show(self) -> None:
        snapshot = self.snapshot()
        workflow.set_current_details(describe_turn(snapshot))
        if snapshot.state is self._shown_state:
            return
        updates = [STATE.value_set(snapshot.state)]
        if snapshot.outcome is not None:
            updates.append(REASON.value_set(snapshot.outcome.reason))
            updates.append(SESSION.value_set(self._session_id or ""))
        # The state that a turn starts with is set by its thread: no event is spent on it here.
        if self._shown_state is not None or snapshot.state is not TurnState.RUNNING:
            workflow.upsert_search_attributes(updates)
        self._shown_state = snapshot.state


def _doing(decision: Decision | None) -> str:
    match decision:
        case Wait(reason=reason):
            return f"waits for {reason}"
        case OpenSession():
            return "opens the provider session"
        case Submit():
            return "delivers the prompt"
        case Look(wake=wake):
            return f"looks at the provider ({wake})"
        case SendSteer():
            return "delivers a further prompt into the turn"
        case Abort():
            return "asks the provider to abort"
        case Dismiss():
            return "closes what it had asked"
        case SendReply(request=request):
            return f"answers the {request.kind}"
        case GiveUp() | GiveUpStop() | None:
            return "decides"
        case Settle():
            return "is over"
