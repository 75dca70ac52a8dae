"""What people say to a turn's permissions and questions, and how the provider gets to hear it. Rules: `requests`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from turnkeeper import requests
    from turnkeeper.failures import to_application_error
    from turnkeeper.messages import Answer, AnswerResult
    from turnkeeper.observations import OpenRequest, Reply, ReplyRequest
    from turnkeeper.refusals import answer_too_big
    from turnkeeper.replies import rejection
    from turnkeeper.turn import AnswerGiven, AnswerRefused, Dismiss, Dismissed, ReplyReported, ReplyStarted, SendReply
    from workflows import calls
    from workflows.turn_calls import TurnCalls

DISMISS_AT_END: Final = "dismiss-at-end"
"""Patch: what a turn left open in the provider is closed before it settles."""

COUNT_ANSWER_BYTES: Final = "count-answer-bytes"
"""Patch: an answer is bounded in bytes. Only turns that got a bigger one have the marker."""

DISMISS_LIMIT: Final = timedelta(seconds=5)
"""How long a turn's end waits for that. OpenCode answers in milliseconds; the end itself is known already."""


class TurnAnswers(TurnCalls):
    """A part of the `Turn` workflow."""

    @workflow.update(description="Answer a permission or a question; says what became of the answer.")
    async def answer(self, command: Answer) -> AnswerResult:
        """Give the answer to the provider. The first one wins; the same one again joins it."""
        reply = requests.reply_to(self._turn, command)
        self._learn(AnswerGiven(command.request_id, reply))
        return await self._fate_of(command.request_id, reply)

    @answer.validator
    def _check_answer(self, command: Answer) -> None:
        if (error := answer_too_big(command) or requests.refusal(self._turn, command)) is not None:
            raise to_application_error(error)

    @workflow.signal(description="The twin of `answer` for when no worker is up.")
    def request_answer(self, command: Answer) -> None:
        """Like `answer`; what would be refused there shows among the turn's answers, with the reason."""
        error = answer_too_big(command)
        if error is not None and not workflow.patched(COUNT_ANSWER_BYTES):
            error = None
        if (error := error or requests.refusal(self._turn, command)) is not None:
            self._learn(AnswerRefused(command.request_id, error.failure()))
        else:
            self._learn(AnswerGiven(command.request_id, requests.reply_to(self._turn, command)))

    async def _fate_of(self, request_id: str, reply: Reply) -> AnswerResult:
        def fate() -> AnswerResult | None:
            return requests.result_of(self._turn, self._input.turn_id, request_id, reply)

        while (result := fate()) is None:
            await workflow.wait_condition(lambda: fate() is not None)
        return result

    async def _dismiss(self, left: tuple[OpenRequest, ...]) -> None:
        """Close what the turn has left open. One try: a provider that is away keeps no turn from its end."""
        if workflow.patched(DISMISS_AT_END):
            closing = [self._closed(asked) for asked in left]
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.gather(*closing), DISMISS_LIMIT.total_seconds())
        self._learn(Dismissed())

    async def _closed(self, asked: OpenRequest) -> None:
        with suppress(ActivityError):
            await self._start(calls.REPLY, self._request(asked, rejection(asked)), f"close the {asked.kind}")

    def _request(self, asked: OpenRequest, reply: Reply) -> ReplyRequest:
        return ReplyRequest(
            endpoint=self._input.endpoint,
            directory=self._input.directory,
            session_id=asked.session_id,
            request_id=asked.request_id,
            kind=asked.kind,
            reply=reply,
        )

    async def _reply(self, decision: SendReply | Dismiss) -> None:
        match decision:
            case SendReply():
                await self._send_reply(decision)
            case Dismiss(left):
                await self._dismiss(left)

    async def _send_reply(self, send: SendReply) -> None:
        asked = send.request
        request = self._request(asked, send.reply)
        self._learn(ReplyStarted(send))
        call = self._start(calls.REPLY, request, f"answer the {asked.kind} ({send.by})")
        if not await self._finished(call):
            return
        try:
            self._learn(ReplyReported(asked.request_id, call.result()))
        except ActivityError as error:
            self._learn(ReplyReported(asked.request_id, calls.unanswered_reply(error)))
