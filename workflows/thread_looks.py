"""How a thread looks again when somebody asks: at its turn, else at its session. The rules are in `reconciliation`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from turnkeeper.findings import Reconcile, SessionReading, SessionReadRequest, ThreadFinding, TurnFinding
    from turnkeeper.messages import TurnResult
    from turnkeeper.reconciliation import THREAD_PATIENCE, rest_finding, run_finding, session_checked
    from turnkeeper.thread_messages import ThreadInput, ThreadState
    from workflows import calls

if TYPE_CHECKING:
    Child = workflow.ChildWorkflowHandle[object, TurnResult]


class ThreadLooks:
    """A part of the `Thread` workflow."""

    _input: ThreadInput
    _state: ThreadState
    _turn: Child | None
    _asked: dict[str | None, TurnFinding | None]

    @workflow.update(description="Look again: at the active turn, else at the session; answers what was found.")
    async def reconcile(self, command: Reconcile) -> ThreadFinding:
        """Look now. Nothing but what the provider confirms changes anything."""
        del command  # it has nothing to say yet
        return await self._look_again()

    @workflow.signal(description="The twin of `reconcile`: what was found shows in the thread.")
    async def request_reconcile(self, command: Reconcile) -> None:
        """Look now."""
        del command  # as above
        await self._look_again()

    @workflow.signal(description="A turn's answer to `request_reconcile`.")
    def turn_reconciled(self, found: TurnFinding) -> None:
        """Keep it for who asked."""
        if found.token in self._asked:
            self._asked[found.token] = found

    def _show(self) -> None:
        """The workflow's own."""
        raise NotImplementedError

    async def _look_again(self) -> ThreadFinding:
        before, active = self._state, self._state.active
        if active is None:
            reading = await self._read_session()
            self._state = session_checked(self._state, before.session_id, reading)
            self._show()
            return rest_finding(self._input.thread_id, before, self._state, reading)
        answer = await self._ask_turn(active.turn_id)
        return run_finding(self._input.thread_id, active.turn_id, before, self._state, answer)

    async def _ask_turn(self, turn_id: str) -> TurnFinding | None:
        """What the active turn finds; None when it was over before, or did not answer in time."""
        token = workflow.uuid4().hex
        self._asked[token] = None

        def over() -> bool:
            return self._state.active is None or self._state.active.turn_id != turn_id

        def answered() -> bool:
            found = self._asked[token]
            # What ended the turn shows in the thread a moment later.
            return over() or (found is not None and found.outcome is None)

        with suppress(TimeoutError):
            await workflow.wait_condition(lambda: over() or self._turn is not None, timeout=THREAD_PATIENCE)
            if self._turn is not None and not over():
                with suppress(ApplicationError):  # the turn is over, and the thread about to learn it
                    await self._turn.signal("request_reconcile", Reconcile(token=token))
            await workflow.wait_condition(answered, timeout=THREAD_PATIENCE)
        return self._asked.pop(token)

    async def _read_session(self) -> SessionReading | None:
        if self._state.session_id is None:
            return None
        request = SessionReadRequest(
            endpoint=self._input.endpoint,
            session_id=self._state.session_id,
        )
        try:
            reading: SessionReading = await calls.start(
                calls.READ_SESSION, request, task_queue=self._state.task_queue, summary="read the provider session"
            )
        except FailureError as error:
            return calls.unreachable(error)
        return reading
