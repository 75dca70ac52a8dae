"""Prompts that go into a running turn. A part of the `Turn` workflow; the rules are in `steering`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from turnkeeper import steering
    from turnkeeper.messages import SteerNews, SteerTurn
    from turnkeeper.observations import PerhapsSent, PromptRequest, SubmitReport
    from turnkeeper.opencode.identifiers import message_id
    from turnkeeper.turn import SendSteer, SteerAsked, SteerReported, SteerStarted
    from workflows import calls
    from workflows.turn_calls import TurnCalls


class TurnSteers(TurnCalls):
    """Each steer has a client message id of its own; see `SteerTurn`."""

    _steers: dict[str, SteerTurn]

    @workflow.signal(description="A further prompt for this turn; sent only while the provider is seen at work on it.")
    async def steer(self, steer: SteerTurn) -> None:
        """What cannot go in any more is answered so at once: its thread queues it."""
        if steering.of_turn(self._turn, steer.turn_id) is not None:
            return
        self._steers[steer.turn_id] = steer
        minted = steer.message_id or message_id(int(workflow.now().timestamp() * 1000), workflow.random())
        self._learn(SteerAsked(steer.turn_id, minted))
        if steering.of_turn(self._turn, steer.turn_id) is None:
            await self._tell_thread("steer_news", SteerNews(turn_id=steer.turn_id, sent=False))

    async def _send_steer(self, decision: SendSteer) -> None:
        known = steering.of_turn(self._turn, decision.turn_id)
        prompt = self._steers[decision.turn_id]
        request = PromptRequest(
            endpoint=self._input.endpoint,
            directory=self._input.directory,
            session_id=self._opened_session(),
            message_id=known.message_id if known is not None else "",
            prompt=prompt.prompt,
            model=prompt.model or self._input.model,
            agent=prompt.agent or self._input.agent,
        )
        self._learn(SteerStarted(decision.turn_id))
        call = self._start(calls.SUBMIT, request, f"deliver {decision.turn_id} into the turn")
        reporting = asyncio.create_task(self._report_steer(decision.turn_id, call))
        # Never abandoned, as with the first prompt; a stop does not wait for it.
        await workflow.wait_condition(lambda: reporting.done() or self._turn.stop is not None)

    async def _report_steer(self, turn_id: str, call: workflow.ActivityHandle[Any]) -> None:
        try:
            report: SubmitReport = await call
        except FailureError as error:
            report = calls.unanswered_submit(error)
        self._learn(SteerReported(turn_id, report))
        if isinstance(report, PerhapsSent) or steering.of_turn(self._turn, turn_id) is None:
            sent = steering.of_turn(self._turn, turn_id) is not None
            await self._tell_thread("steer_news", SteerNews(turn_id=turn_id, sent=sent))

    async def _tell_thread(self, signal: str, news: object) -> None:
        parent = workflow.info().parent
        if parent is None:
            return
        thread = workflow.get_external_workflow_handle(parent.workflow_id)
        with suppress(ApplicationError):  # the thread was ended by an operator: nobody is left to be told
            await thread.signal(signal, news)
