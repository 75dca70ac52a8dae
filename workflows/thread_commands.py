"""What can be asked of a thread beside prompts: stop its turn, edit its queue. The rules are in `queueing`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from turnkeeper import own_place, queueing, threads
    from turnkeeper.commands import QueueView, RemovedTurn, RemoveQueued, ResumeQueue, SendNow, SentNow
    from turnkeeper.errors import RefusedError
    from turnkeeper.failures import to_application_error
    from turnkeeper.messages import (
        Interrupt,
        InterruptResult,
        Outcome,
        SteerNews,
        SteerTurn,
        StopFailed,
        TurnRecord,
        TurnResult,
    )
    from turnkeeper.opencode.identifiers import message_id
    from turnkeeper.thread_messages import ThreadState
    from turnkeeper.vocabulary import TurnState

if TYPE_CHECKING:
    Child = workflow.ChildWorkflowHandle[object, TurnResult]


class ThreadCommands:
    """A part of the `Thread` workflow. Each update has a signal twin for when no worker is up."""

    _state: ThreadState
    _turn: Child | None
    _last: tuple[str, Outcome] | None
    _stop_early: Interrupt | None
    _admitting: int
    _ending: bool
    _failed_stop: StopFailed | None
    _failed_stops: int
    _handed: set[str]

    # Stopping the turn.

    @workflow.update(description="Stop the running turn; answers when that is confirmed or declared unconfirmed.")
    async def interrupt(self, command: Interrupt) -> InterruptResult:
        """Stop the active turn, even one that is only starting. Nothing running is a success, and says so.

        Prompts that wait are left untouched and held: the answer lists them.
        """
        turn_id = queueing.stopped_by(self._state, command.idempotency_key) or await self._ask_to_stop(command)
        return await self._stopped(turn_id) if turn_id is not None else self._nothing_stopped()

    @interrupt.validator
    def _check_interrupt(self, command: Interrupt) -> None:
        active = self._state.active
        if command.turn_id is None or queueing.stopped_by(self._state, command.idempotency_key) is not None:
            return
        if not queueing.is_meant(active, command.turn_id):
            running = f"that is {active.turn_id}" if active else "none is"
            message = f"Turn {command.turn_id} is not the running one; {running}."
            raise to_application_error(RefusedError(message, code="not_running"))

    @workflow.signal(description="The twin of `interrupt` for when no worker is up.")
    async def request_interrupt(self, command: Interrupt) -> None:
        """Stop the active turn, if it is the one that was meant."""
        if queueing.stopped_by(self._state, command.idempotency_key) is None:
            await self._ask_to_stop(command)

    async def _ask_to_stop(self, command: Interrupt) -> str | None:
        """The turn that is being stopped now, or None when none is, or another one than was meant."""
        active = await self._turn_to_stop()
        if active is None or not queueing.is_meant(active, command.turn_id):
            return None
        self._state = queueing.stop_asked(self._state, active.turn_id, command.idempotency_key)
        await self._stop(command)
        return active.turn_id

    async def _stopped(self, turn_id: str) -> InterruptResult:
        """Once `turn_id` is over, or goes on because a stop that would keep it was not confirmed."""
        failures = self._failed_stops

        def decided() -> bool:
            active = self._state.active
            return active is None or active.turn_id != turn_id or self._failed_stops > failures

        await workflow.wait_condition(decided)
        active, failed, last = self._state.active, self._failed_stop, self._last
        goes_on = active is not None and active.turn_id == turn_id and failed is not None
        return InterruptResult(
            turn_id=turn_id,
            was_running=True,
            outcome=last[1] if last is not None and last[0] == turn_id else threads.remembered(self._state, turn_id),
            failure=failed.why if goes_on and failed is not None else None,
            queued=queueing.records(self._state),
            held=self._state.held,
        )

    def _nothing_stopped(self) -> InterruptResult:
        return InterruptResult(
            turn_id=None, was_running=False, queued=queueing.records(self._state), held=self._state.held
        )

    async def _turn_to_stop(self) -> TurnRecord | None:
        """The active turn. A prompt given just before the stop is meant too: it is still being admitted or begun."""
        await workflow.wait_condition(
            lambda: (
                self._state.active is not None
                or self._ending
                or not (self._admitting or (queueing.may_begin(self._state) and not own_place.waits(self._state)))
            )
        )
        if own_place.waits(self._state):
            self._state = threads.check(queueing.stopped_in_line(self._state))
        return self._state.active

    async def _make_way(self, why: str) -> None:
        """Stop the active turn in favour of the first in the queue."""
        self._state = queueing.making_way(self._state)
        if self._state.active is not None:
            await self._stop(Interrupt(turn_id=self._state.active.turn_id, why=why))

    async def _stop(self, command: Interrupt) -> None:
        if self._turn is None:
            if self._stop_early is None or self._stop_early.keep:
                self._stop_early = command  # sent as soon as there is a turn to send it to
            return
        with suppress(ApplicationError):  # the turn is over, and the thread about to learn it
            await self._turn.signal("interrupt", command)

    # Editing the queue.

    @workflow.update(description="Take a waiting turn out of the queue; answers with its prompt.")
    def remove_queued(self, command: RemoveQueued) -> RemovedTurn:
        """Nothing is lost: doing it again gives the prompt again."""
        return self._remove_queued(command)

    def _remove_queued(self, command: RemoveQueued) -> RemovedTurn:
        removed = queueing.removed(self._state, command.turn_id, workflow.now())
        self._state = threads.check(removed.state)
        return RemovedTurn(removed=removed.turn, queued=queueing.records(self._state), held=self._state.held)

    @remove_queued.validator
    def _check_remove(self, command: RemoveQueued) -> None:
        if (error := queueing.removal_refusal(self._state, command.turn_id)) is not None:
            raise to_application_error(error)

    @workflow.signal(description="The twin of `remove_queued` for when no worker is up.")
    def request_remove_queued(self, command: RemoveQueued) -> None:
        """A turn that does not wait any more is left alone."""
        if queueing.removal_refusal(self._state, command.turn_id) is None:
            self._remove_queued(command)

    @workflow.update(description="Run a waiting turn at once; the running one is stopped first.")
    async def send_now(self, command: SendNow) -> SentNow:
        """Answers once the turn runs, and says what became of the one that had to make way."""
        way_made_by = await self._send_now(command)
        stopped = await self._stopped(way_made_by) if way_made_by is not None else None
        await workflow.wait_condition(lambda: self._ending or threads.placed(self._state, command.turn_id))
        turn = threads.describe(self._state, command.turn_id)
        if turn is None:
            raise to_application_error(RefusedError(f"Turn {command.turn_id} is over.", code="not_queued"))
        return SentNow(turn=turn, stopped=stopped, queued=queueing.records(self._state), held=self._state.held)

    @send_now.validator
    def _check_send_now(self, command: SendNow) -> None:
        if (error := queueing.send_now_refusal(self._state, command.turn_id)) is not None:
            raise to_application_error(error)

    @workflow.signal(description="The twin of `send_now` for when no worker is up.")
    async def request_send_now(self, command: SendNow) -> None:
        """A turn that does not wait any more is left alone."""
        if queueing.send_now_refusal(self._state, command.turn_id) is None:
            await self._send_now(command)

    async def _send_now(self, command: SendNow) -> str | None:
        """The turn that has to make way; None when none runs, or when `turn_id` does not wait any more."""
        turn = threads.describe(self._state, command.turn_id)
        if turn is None or turn.state is not TurnState.QUEUED:
            return None
        self._state = queueing.put_first(self._state, command.turn_id)
        active = self._state.active
        if active is None:
            return None
        await self._make_way(command.why or f"{command.turn_id} is sent now")
        return active.turn_id

    @workflow.update(description="Let a queue that is held after a stop go on.")
    def resume_queue(self, command: ResumeQueue) -> QueueView:
        """Safe to repeat; also while a stop is in progress."""
        self.request_resume_queue(command)
        return QueueView(queued=queueing.records(self._state), held=self._state.held)

    @workflow.signal(description="The twin of `resume_queue` for when no worker is up.")
    def request_resume_queue(self, command: ResumeQueue) -> None:
        """Let a queue that is held after a stop go on."""
        del command  # it has nothing to say yet
        self._state = threads.check(queueing.resumed(self._state))

    # Steering.

    @workflow.signal(description="Sent by a turn: a prompt went into it, or could not.")
    def steer_news(self, news: SteerNews) -> None:
        """What could not go in waits, first in line."""
        if news.sent:
            self._state = queueing.steer_sent(self._state, news.turn_id)
        else:
            self._state = threads.check(queueing.steer_returned(self._state, news.turn_id, workflow.now()))

    async def _steer(self) -> None:
        """Hand the running turn what is meant for it; each prompt once a run, and a turn knows them again."""
        if self._turn is None:
            return
        for queued in self._state.steering:
            if queued.turn_id in self._handed:
                continue
            self._handed.add(queued.turn_id)
            start = queued.start
            minted = message_id(int(workflow.now().timestamp() * 1000), workflow.random())
            self._state = queueing.steer_named(self._state, queued.turn_id, minted)
            steer = SteerTurn(
                turn_id=queued.turn_id, prompt=start.prompt, model=start.model, agent=start.agent, message_id=minted
            )
            with suppress(ApplicationError):  # the turn is over, and the thread about to learn it
                await self._turn.signal("steer", steer)
