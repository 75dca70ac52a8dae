"""What people do while things break: each story is one thread, its prompts, and what its person was told.

A prompt carries a word that exists nowhere else, so that the witness finds it in OpenCode's database without knowing
any of our ids. People are stubborn: what is not acknowledged is done again, with the same key.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final, TypeVar

from pydantic import JsonValue

from tests.chaos.site import ENDPOINT, Site
from tests.e2e.turns.deployment import new_thread
from tests.e2e.turns.prompts import DONE, Step, bash, plan, seconds, slow_text
from turnkeeper.client import StartedTurn
from turnkeeper.errors import ServiceUnavailableError, TurnkeeperError
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import AnswerResult, InterruptResult, TurnResult
from turnkeeper.vocabulary import PermissionReply

LIMITS: Final = TurnLimits(deadline=seconds(150), stall_timeout=seconds(120), tool_stall_timeout=seconds(120))
"""Production's, but for the clocks that would hide for hours what never settles."""

SETTLED_WITHIN: Final = 180.0
"""Seconds from the start of a story; a turn that is not settled by then is stuck."""

AGAIN: Final = 0.3
"""Seconds before a person tries again."""

Told = TypeVar("Told")


class Kind(StrEnum):
    """What the prompt asks for, and what its person does."""

    WORDS = "an answer in words"
    TOOL = "a command, then words"
    PERMISSION = "a command that a person allows"
    REJECTED = "a command that a person rejects"
    QUESTION = "a question that a person answers"
    RETRIED = "the model fails once"
    FAILED = "the model refuses"
    STOPPED_AT_ONCE = "stopped in its first second"
    STOPPED_IN_WORDS = "stopped while it answers"
    STOPPED_IN_TOOL = "stopped while a command runs"
    QUEUED = "waits behind another prompt"
    STARTED_TWICE = "its start is sent twice"


STOPPED: Final = frozenset({Kind.STOPPED_AT_ONCE, Kind.STOPPED_IN_WORDS, Kind.STOPPED_IN_TOOL})


@dataclass
class Case:
    """One prompt and what became of it, as its person saw it. Times in seconds of the epoch."""

    kind: Kind
    word: str
    thread: str
    started_at: float = 0.0
    stop_asked_at: float | None = None
    stop: InterruptResult | None = None
    answer: AnswerResult | None = None
    answer_given: bool = False
    result: TurnResult | None = None
    complaint: str = ""
    """Why there is no result."""


