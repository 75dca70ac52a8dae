"""A worker, its endpoint and a client of it, with what OpenCode itself holds read beside them over bare httpx."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from pydantic import SecretStr
from temporalio.client import Client

from tests.e2e.bare_session import BareSession
from tests.e2e.turns.prompts import SHORT
from tests.e2e.waiting import until
from turnkeeper.client import StartedTurn, Turnkeeper
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import Outcome, PermissionRule, TurnResult, TurnSnapshot
from turnkeeper.settings import EndpointSettings, Settings, WorkerSettings
from turnkeeper.vocabulary import EvidenceKind, Reason, SessionStatus, TurnState, Wake
from worker import running_worker

SETTLED_WITHIN: Final = 90.0
"""Seconds until a turn must be settled, whatever happens: its own deadline, a stop's grace, and a slow machine."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """`truth` asks OpenCode directly, whatever stands between it and the worker."""

    keeper: Turnkeeper
    endpoint: str
    directory: Path
    truth: httpx.AsyncClient

    async def start(
        self,
        prompt: str,
        *,
        thread: str | None = None,
        directory: Path | None = None,
        limits: TurnLimits = SHORT,
        key: str | None = None,
        model: str | None = None,
        permissions: Sequence[PermissionRule] | None = None,
    ) -> StartedTurn:
        """On a thread of its own unless one is named."""
        return await self.keeper.start_turn(
            thread or new_thread(),
            prompt,
            endpoint=self.endpoint,
            directory=str(directory or self.directory),
            limits=limits,
            idempotency_key=key,
            model=model,
            permissions=permissions,
        )

    async def settled(self, started: StartedTurn, *, within: float = SETTLED_WITHIN, prompts: int = 1) -> TurnResult:
        """The result, once OpenCode is seen to hold the turn's prompt so many times: once, unless a test says why."""
        async with asyncio.timeout(within):
            result = await self.keeper.wait(started)
        assert len(await self.prompts_of(result)) == prompts, result
        return result

    async def prompts_of(self, result: TurnResult) -> list[dict[str, Any]]:
        """The user messages that OpenCode holds under the turn's client message id."""
        if result.session_id is None:
            return []
        messages = await self.session(result.session_id).messages()
        users = [message["info"] for message in messages if message["info"]["role"] == "user"]
        return [info for info in users if info["id"] == result.client_message_id]

    async def run(self, prompt: str, *, directory: Path | None = None, limits: TurnLimits = SHORT) -> TurnResult:
        return await self.settled(await self.start(prompt, directory=directory, limits=limits))

    def session(self, session_id: str, directory: Path | None = None) -> BareSession:
        return BareSession(self.truth, directory or self.directory, session_id)

    async def until_turn(
        self, started: StartedTurn, holds: Callable[[TurnSnapshot], object], *, deadline: float = 30.0
    ) -> TurnSnapshot:
        """Wait for a condition on the turn's own snapshot."""
        return await until(lambda: self.keeper.turn(started.thread_id), holds, deadline=deadline)

    async def until_resting(self, thread_id: str, status: SessionStatus) -> None:
        """Wait for what a thread says of its turn's end: it learns of that after whoever waited for the turn."""
        await until(lambda: self.keeper.thread(thread_id), lambda thread: thread.status is status)

    async def until_running(self, started: StartedTurn) -> BareSession:
        """The provider session, once it works on the prompt."""
        turn = await self.until_turn(started, lambda turn: turn.delivery == "accepted")
        assert turn.session_id is not None
        session = self.session(turn.session_id)
        await session.until(lambda messages: len(messages) > 1)
        return session

    async def until_streaming(self, started: StartedTurn) -> BareSession:
        """The provider session, once the answer's text flows: an abort is not lost any more.

        OpenCode stores the text's part with its first token, and empty until its last.
        """
        session = await self.until_running(started)
        await session.until(lambda messages: any(part["type"] == "text" for part in messages[-1]["parts"]))
        return session


def new_thread() -> str:
    return f"thread-{uuid.uuid4().hex[:12]}"


def endpoint_settings(
    opencode: OpenCodeServer, directory: Path, queue: str, *, url: str | None = None, request_timeout: float = 5.0
) -> EndpointSettings:
    return EndpointSettings.model_validate(
        {
            "url": url or opencode.base_url,
            "username": opencode.username,
            "password": SecretStr(opencode.password),
            "roots": (directory,),
            "task_queue": queue,
            "request_timeout": request_timeout,
        }
    )


@asynccontextmanager
async def deployed(  # noqa: PLR0913 - the parts of a deployment, by keyword
    temporal: Client,
    opencode: OpenCodeServer,
    *,
    directory: Path,
    root: Path,
    name: str | None = None,
    url: str | None = None,
    run_relays: bool = True,
    run_worker: bool = True,
    request_timeout: float = 5.0,
    own_queue: bool = False,
    max_running_turns: int | None = None,
    worker: WorkerSettings | None = None,
) -> AsyncIterator[Deployment]:
    """In this process, on a task queue of its own, so that no other test's worker takes its work.

    `own_queue`: the endpoint has one beside the workflows'.
    """
    queue = name or f"queue-{uuid.uuid4().hex[:8]}"
    own = {"task_queue": queue, "run_relays": run_relays, "graceful_shutdown": 2}
    worker = (worker or WorkerSettings()).model_copy(update=own)
    provider_queue = f"{queue}-provider" if own_queue else queue
    endpoint = endpoint_settings(opencode, root, provider_queue, url=url, request_timeout=request_timeout)
    endpoint = endpoint.model_copy(update={"max_running_turns": max_running_turns})
    settings = Settings(endpoints={queue: endpoint}, worker=worker)
    # No connection is kept: servers are killed here, and a connection of a dead one would fail the next question.
    plain = httpx.Limits(max_keepalive_connections=0)
    auth = httpx.BasicAuth(opencode.username, opencode.password)
    async with httpx.AsyncClient(
        base_url=opencode.base_url, auth=auth, limits=plain, timeout=15, trust_env=False
    ) as truth:
        deployment = Deployment(Turnkeeper(temporal, task_queue=queue), queue, directory, truth)
        if not run_worker:
            yield deployment
            return
        async with running_worker(temporal, settings):
            yield deployment


def assert_ended(
    outcome: Outcome,
    state: TurnState,
    reason: Reason,
    *,
    kind: EvidenceKind = EvidenceKind.SNAPSHOT,
    woken_by: Iterable[Wake | None] = (Wake.EVENT,),
) -> None:
    """The whole outcome is in the message when one part is wrong."""
    assert (outcome.state, outcome.reason, outcome.evidence.kind) == (state, reason, kind), outcome
    assert outcome.evidence.woken_by in set(woken_by), outcome
    assert outcome.completed_at >= outcome.started_at, outcome
    assert outcome.evidence.detail, outcome
