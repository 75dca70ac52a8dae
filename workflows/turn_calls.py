"""What a turn asks of its provider: open the session, deliver the prompt, look, abort. A part of the `Turn` workflow.

Each call becomes a fact that the turn learns, also when nothing answers: what is then known is in `calls`. A stop cuts
a call short, and its own calls last as long as its grace; only a submit is never abandoned.

Every call is an activity with events of its own. Local ones cost a third of that, but since 1.32 the SDK may tell their
end at another time, or in another order beside an event, in a replay than when it happened (sdk-python #1881 is of that
kind); a turn decides by both, and one in some four hundred was stuck for ever when wires were cut. Turns that were
begun with local calls keep them: their histories are such.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from temporalio import workflow
from temporalio.exceptions import ActivityError, FailureError

with workflow.unsafe.imports_passed_through():
    from turnkeeper import steering
    from turnkeeper.gaps import may_be_starting
    from turnkeeper.messages import TurnInput
    from turnkeeper.observations import (
        AbortReport,
        AbortRequest,
        LookRequest,
        PromptRequest,
        SessionOpened,
        SessionRequest,
    )
    from turnkeeper.turn import (
        AbortReported,
        Fact,
        IllegalTransitionError,
        LookStarted,
        Observed,
        SessionReported,
        SubmitReported,
        SubmitStarted,
        Turn,
    )
    from workflows import calls

if TYPE_CHECKING:
    from collections.abc import Callable

EVENTS_BEFORE_FIRST_TASK: Final = 3
"""Started, task scheduled, task started."""

EVENTS_AFTER_A_LOST_TASK: Final = 6
"""The lost one's end and another scheduled and started (measured). Signals that came before the first task can make it
as many: what never was lost is then stopped with more care than it needs."""


class TurnCalls:
    """The calls of the decisions that every turn needs; its parts `turn_answers` and `turn_steers` add theirs."""

    _input: TurnInput
    _turn: Turn
    _session_id: str | None
    _session_created: bool
    _creation_key: str
    _message_id: str
    _learn: Callable[[Fact], None]

    async def _open_session(self, *, resume: bool, again: bool) -> None:
        request = SessionRequest(
            endpoint=self._input.endpoint,
            thread_id=self._input.thread_id,
            namespace=workflow.info().namespace,
            directory=self._input.directory,
            session_id=self._session_id if resume else None,
            creation_key=self._creation_key,
            perhaps_created=again or self._input.creation_key is not None,
            title=self._input.thread_id,
            model=self._input.model,
            agent=self._input.agent,
        )
        call = self._start_quick(calls.OPEN_SESSION, request, "open the provider session")
        if not await self._finished(call):
            return
        try:
            report = call.result()
            if isinstance(report, SessionOpened):
                self._session_id, self._session_created = report.session_id, report.created
            self._learn(SessionReported(report))
        except FailureError as error:
            self._learn(SessionReported(calls.unreachable(error)))

    async def _submit(self, *, anew: bool) -> None:
        request = PromptRequest(
            endpoint=self._input.endpoint,
            directory=self._input.directory,
            session_id=self._opened_session(),
            message_id=self._message_id,
            prompt=self._input.prompt,
            fresh_session=self._nothing_was_ever_sent(),
            withdraw=self._withdrawn_first(anew=anew),
            model=self._input.model,
            agent=self._input.agent,
        )
        at_once = self._may_submit_at_once()
        self._learn(SubmitStarted())
        start = self._start_quick if at_once else self._start
        call = start(calls.SUBMIT, request, "deliver the prompt")
        # Never abandoned: while its report is due the prompt may still leave. But a stop cannot wait for it, and an
        # event may say that the turn is over before the prompt was seen to be stored.
        reporting = asyncio.create_task(self._report_submit(call))
        await workflow.wait_condition(
            lambda: (
                reporting.done()
                or self._turn.stop is not None
                or self._turn.wake is not None
                or self._turn.verdict is not None
            )
        )

    def _withdrawn_first(self, *, anew: bool) -> tuple[str, ...]:
        """What earlier turns left behind, before anything of this one is there; later its own prompt may be among them.

        That one is taken out only when it was seen not to run.
        """
        if anew:
            return (self._message_id,)
        return self._input.withdraw if self._turn.submits == 0 else ()

    def _nothing_was_ever_sent(self) -> bool:
        """The session was made for this turn and this is its first submit: a look costs OpenCode 14 ms for nothing.

        A submit runs at most once for each time it is decided, so only a reset of the workflow could send before, or
        a first task that has to be repeated (see `_may_submit_at_once`).
        """
        if self._turn.submits > 0 or _was_reset():
            return False
        if self._session_created or not self._input.local_calls:
            return self._session_created or self._input.session_is_new
        return self._input.session_is_new and _in_first_try_of_first_task()

    def _may_submit_at_once(self) -> bool:
        """With local calls: inside the very first workflow task, when that is tried for the first time.

        A repeated task could send again what the lost one sent; then the submit is an activity, which runs at most
        once, and looks first. Nor may the task itself have created the session: repeated, it would create another and
        send to that one too.
        """
        return _in_first_try_of_first_task() and not self._session_created

    async def _report_submit(self, call: workflow.ActivityHandle[Any]) -> None:
        try:
            self._learn(SubmitReported(await call))
        except FailureError as error:
            self._learn(SubmitReported(calls.unanswered_submit(error)))

    async def _look(self) -> None:
        request = LookRequest(
            endpoint=self._input.endpoint,
            directory=self._input.directory,
            session_id=self._opened_session(),
            message_id=self._message_id,
            text_limit=self._input.limits.text_limit,
            steers=steering.sent_ids(self._turn),
            knock=may_be_starting(self._turn),
        )
        self._learn(LookStarted())
        call = self._start_quick(calls.LOOK, request, f"look ({self._turn.looking})")
        if not await self._finished(call):
            return
        try:
            self._learn(Observed(call.result()))
        except FailureError as error:
            self._learn(Observed(calls.unreachable(error)))

    async def _abort(self) -> None:
        request = AbortRequest(
            endpoint=self._input.endpoint, directory=self._input.directory, session_id=self._opened_session()
        )
        call = self._start(calls.ABORT, request, "abort")
        if not await self._finished(call):
            return
        try:
            self._learn(AbortReported(call.result()))
        except ActivityError as error:
            self._learn(AbortReported(AbortReport(sent=False, failure=calls.no_answer(error))))

    def _start(self, call: calls.Call, request: object, summary: str) -> workflow.ActivityHandle[Any]:
        return calls.start(call, request, task_queue=self._input.task_queue, summary=summary)

    def _start_quick(self, call: calls.Call, request: object, summary: str) -> workflow.ActivityHandle[Any]:
        """A call that is usually over in some 50 ms, and that is local in turns with local calls.

        Not while the provider is slow or a stop is in progress: no signal is heard and no timer fires meanwhile.
        """
        slow = self._turn.retries > 0 or self._turn.stop is not None
        if call.local_limit is None or not self._input.local_calls or slow:
            return self._start(call, request, summary)
        return workflow.start_local_activity(
            call.name,
            request,
            result_type=call.result_type,
            schedule_to_close_timeout=call.local_limit,
            retry_policy=calls.ONCE,
            summary=summary,
        )

    async def _finished(self, call: workflow.ActivityHandle[Any]) -> bool:
        """Whether `call` ended before a stop made it pointless or used up its grace; it is cancelled if not."""
        stop = self._turn.stop
        if stop is None:
            await workflow.wait_condition(lambda: call.done() or self._turn.stop is not None)
        else:
            left = stop.asked_at + self._input.limits.interrupt_grace - workflow.now()
            with suppress(TimeoutError):
                await workflow.wait_condition(call.done, timeout=max(left, timedelta(0)), timeout_summary="grace")
        if not call.done():
            call.cancel()
            return False
        return True

    def _opened_session(self) -> str:
        if self._session_id is None:
            raise IllegalTransitionError("the provider is called about a session that was never opened")
        return self._session_id


def perhaps_tried_before(*, local_calls: bool) -> bool:
    """May a run from before a reset, or a first task that was lost, have sent what no history tells of?"""
    return (local_calls and first_task_was_lost()) or _was_reset()


def first_task_was_lost() -> bool:
    """Asked in a workflow's first task. May be wrong the careful way."""
    return workflow.info().get_current_history_length() >= EVENTS_AFTER_A_LOST_TASK


def _was_reset() -> bool:
    info = workflow.info()
    return info.run_id != info.first_execution_run_id


def _in_first_try_of_first_task() -> bool:
    """Only then is the history so short: a task that is repeated has the lost one's start and end before it."""
    return workflow.info().get_current_history_length() == EVENTS_BEFORE_FIRST_TASK and not _was_reset()
