"""What the commands need of `turnkeeper.client.Turnkeeper`: named apart, so that tests can stand in for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from turnkeeper.client import StartedTurn, ThreadSummary
from turnkeeper.commands import ClosedThread, QueueView, RemovedTurn, SentNow, WaitingPrompts
from turnkeeper.findings import AdoptResult, ThreadFinding
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import (
    AnswerResult,
    EndpointSnapshot,
    InterruptResult,
    PermissionRule,
    TurnResult,
    TurnSnapshot,
)
from turnkeeper.thread_messages import ThreadSnapshot
from turnkeeper.vocabulary import OnBusy, OnLost, PermissionReply


class Keeper(Protocol):
    """The client as the commands see it. Raises what the client raises."""

    async def start_turn(  # noqa: PLR0913 - the client's own signature
        self,
        thread_id: str,
        prompt: str,
        *,
        endpoint: str | None = None,
        directory: str | None = None,
        model: str | None = None,
        agent: str | None = None,
        idempotency_key: str | None = None,
        on_busy: OnBusy = OnBusy.QUEUE,
        expected_turn_id: str | None = None,
        on_lost: OnLost = OnLost.SETTLE,
        limits: TurnLimits | None = None,
        permissions: Sequence[PermissionRule] | None = None,
    ) -> StartedTurn: ...

    async def answer(
        self,
        thread_id: str,
        request_id: str,
        *,
        permission: PermissionReply | None = None,
        answers: Sequence[Sequence[str]] | None = None,
        reject: bool = False,
        message: str = "",
    ) -> AnswerResult: ...

    async def result(self, thread_id: str, run_id: str | None = None) -> TurnResult: ...

    async def turn(self, thread_id: str, run_id: str | None = None) -> TurnSnapshot: ...

    async def thread(self, thread_id: str) -> ThreadSnapshot: ...

    async def endpoint(self, name: str) -> EndpointSnapshot: ...

    async def interrupt(self, thread_id: str, turn_id: str | None = None, *, why: str = "") -> InterruptResult: ...

    async def stop_session(self, thread_id: str, *, why: str = "") -> InterruptResult: ...

    async def close(self, thread_id: str, *, why: str = "") -> ClosedThread: ...

    async def waiting(self, thread_id: str) -> WaitingPrompts: ...

    async def remove_queued(self, thread_id: str, turn_id: str) -> RemovedTurn: ...

    async def send_now(self, thread_id: str, turn_id: str) -> SentNow: ...

    async def resume_queue(self, thread_id: str) -> QueueView: ...

    async def reconcile(self, thread_id: str) -> ThreadFinding: ...

    async def adopt(
        self, session_id: str, *, endpoint: str, thread_id: str | None = None, directory: str | None = None
    ) -> AdoptResult: ...

    def threads(self, limit: int | None = 50, *, only_open: bool = False) -> AsyncIterator[ThreadSummary]: ...
