"""The part of the client that answers the permissions and questions of a turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from turnkeeper.asking import explaining, refusing_bad_input, update_or_keep
from turnkeeper.errors import ServiceUnavailableError
from turnkeeper.messages import Answer, AnswerResult, turn_workflow_id
from turnkeeper.refusals import answer_too_big, refuse
from turnkeeper.vocabulary import AnswerState, PermissionReply

DELIVERY_TIMEOUT: Final = 15.0
"""Seconds for an answer to reach the provider. It takes tens of milliseconds when everybody is up."""


class TurnAnswers:
    """A part of `Turnkeeper`."""

    temporal: Client

    async def answer(
        self,
        thread_id: str,
        request_id: str,
        *,
        permission: PermissionReply | None = None,
        answers: Sequence[Sequence[str]] | None = None,
        reject: bool = False,
        message: str = "",
        within: float = DELIVERY_TIMEOUT,
    ) -> AnswerResult:
        """Answer a request of the thread's turn: one of `permission`, `answers` (an entry for each question), `reject`.

        A request that is gone is no error: the result says `stale`. The first answer wins, the same one again gets the
        same result. When no worker or no provider answers in time, the answer is kept as a signal, is delivered once
        they do, and `ServiceUnavailableError` says so.

        Raises:
            RefusedError: no such turn or request, or no answer to a request of its kind.
            ServiceUnavailableError: see above.

        """
        with refusing_bad_input():
            given = None if answers is None else tuple(tuple(choices) for choices in answers)
            command = Answer(
                request_id=request_id, permission=permission, answers=given, reject=reject, message=message
            )
        refuse(answer_too_big(command))
        handle = self.temporal.get_workflow_handle(turn_workflow_id(thread_id))
        with explaining(f"turn of thread {thread_id!r}"):
            try:
                result: AnswerResult | None = await update_or_keep(
                    lambda: handle.execute_update("answer", command, result_type=AnswerResult),
                    lambda: _keep(handle, command),
                    within,
                )
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
                await handle.describe()  # of a thread that never had a turn there is nothing: that is an error
                return _stale(request_id)
        if result is not None:
            return result
        raise ServiceUnavailableError(
            "Nobody took the answer in time; it is kept and delivered once a worker and the provider answer.",
            code="answer_kept",
        )


async def _keep(handle: WorkflowHandle[object, object], command: Answer) -> AnswerResult | None:
    """Send the signal twin; a result only when the turn ended meanwhile."""
    try:
        await handle.signal("request_answer", command)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return _stale(command.request_id)
        raise
    return None


def _stale(request_id: str) -> AnswerResult:
    """A turn that is over has closed its requests."""
    return AnswerResult(turn_id=None, request_id=request_id, state=AnswerState.STALE)
