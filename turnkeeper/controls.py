"""The half of the client that controls a thread: stop its turn, edit its queue.

Each is an update, which a worker validates and answers. When none answers, its signal twin is sent with the same key:
it is kept, done when a worker is up, and `ServiceUnavailableError` says so.
"""

from __future__ import annotations

import uuid
from typing import Final, TypeVar

from temporalio.client import Client

from turnkeeper.asking import answer_of, explaining, refusing_bad_input, update_or_keep
from turnkeeper.commands import (
    ClosedThread,
    CloseThread,
    QueueView,
    RemovedTurn,
    RemoveQueued,
    ResumeQueue,
    SendNow,
    SentNow,
    StopSession,
    WaitingPrompts,
)
from turnkeeper.errors import RefusedError, ServiceUnavailableError
from turnkeeper.messages import Interrupt, InterruptResult, thread_workflow_id
from turnkeeper.vocabulary import Command

INTERRUPT_TIMEOUT: Final = 30.0
"""Seconds for a stop to be confirmed or declared unconfirmed; the default grace is 12 s."""

COMMAND_TIMEOUT: Final = 15.0
"""Seconds for a worker to answer a command that waits for nothing."""

Result = TypeVar("Result")


class ThreadControls:
    """A part of `Turnkeeper`."""

    def __init__(self, temporal: Client) -> None:
        """Use `temporal`."""
        self.temporal = temporal

    async def interrupt(
        self,
        thread_id: str,
        turn_id: str | None = None,
        *,
        why: str = "",
        idempotency_key: str | None = None,
        within: float = INTERRUPT_TIMEOUT,
    ) -> InterruptResult:
        """Stop the thread's running turn and wait until that is confirmed or declared unconfirmed.

        Nothing running is a success with `was_running=False`. Prompts that wait stay untouched and are held: the
        result lists them, and `resume_queue`, `send_now` or the next prompt lets them go on. The same key twice is
        the same stop. When no worker answers, the stop is kept as a signal and `ServiceUnavailableError` says so.
        """
        key = uuid.uuid4().hex if idempotency_key is None else idempotency_key
        with refusing_bad_input():
            command = Interrupt(turn_id=turn_id, why=why, idempotency_key=key)
        return await self._ask(thread_id, "interrupt", command, InterruptResult, "stop", within)

    async def remove_queued(self, thread_id: str, turn_id: str, *, within: float = COMMAND_TIMEOUT) -> RemovedTurn:
        """Take a waiting turn out of the queue. The result holds its prompt; doing it again gives it again."""
        with refusing_bad_input():
            command = RemoveQueued(turn_id=turn_id)
        return await self._ask(thread_id, "remove_queued", command, RemovedTurn, "removal", within)

    async def send_now(
        self, thread_id: str, turn_id: str, *, why: str = "", within: float = INTERRUPT_TIMEOUT
    ) -> SentNow:
        """Run a waiting turn at once: the running one is stopped first, and the result says if that was confirmed."""
        with refusing_bad_input():
            command = SendNow(turn_id=turn_id, why=why)
        return await self._ask(thread_id, "send_now", command, SentNow, "command", within)

    async def resume_queue(self, thread_id: str, *, within: float = COMMAND_TIMEOUT) -> QueueView:
        """Let a queue that is held after a stop go on."""
        return await self._ask(thread_id, "resume_queue", ResumeQueue(), QueueView, "command", within)

    async def stop_session(
        self,
        thread_id: str,
        *,
        why: str = "",
        only_if_idle: bool = False,
        idempotency_key: str | None = None,
        within: float = INTERRUPT_TIMEOUT,
    ) -> InterruptResult:
        """Stop the turn and the session. The provider keeps the session, and the next prompt resumes it.

        A stop that the provider refuses or does not confirm leaves the turn running and watched: the result is not
        `confirmed`, and its `failure` says why.
        """
        key = uuid.uuid4().hex if idempotency_key is None else idempotency_key
        with refusing_bad_input():
            command = StopSession(why=why, only_if_idle=only_if_idle, idempotency_key=key)
        return await self._ask(thread_id, "stop_session", command, InterruptResult, "stop", within)

    async def close(self, thread_id: str, *, why: str = "", within: float = INTERRUPT_TIMEOUT) -> ClosedThread:
        """Stop the turn, refuse new prompts and end the thread. What waited is handed back, however often one asks."""
        with refusing_bad_input():
            command = CloseThread(why=why)
        try:
            return await self._ask(thread_id, "close", command, ClosedThread, "close", within)
        except RefusedError as error:
            if error.detail_code != "not_found":
                raise
            return ClosedThread(returned=(await self.waiting(thread_id)).prompts)  # it has ended before

    async def waiting(self, thread_id: str) -> WaitingPrompts:
        """What waits in a thread, with the whole prompts."""
        handle = self.temporal.get_workflow_handle(thread_workflow_id(thread_id))
        with explaining(f"thread {thread_id!r}"):
            answer: WaitingPrompts = await answer_of(
                lambda: handle.query("queue", result_type=WaitingPrompts), COMMAND_TIMEOUT
            )
            return answer

    async def _ask(
        self, thread_id: str, name: str, command: Command, kind: type[Result], what: str, within: float
    ) -> Result:
        handle = self.temporal.get_workflow_handle(thread_workflow_id(thread_id))
        with explaining(f"thread {thread_id!r}"):
            answer: Result | None = await update_or_keep(
                lambda: handle.execute_update(name, command, result_type=kind),
                lambda: handle.signal(f"request_{name}", command),
                within,
            )
        if answer is not None:
            return answer
        raise ServiceUnavailableError(
            f"No worker answered the {what}; it is kept and done when one is up.", code=f"{what}_kept"
        )
