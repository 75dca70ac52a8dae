"""Ending what a thread has: its session, to be resumed later, or the thread itself. A part of the `Thread` workflow."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from turnkeeper import queueing, resting, threads
    from turnkeeper.commands import ClosedThread, CloseThread, StopSession, WaitingPrompts
    from turnkeeper.errors import RefusedError
    from turnkeeper.failures import to_application_error
    from turnkeeper.messages import Interrupt, InterruptResult, StopFailed
    from turnkeeper.observations import AbortReport, AbortRequest
    from workflows import calls
    from workflows.thread_commands import ThreadCommands
    from workflows.thread_looks import ThreadLooks

ABORT_AT_REST: Final = "abort-at-rest"
"""Patch: the provider is asked to abort also when no turn runs."""


class ThreadEnding(ThreadCommands, ThreadLooks):
    """Each update has a signal twin for when no worker is up."""

    _stopping_at_rest: int

    @workflow.update(description="Stop the turn and the session; the next prompt resumes it.")
    async def stop_session(self, command: StopSession) -> InterruptResult:
        """An unconfirmed stop leaves everything as it was: the result and `last_error` say why.

        Without a turn the provider is asked all the same: somebody else's run may work in the session.
        """
        turn_id = queueing.stopped_by(self._state, command.idempotency_key) or await self._ask_to_stop_session(command)
        if turn_id is not None:
            return await self._stopped(turn_id)
        why = await self._stop_at_rest()
        return self._nothing_stopped().model_copy(update={"failure": why})

    @stop_session.validator
    def _check_stop_session(self, command: StopSession) -> None:
        if command.only_if_idle and not self._idle():
            error = RefusedError("The thread is busy.", code="thread_busy", next_step="Stop it without that condition.")
            raise to_application_error(error)

    @workflow.signal(description="The twin of `stop_session` for when no worker is up.")
    async def request_stop_session(self, command: StopSession) -> None:
        """Left undone when it was to be done on an idle thread only and that is not idle."""
        known = queueing.stopped_by(self._state, command.idempotency_key) is not None
        if known or (command.only_if_idle and not self._idle()):
            return
        if await self._ask_to_stop_session(command) is None:
            await self._stop_at_rest()

    async def _ask_to_stop_session(self, command: StopSession) -> str | None:
        """The turn that is being stopped; None when none runs."""
        active = await self._turn_to_stop()
        if active is None:
            return None
        self._state = queueing.session_stop_asked(self._state, active.turn_id, command.idempotency_key)
        await self._stop(Interrupt(turn_id=active.turn_id, why=command.why or "the session is stopped", keep=True))
        return active.turn_id

    async def _stop_at_rest(self) -> str | None:
        """Why the session is not known to be stopped; None when it is.

        No turn begins meanwhile: the abort could hit it.
        """
        if self._state.session_id is None or not workflow.patched(ABORT_AT_REST):
            self._state = threads.session_stopped(self._state)
            return None
        self._stopping_at_rest += 1
        aborting = asyncio.create_task(self._abort_at_rest(self._state.session_id))
        with suppress(TimeoutError):
            await workflow.wait_condition(
                aborting.done, timeout=resting.REST_STOP_GRACE, timeout_summary="the provider to confirm the stop"
            )
        why = aborting.result() if aborting.done() else resting.OUT_OF_TIME
        aborting.cancel()
        self._stopping_at_rest -= 1
        self._state = resting.settled(self._state, why)
        self._show()
        return why

    async def _abort_at_rest(self, session_id: str) -> str | None:
        while True:
            report = await self._abort_session(session_id)
            answer = resting.judged(report, await self._read_session() if report.failure is None else None)
            if not answer.again:
                return answer.why
            await workflow.sleep(resting.ABORT_AGAIN, summary="something still runs in the session")

    async def _abort_session(self, session_id: str) -> AbortReport:
        request = AbortRequest(
            endpoint=self._input.endpoint,
            directory=self._state.directory or self._input.directory,
            session_id=session_id,
        )
        try:
            report: AbortReport = await calls.start(
                calls.ABORT, request, task_queue=self._state.task_queue, summary="abort"
            )
        except FailureError as error:
            return AbortReport(sent=False, failure=calls.no_answer(error))
        return report

    @workflow.signal(description="Sent by a turn: the stop that was to keep it was not confirmed.")
    def stop_failed(self, failed: StopFailed) -> None:
        """Everything stays as it was."""
        self._state = threads.check(queueing.stop_given_up(self._state, failed.turn_id, failed.why))
        self._failed_stop = failed
        self._failed_stops += 1

    @workflow.update(description="Stop the turn, refuse new prompts, hand back those that wait, end the workflow.")
    async def close(self, command: CloseThread) -> ClosedThread:
        """Safe to repeat until the workflow has ended; its query `queue` goes on answering."""
        stopped = await self._close(command)
        return ClosedThread(
            stopped=await self._stopped(stopped) if stopped is not None else None, returned=self._state.queue
        )

    @workflow.signal(description="The twin of `close` for when no worker is up.")
    async def request_close(self, command: CloseThread) -> None:
        """What waits can be read by the query `queue`."""
        await self._close(command)

    async def _close(self, command: CloseThread) -> str | None:
        self._state = threads.check(queueing.closed(self._state))
        active = self._state.active
        if active is None:
            return None
        self._state = queueing.stop_asked(self._state, active.turn_id, None)
        await self._stop(Interrupt(turn_id=active.turn_id, why=command.why or "the thread is closed"))
        return active.turn_id

    @workflow.query(description="What waits, with the whole prompts.")
    def queue(self) -> WaitingPrompts:
        """In the order in which they run."""
        return WaitingPrompts(prompts=self._state.queue, queued=queueing.records(self._state), held=self._state.held)

    def _idle(self) -> bool:
        return self._state.active is None and not self._admitting and not self._state.queue
