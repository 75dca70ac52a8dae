"""Stand-ins for the command line's tests: a client that plays a script, a view that remembers, ready-made values."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from temporalio.client import Client

from turnkeeper import queueing
from turnkeeper.cli.service import Connector, Service
from turnkeeper.cli.views import Subject
from turnkeeper.client import StartedTurn, ThreadSummary
from turnkeeper.commands import ClosedThread, QueueView, RemovedTurn, SentNow, WaitingPrompts
from turnkeeper.errors import RefusedError, TurnkeeperError
from turnkeeper.findings import AdoptResult, ThreadFinding
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import (
    AnswerResult,
    EndpointSnapshot,
    Evidence,
    InterruptResult,
    Outcome,
    PermissionRule,
    TurnRecord,
    TurnResult,
    TurnSnapshot,
)
from turnkeeper.observations import RelayStatus, Reply, Usage
from turnkeeper.thread_messages import QueuedTurn, StartTurnResult, ThreadSnapshot
from turnkeeper.vocabulary import (
    AnsweredBy,
    AnswerState,
    EvidenceKind,
    OnBusy,
    OnLost,
    PermissionReply,
    Reason,
    SessionStatus,
    TurnState,
    Wake,
)

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUN = "0190-run"
NO_SESSION = RefusedError("There is no such session.", code="no_session")


def snapshot(**changed: object) -> TurnSnapshot:
    """A running turn, with what is `changed`."""
    facts: dict[str, object] = {
        "thread_id": "shop",
        "turn_id": "t1",
        "state": TurnState.RUNNING,
        "session_id": "ses_1",
        "client_message_id": "msg_1",
        "delivery": "accepted",
        "doing": "waits for the provider",
        "started_at": datetime.now(UTC),
        "last_progress_at": T0,
        "next_check_at": None,
        "deadline_at": T0 + timedelta(hours=8),
    }
    return TurnSnapshot.model_validate(facts | changed)


def outcome(state: TurnState = TurnState.COMPLETED, reason: Reason = Reason.FINISHED, **changed: object) -> Outcome:
    """A settled turn of 3.4 seconds."""
    facts: dict[str, object] = {
        "state": state,
        "reason": reason,
        "evidence": Evidence(kind=EvidenceKind.SNAPSHOT, woken_by=Wake.EVENT, at=T0, detail="the agent answered."),
        "started_at": T0,
        "completed_at": T0 + timedelta(seconds=3.4),
        "text": "Done.",
        "usage": Usage(input_tokens=1200, cache_read_tokens=34, output_tokens=50, cost=0.0123, model_calls=2),
        "tool_calls": 1,
    }
    return Outcome.model_validate(facts | changed)


STOPPED = outcome(TurnState.INTERRUPTED, Reason.STOPPED, confirmed=True, text="")


def result(of: Outcome | None = None) -> TurnResult:
    return TurnResult(
        thread_id="shop", turn_id="t1", session_id="ses_1", client_message_id="msg_1", outcome=of or outcome()
    )


def record(**changed: object) -> TurnRecord:
    facts: dict[str, object] = {
        "turn_id": "t1",
        "idempotency_key": "k1",
        "state": TurnState.RUNNING,
        "prompt_start": "Fix the test",
        "run_id": RUN,
        "started_at": T0,
    }
    return TurnRecord.model_validate(facts | changed)


SETTLED = record(state=TurnState.COMPLETED, reason=Reason.FINISHED, completed_at=T0)


def thread(**changed: object) -> ThreadSnapshot:
    facts: dict[str, object] = {
        "thread_id": "shop",
        "endpoint": "local",
        "directory": "/srv/shop",
        "status": SessionStatus.READY,
        "session_id": "ses_1",
        "active": None,
        "recent": (SETTLED,),
    }
    return ThreadSnapshot.model_validate(facts | changed)


DELIVERED = AnswerResult(
    turn_id="t1",
    request_id="per_1",
    state=AnswerState.DELIVERED,
    answer=Reply(permission=PermissionReply.ONCE),
    by=AnsweredBy.PERSON,
)


@dataclass
class ScriptedKeeper:
    """Plays its lists one answer a call and repeats the last; an error in a list is raised."""

    turns: Sequence[TurnSnapshot | TurnkeeperError] = (snapshot(),)
    threads_seen: Sequence[ThreadSnapshot | TurnkeeperError] = (thread(),)
    start: StartTurnResult | TurnkeeperError | None = None
    ends_with: TurnResult | TurnkeeperError = field(default_factory=result)
    interrupts_with: InterruptResult | TurnkeeperError | None = None
    answers_with: AnswerResult | TurnkeeperError = DELIVERED
    rules: list[Sequence[PermissionRule] | None] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    known: bool = True  # the thread exists
    finds: Mapping[str, ThreadFinding | TurnkeeperError] = field(default_factory=dict)
    adopts: AdoptResult | TurnkeeperError = NO_SESSION
    looks: int = 0
    starts_with: list[OnLost] = field(default_factory=list)  # what each start said of a lost run
    busy_with: list[OnBusy] = field(default_factory=list)
    removes_with: TurnkeeperError | None = None
    into: list[str | None] = field(default_factory=list)
    waits: tuple[QueuedTurn, ...] = ()
    held: bool = False
    asked: list[tuple[str, object]] = field(default_factory=list)

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
    ) -> StartedTurn:
        self.asked.append(("start", (thread_id, prompt, endpoint, directory, model, agent, idempotency_key, limits)))
        self.starts_with.append(on_lost)
        self.rules.append(permissions)
        self.busy_with.append(on_busy)
        self.into.append(expected_turn_id)
        if endpoint is None and not self.known:
            raise RefusedError("There is no thread.", code="not_found")
        if isinstance(self.start, TurnkeeperError):
            raise self.start
        return StartedTurn(thread_id, idempotency_key or "k1", self.start)

    async def answer(
        self,
        thread_id: str,
        request_id: str,
        *,
        permission: PermissionReply | None = None,
        answers: Sequence[Sequence[str]] | None = None,
        reject: bool = False,
        message: str = "",
    ) -> AnswerResult:
        self.asked.append(("answer", (thread_id, request_id, permission, answers, reject, message)))
        if isinstance(self.answers_with, TurnkeeperError):
            raise self.answers_with
        return self.answers_with

    async def result(self, thread_id: str, run_id: str | None = None) -> TurnResult:
        self.asked.append(("result", (thread_id, run_id)))
        await self.over.wait()
        if isinstance(self.ends_with, TurnkeeperError):
            raise self.ends_with
        return self.ends_with

    async def turn(self, thread_id: str, run_id: str | None = None) -> TurnSnapshot:
        self.asked.append(("turn", (thread_id, run_id)))
        answer = self.turns[min(self.looks, len(self.turns) - 1)]
        self.looks += 1
        if isinstance(answer, TurnkeeperError):
            raise answer
        return answer

    async def thread(self, thread_id: str) -> ThreadSnapshot:
        seen = sum(1 for what, _ in self.asked if what == "thread")
        self.asked.append(("thread", thread_id))
        answer = self.threads_seen[min(seen, len(self.threads_seen) - 1)]
        if isinstance(answer, TurnkeeperError):
            raise answer
        return answer

    async def endpoint(self, name: str) -> EndpointSnapshot:
        relay = RelayStatus(attached=True, at=T0, version="1.18.33")
        return EndpointSnapshot(endpoint=name, relay=relay, since=T0)

    async def interrupt(self, thread_id: str, turn_id: str | None = None, *, why: str = "") -> InterruptResult:
        self.asked.append(("interrupt", (thread_id, turn_id, why)))
        if isinstance(self.interrupts_with, TurnkeeperError):
            raise self.interrupts_with
        self.ends_with = result(STOPPED)
        self.over.set()
        return self.interrupts_with or InterruptResult(turn_id="t1", was_running=True, outcome=STOPPED)

    async def stop_session(self, thread_id: str, *, why: str = "") -> InterruptResult:
        self.asked.append(("stop", (thread_id, why)))
        if isinstance(self.interrupts_with, TurnkeeperError):
            raise self.interrupts_with
        return self.interrupts_with or InterruptResult(turn_id="t1", was_running=True, outcome=STOPPED)

    async def close(self, thread_id: str, *, why: str = "") -> ClosedThread:
        self.asked.append(("close", (thread_id, why)))
        return ClosedThread(returned=self.waits)

    def _view(self) -> dict[str, Any]:
        return {"queued": tuple(queueing.record(turn) for turn in self.waits), "held": self.held}

    async def waiting(self, thread_id: str) -> WaitingPrompts:
        self.asked.append(("waiting", thread_id))
        return WaitingPrompts(prompts=self.waits, **self._view())

    async def remove_queued(self, thread_id: str, turn_id: str) -> RemovedTurn:
        self.asked.append(("remove", (thread_id, turn_id)))
        if isinstance(self.removes_with, TurnkeeperError):
            raise self.removes_with
        gone, *rest = self.waits
        self.waits = tuple(rest)
        return RemovedTurn(removed=gone, **self._view())

    async def send_now(self, thread_id: str, turn_id: str) -> SentNow:
        self.asked.append(("send now", (thread_id, turn_id)))
        stopped = InterruptResult(turn_id="t1", was_running=True, outcome=STOPPED)
        return SentNow(turn=record(turn_id=turn_id), stopped=stopped, **self._view())

    async def resume_queue(self, thread_id: str) -> QueueView:
        self.asked.append(("resume", thread_id))
        self.held = False
        return QueueView(**self._view())

    async def reconcile(self, thread_id: str) -> ThreadFinding:
        self.asked.append(("reconcile", thread_id))
        found = self.finds[thread_id]
        if isinstance(found, TurnkeeperError):
            raise found
        return found

    async def adopt(
        self, session_id: str, *, endpoint: str, thread_id: str | None = None, directory: str | None = None
    ) -> AdoptResult:
        self.asked.append(("adopt", (session_id, endpoint, thread_id, directory)))
        if isinstance(self.adopts, TurnkeeperError):
            raise self.adopts
        return self.adopts

    async def threads(self, limit: int | None = 50, *, only_open: bool = False) -> AsyncIterator[ThreadSummary]:
        self.asked.append(("threads", limit))
        if only_open:
            for name in self.finds:
                yield ThreadSummary(name, "local", T0, open=True)
            return
        yield ThreadSummary("shop", "local", T0, open=True)

    def count(self, what: str) -> int:
        return sum(1 for name, _ in self.asked if name == what)


STARTED = StartTurnResult(thread_id="shop", turn_id="t1", state=TurnState.RUNNING, run_id=RUN)


def service_of(keeper: ScriptedKeeper, *, embedded: bool = True) -> Service:
    """A service without a server: all that is asked of Temporal's client itself is its namespace."""
    temporal = cast("Client", SimpleNamespace(namespace="default"))
    return Service(keeper, temporal, "by a stand-in", "http://ui.test", embedded=embedded)