class Person:
    """Plays one story on one thread."""

    def __init__(self, site: Site, random: Random, kind: Kind) -> None:
        self._site = site
        self._random = random
        self._kind = kind
        self.thread = new_thread()
        self.cases: list[Case] = []

    async def play(self) -> None:
        """Until every prompt of the story is settled, or too late."""
        if self._kind is Kind.QUEUED:
            first = await self._give(Kind.TOOL)
            second = await self._give(Kind.QUEUED)
            await asyncio.gather(self._settle(*first), self._settle(*second))
            return
        case, started = await self._give(self._kind)
        await asyncio.gather(self._settle(case, started), self._take_part(case))

    async def _give(self, kind: Kind) -> tuple[Case, StartedTurn | None]:
        case = Case(kind, f"w{uuid.uuid4().hex}", self.thread, time.time())
        self.cases.append(case)
        prompt = plan_of(case, self._random)

        async def start() -> StartedTurn:
            return await self._site.keeper.start_turn(
                self.thread,
                prompt,
                endpoint=ENDPOINT,
                directory=str(self._site.directory),
                limits=LIMITS,
                idempotency_key=f"key-{case.word}",
            )

        try:
            started = await stubborn(start)
            if kind is Kind.STARTED_TWICE:
                await stubborn(start)
        except (TurnkeeperError, TimeoutError) as error:
            case.complaint = f"start: {error!r}"
            return case, None
        return case, started

    async def _settle(self, case: Case, started: StartedTurn | None) -> None:
        if started is None:
            return
        try:
            case.result = await stubborn(lambda: self._site.keeper.wait(started))
        except (TurnkeeperError, TimeoutError) as error:
            case.complaint = f"wait: {error!r}"

    async def _take_part(self, case: Case) -> None:
        match case.kind:
            case kind if kind in STOPPED:
                await self._stop(case)
            case Kind.PERMISSION | Kind.REJECTED | Kind.QUESTION:
                await self._answer(case)
            case _:
                pass

    async def _stop(self, case: Case) -> None:
        await asyncio.sleep(self._random.uniform(0, 1) if case.kind is Kind.STOPPED_AT_ONCE else 0)
        if case.kind is not Kind.STOPPED_AT_ONCE:
            await asyncio.sleep(self._random.uniform(1, 4))
        case.stop_asked_at = time.time()
        try:
            case.stop = await stubborn(
                lambda: self._site.keeper.interrupt(self.thread, idempotency_key=f"stop-{case.word}")
            )
        except (TurnkeeperError, TimeoutError) as error:
            case.complaint = f"stop: {error!r}"

    async def _answer(self, case: Case) -> None:
        request = await self._request(case)
        if request is None:
            return
        await asyncio.sleep(self._random.uniform(0, 1.5))

        async def give() -> AnswerResult:
            match case.kind:
                case Kind.PERMISSION:
                    return await self._site.keeper.answer(self.thread, request, permission=PermissionReply.ONCE)
                case Kind.REJECTED:
                    return await self._site.keeper.answer(self.thread, request, reject=True)
                case _:
                    return await self._site.keeper.answer(self.thread, request, answers=[["left"]])

        try:
            case.answer_given = True
            case.answer = await stubborn(give)
        except (TurnkeeperError, TimeoutError) as error:
            case.complaint = f"answer: {error!r}"

    async def _request(self, case: Case) -> str | None:
        """The open request of the turn; None when the turn ended without one."""
        end = case.started_at + SETTLED_WITHIN
        while time.time() < end:
            try:
                turn = await self._site.keeper.turn(self.thread)
            except TurnkeeperError:
                await asyncio.sleep(AGAIN)
                continue
            if turn.open_requests:
                return turn.open_requests[0].request_id
            if turn.outcome is not None:
                return None
            await asyncio.sleep(AGAIN)
        return None


def plan_of(case: Case, random: Random) -> str:
    """The prompt: its word, and the plan for the scripted model."""
    mark = bash(f"echo {case.word} >> {case.word}.txt")
    steps: dict[Kind, tuple[Step, ...]] = {
        Kind.WORDS: (slow_text(random.uniform(0.5, 4)),),
        Kind.TOOL: (bash(f"echo {case.word} >> {case.word}.txt; sleep {random.uniform(0.2, 3):.1f}"), DONE),
        Kind.PERMISSION: (bash(f"echo ask >> {case.word}.txt"), DONE),
        Kind.REJECTED: (bash(f"echo ask >> {case.word}.txt"), DONE),
        Kind.QUESTION: (_question(), mark, DONE),
        Kind.RETRIED: ({"kind": "http", "status": 500}, mark, DONE),
        Kind.FAILED: ({"kind": "http", "status": 401, "times": "always"},),
        Kind.STOPPED_AT_ONCE: (slow_text(45),),
        Kind.STOPPED_IN_WORDS: (slow_text(45),),
        Kind.STOPPED_IN_TOOL: (bash(f"sleep 45; echo {case.word} >> {case.word}.txt"), DONE),
        Kind.QUEUED: (mark, DONE),
        Kind.STARTED_TWICE: (mark, DONE),
    }
    return f"{case.word} {plan(*steps[case.kind])}"


def _question() -> Step:
    options: list[JsonValue] = [
        {"label": "left", "description": "that way"},
        {"label": "right", "description": "the other way"},
    ]
    question: Step = {"question": "Which way?", "header": "Way", "options": options}
    return {"kind": "tool", "name": "question", "arguments": {"questions": [question]}}


async def stubborn(ask: Callable[[], Awaitable[Told]]) -> Told:
    """Again and again until it is acknowledged or refused; what a person with the same key may always do.

    Raises:
        RefusedError: it will never be taken.
        TimeoutError: nobody took it in `SETTLED_WITHIN`.

    """
    async with asyncio.timeout(SETTLED_WITHIN):
        while True:
            try:
                return await ask()
            except ServiceUnavailableError:
                await asyncio.sleep(AGAIN)
