"""How a thread takes over a session that somebody else began. The rules are in `adoption`."""

from __future__ import annotations

from typing import Final

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from turnkeeper import adoption, threads
    from turnkeeper.errors import RefusedError, ServiceUnavailableError
    from turnkeeper.failures import to_application_error
    from turnkeeper.findings import Adopt, AdoptElsewhere, Adoption, AdoptReport, AdoptRequest, AdoptResult
    from turnkeeper.thread_messages import ThreadInput, ThreadState
    from workflows import calls

_NOT_READ: Final = ServiceUnavailableError(
    "The session could not be read in time.",
    code="not_adopted",
    next_step="Try again: it cannot be adopted twice.",
)

_NOT_TAKEN: Final = ServiceUnavailableError(
    "No worker that reaches the endpoint read the session in time.",
    code="not_adopted",
    next_step="Check that a worker runs for the endpoint's task queue, then try again: it cannot be adopted twice.",
)


class ThreadAdoption:
    """A part of the `Thread` workflow."""

    _input: ThreadInput
    _state: ThreadState
    _admitting: int
    _adopting: int
    _refused: bool
    _ending: bool

    @workflow.update(description="Take over a session that somebody began in the provider's own UI or CLI.")
    async def adopt(self, command: Adopt) -> AdoptResult:
        """Answers once a run that is live is followed, or it is known that nothing runs."""
        repeated = await self._adopt(command)
        turn_id = adoption.following(self._state, command.session_id)
        await workflow.wait_condition(lambda: turn_id is None or self._ending or threads.placed(self._state, turn_id))
        return adoption.result(self._state, self._input.thread_id, command.session_id, repeated=repeated)

    @adopt.validator
    def _check_adopt(self, command: Adopt) -> None:
        if (error := adoption.refusal(self._state, command.session_id)) is not None:
            raise to_application_error(error)

    @workflow.signal(description="The twin of `adopt` for when no worker is up.")
    async def request_adopt(self, command: Adopt) -> None:
        """Like `adopt`; why it was refused shows as the thread's last error, if it had been one before."""
        try:
            await self._adopt(command)
        except ApplicationError as error:
            self._state = self._state.model_copy(update={"last_error": error.message})

    async def _adopt(self, command: Adopt) -> bool:
        """Whether the thread had the session already."""
        if self._state.session_id == command.session_id:
            return True
        self._adopting += 1
        try:
            # A start at the door may be about to open a session of the thread's own.
            await workflow.wait_condition(lambda: not self._admitting)
            if (error := adoption.refusal(self._state, command.session_id)) is not None:
                raise to_application_error(error)
            found = await self._ask_for_session(command)
            repeated = self._state.session_id == command.session_id
            self._state = adoption.adopted(self._state, found, workflow.now())
        except RefusedError as error:
            raise to_application_error(error) from error
        finally:
            self._adopting -= 1
        self._show()
        return repeated

    async def _ask_for_session(self, command: Adopt) -> Adoption:
        request = AdoptRequest(
            endpoint=self._input.endpoint,
            thread_id=self._input.thread_id,
            namespace=workflow.info().namespace,
            session_id=command.session_id,
            directory=command.directory,
            limits=command.limits,
        )
        self._admitting += 1
        try:
            found: AdoptReport = await calls.ask_at_door(calls.ADOPT, request, unanswered=_NOT_READ)
            if isinstance(found, AdoptElsewhere):
                found = await calls.ask_at_door(calls.ADOPT, request, unanswered=_NOT_TAKEN, task_queue=found.ask_at)
        except ApplicationError:
            self._refused = True  # a thread that was made for this ends
            raise
        finally:
            self._admitting -= 1
        if isinstance(found, AdoptElsewhere):  # two workers with different settings of one endpoint
            raise to_application_error(_NOT_TAKEN)
        return found

    def _show(self) -> None:
        """The workflow's own."""
        raise NotImplementedError