def connector_of(keeper: ScriptedKeeper, *, embedded: bool = True) -> Connector:
    async def connect(_: Path) -> Service:
        return service_of(keeper, embedded=embedded)

    return connect


@dataclass
class RememberingView:
    """Remembers what it was told, in words."""

    told: list[str] = field(default_factory=list)

    def begun(self, subject: Subject) -> None:
        self.told.append(f"begun {subject.thread_id}")

    def queued(self, at: float, ahead: int) -> None:  # noqa: ARG002 - the view's signature
        self.told.append(f"queued {ahead}")

    def seen(self, at: float, before: TurnSnapshot | None, after: TurnSnapshot) -> None:  # noqa: ARG002 - as above
        self.told.append(f"seen {after.state}")

    def notice(self, at: float, text: str) -> None:  # noqa: ARG002 - as above
        self.told.append(f"notice {text}")

    def settled(self, subject: Subject, result: TurnResult) -> None:  # noqa: ARG002 - as above
        self.told.append(f"settled {result.outcome.state}")

    def never_begun(self, subject: Subject, turn: TurnRecord, why: str) -> None:  # noqa: ARG002 - as above
        self.told.append(f"never begun {why}")

    def failed(self, error: TurnkeeperError) -> None:
        self.told.append(f"failed {error}")

    def detached(self, text: str) -> None:
        self.told.append(f"detached {text}")

    def close(self) -> None:
        self.told.append("closed")

    def has(self, start: str) -> bool:
        return any(line.startswith(start) for line in self.told)
