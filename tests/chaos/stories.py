"""What people do while things break: each story is one thread, its prompts, and what its person was told.

A prompt carries a word that exists nowhere else, so that the witness finds it in OpenCode's database without knowing
any of our ids. People are stubborn: what is not acknowledged is done again, with the same key.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final, TypeVar

from tests.chaos.bare import begin_in_opencode
from tests.chaos.cases import ANSWERED, BEHIND, LIMITS, STOPPED, Case, Kind, plan_of
from tests.chaos.site import ENDPOINT, Site
from tests.e2e.turns.deployment import new_thread
from turnkeeper.client import StartedTurn
from turnkeeper.errors import RefusedError, ServiceUnavailableError, TurnkeeperError
from turnkeeper.messages import AnswerResult, TurnRecord
from turnkeeper.vocabulary import OnBusy, OnLost, PermissionReply, Reason

SETTLED_WITHIN: Final = 180.0
"""Seconds from the start of a story; a turn that is not settled by then is stuck."""

AGAIN: Final = 0.3
"""Seconds before a person tries again."""

Told = TypeVar("Told")

FIRST: Final = {
    Kind.SENT_NOW: Kind.MAKES_WAY,
    Kind.INTERRUPTS: Kind.MAKES_WAY,
    Kind.REMOVED: Kind.SILENT_TOOL,
    Kind.QUEUED: Kind.TOOL,
}
"""What runs when such a prompt is given. A steer is given into a command or an answer."""


class Person:
    """Plays one story on one thread."""

    def __init__(self, site: Site, random: Random, kind: Kind) -> None:
        self._site = site
        self._random = random
        self._kind = kind
        self._keeper = site.keeper
        self.thread = new_thread()
        self.cases: list[Case] = []

    async def play(self) -> None:
        """Until every prompt of the story is settled, or too late."""
        if self._kind in BEHIND:
            await self._one_behind_another()
        elif self._kind is Kind.ADOPTED:
            await self._take_over(self._case(Kind.ADOPTED))
        else:
            case = self._case(self._kind)
            await asyncio.gather(self._settle(case, await self._give(case)), self._take_part(case))
            await self._see_follow_ups(case)

    async def _one_behind_another(self) -> None:
        first = self._case(FIRST.get(self._kind) or self._random.choice((Kind.SILENT_TOOL, Kind.WORDS)))
        running = asyncio.create_task(self._settle(first, await self._give(first)))
        if self._kind is not Kind.QUEUED:
            await asyncio.sleep(self._random.uniform(0.5, 2.5))
        second = self._case(self._kind)
        match self._kind:
            case Kind.STEERS:
                second.into = first
                on_busy = OnBusy.STEER
            case Kind.INTERRUPTS:
                first.stop_asked_at = time.time()
                on_busy = OnBusy.INTERRUPT
            case _:
                on_busy = OnBusy.QUEUE
        started = await self._give(second, on_busy)
        if self._kind is Kind.INTERRUPTS and started is not None:
            first.stop_taken_at = time.time()
        await self._edit_queue(first, second, started)
        await asyncio.gather(running, self._settle(second, started))

    async def _edit_queue(self, first: Case, second: Case, started: StartedTurn | None) -> None:
        """Take the second prompt out, or send it now; either is refused when it has begun."""
        if started is None or self._kind not in {Kind.REMOVED, Kind.SENT_NOW}:
            return
        try:
            turn_id = await stubborn(lambda: self._turn_id(started))
            if self._kind is Kind.REMOVED:
                await stubborn(lambda: self._keeper.remove_queued(self.thread, turn_id))
                second.removed = True
            else:
                first.stop_asked_at = time.time()
                first.stop = (await stubborn(lambda: self._keeper.send_now(self.thread, turn_id))).stopped
                first.stop_taken_at = time.time()
        except RefusedError as error:
            first.stop_refused = self._kind is Kind.SENT_NOW
            second.complaint = f"queue: {error!r}"
        except (TurnkeeperError, TimeoutError) as error:
            second.complaint = f"queue: {error!r}"

    async def _turn_id(self, started: StartedTurn) -> str:
        """Of a prompt that was taken; one that was kept has none until a worker sees it."""
        if started.result is not None:
            return started.result.turn_id
        thread = await self._keeper.thread(self.thread)
        known = [*thread.recent, *([thread.active] if thread.active else []), *thread.queued]
        for turn in known:
            if turn.idempotency_key == started.idempotency_key:
                return turn.turn_id
        raise ServiceUnavailableError("Nobody has seen the prompt yet.")

    def _case(self, kind: Kind) -> Case:
        case = Case(kind, f"w{uuid.uuid4().hex}", self.thread)
        self.cases.append(case)
        return case

    async def _give(self, case: Case, on_busy: OnBusy = OnBusy.QUEUE) -> StartedTurn | None:
        prompt = plan_of(case, self._random)
        case.started_at = time.time()

        async def start() -> StartedTurn:
            return await self._keeper.start_turn(
                self.thread,
                prompt,
                endpoint=ENDPOINT,
                directory=str(self._site.directory),
                limits=LIMITS,
                on_busy=on_busy,
                on_lost=OnLost.CONTINUE if case.kind is Kind.CONTINUED else OnLost.SETTLE,
                idempotency_key=f"key-{case.word}",
            )

        try:
            started = await stubborn(start)
            if case.kind is Kind.STARTED_TWICE:
                await stubborn(start)
        except (TurnkeeperError, TimeoutError) as error:
            case.complaint = f"start: {error!r}"
            return None
        return started

    async def _settle(self, case: Case, started: StartedTurn | None) -> None:
        if started is None:
            return
        try:
            case.result = await stubborn(lambda: self._keeper.wait(started))
        except RefusedError as error:
            case.removed = error.detail_code == "not_begun"
            case.complaint = f"wait: {error!r}"
        except (TurnkeeperError, TimeoutError) as error:
            case.complaint = f"wait: {error!r}"

    async def _take_over(self, case: Case) -> None:
        """A run that somebody began in OpenCode itself."""
        prompt = plan_of(case, self._random)
        case.started_at = time.time()
        try:
            async with asyncio.timeout(SETTLED_WITHIN):
                session = await begin_in_opencode(self._site.people.truth, self._site.directory, prompt)
            await asyncio.sleep(self._random.uniform(0, 1))
            case.adopted = await stubborn(
                lambda: self._keeper.adopt(session, endpoint=ENDPOINT, thread_id=self.thread, limits=LIMITS)
            )
            case.adopted_at = time.time()
            if case.adopted.turn_id is not None:
                run = case.adopted.run_id
                case.result = await stubborn(lambda: self._keeper.result(self.thread, run))
        except (TurnkeeperError, TimeoutError) as error:
            case.complaint = f"take over: {error!r}"

    async def _take_part(self, case: Case) -> None:
        if case.kind in STOPPED:
            await self._stop(case)
        elif case.kind in ANSWERED:
            await self._answer(case)

    async def _stop(self, case: Case) -> None:
        at_once = case.kind is Kind.STOPPED_AT_ONCE
        await asyncio.sleep(self._random.uniform(0, 1) if at_once else self._random.uniform(1, 4))
        case.stop_asked_at = time.time()
        try:
            case.stop = await stubborn(lambda: self._keeper.interrupt(self.thread, idempotency_key=f"stop-{case.word}"))
            case.stop_taken_at = time.time()
        except (TurnkeeperError, TimeoutError) as error:
            case.complaint = f"stop: {error!r}"

    async def _answer(self, case: Case) -> None:
        request = await self._request(case)
        if request is None:
            return
        await asyncio.sleep(self._random.uniform(0, 1.5))

        async def give() -> AnswerResult:
            match case.kind:
                case Kind.REJECTED:
                    return await self._keeper.answer(self.thread, request, reject=True)
                case Kind.QUESTION:
                    return await self._keeper.answer(self.thread, request, answers=[["left"]])
                case _:
                    return await self._keeper.answer(self.thread, request, permission=PermissionReply.ONCE)

        try:
            case.answer_given = True
            case.answer = await stubborn(give)
        except (TurnkeeperError, TimeoutError) as error:
            case.complaint = f"answer: {error!r}"

    async def _request(self, case: Case) -> str | None:
        """The open request of the turn; None when the turn ended without one."""
        end = case.started_at + SETTLED_WITHIN
        while time.time() < end and case.result is None:
            try:
                turn = await self._keeper.turn(self.thread)
            except TurnkeeperError:
                await asyncio.sleep(AGAIN)
                continue
            if turn.open_requests:
                return turn.open_requests[0].request_id
            await asyncio.sleep(AGAIN)
        return None

    async def _see_follow_ups(self, case: Case) -> None:
        """Until the thread rests that was told to go on after a loss."""
        lost = case.result is not None and case.result.outcome.reason is Reason.PROVIDER_LOST_TURN
        if case.kind is not Kind.CONTINUED or not lost:
            return

        async def rested() -> tuple[TurnRecord, ...]:
            thread = await self._keeper.thread(self.thread)
            if thread.active is not None or thread.queued or len(thread.recent) < 2:
                raise ServiceUnavailableError("It does not rest yet.")
            return tuple(turn for turn in thread.recent if turn.continues is not None)

        try:
            case.follow_ups = await stubborn(rested)
        except (TurnkeeperError, TimeoutError) as error:
            case.complaint = f"follow-up: {error!r}"


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
