"""Following one turn to its end: look now and then, wait for the result beside it, and obey Ctrl-C.

The result decides; the looks are only for the eye. So a worker that is away makes the view stand still and costs the
outcome nothing. Ctrl-C once asks Turnkeeper to stop the turn (see `stopping`) and goes on following until that is
settled. A second one leaves: at once after the first, before the stop is sent, so that the turn goes on; later, so
that the stop does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, TypeVar

from turnkeeper import own_place
from turnkeeper.cli import lines
from turnkeeper.cli.figures import span
from turnkeeper.cli.keeper import Keeper
from turnkeeper.cli.place import find_turn, why_never_begun
from turnkeeper.cli.presses import Press, Presses
from turnkeeper.cli.stopping import Stopping
from turnkeeper.cli.tasks import Tasks
from turnkeeper.cli.views import Subject, View
from turnkeeper.errors import RefusedError, ServiceUnavailableError, TurnkeeperError
from turnkeeper.keys import key_reused
from turnkeeper.messages import TurnRecord, TurnResult, TurnSnapshot
from turnkeeper.thread_messages import ThreadSnapshot
from turnkeeper.vocabulary import Reason

FIRST_LOOKS: Final = 20
"""Looks at the quick pace: the first ten seconds, in which most changes."""

QUICK_LOOK: Final = 0.5
"""Seconds between two looks at first. A look is a query: a few milliseconds of a worker."""

SLOW_LOOK: Final = 1.0
"""Seconds between two looks later: a person sees no difference, and a hundred followers are no load."""

LAST_LOOK: Final = 2.0
"""Seconds for the look after the end, which shows what happened since the last one. The outcome does not need it."""

PATIENCE: Final = 300.0
"""Seconds without an answer until the following ends. A worker's replacement takes minutes; more is an outage."""

TAKING: Final = 30.0
"""Seconds that a thread may take to accept a kept prompt, once a worker is up: longer than its check at the door."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Settled:
    """The turn is over."""

    subject: Subject
    result: TurnResult


@dataclass(frozen=True, slots=True)
class NeverBegun:
    """The turn is over, and nothing of it ran. `why` is a sentence."""

    subject: Subject
    turn: TurnRecord
    why: str


@dataclass(frozen=True, slots=True)
class Detached:
    """The person left; the turn goes on."""


Ending = Settled | NeverBegun | Detached


class Follower:
    """Follows one turn. Use once."""

    def __init__(
        self,
        keeper: Keeper,
        view: View,
        presses: Presses,
        link: Callable[[str, str | None], str | None],
        *,
        stops: bool = True,
        patience: float = PATIENCE,
        outage: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`presses` gets one item for each Ctrl-C; `link` gives the Temporal UI's address of a turn's run.

        `stops`: the first Ctrl-C asks to stop the turn. Who only looks on leaves with the first one. `outage` says
        why nothing answers, if that can be told.
        """
        self._outage = outage
        self._stops = stops
        self._keeper = keeper
        self._view = view
        self._presses = presses
        self._link = link
        self._patience = patience
        self._began = time.monotonic()
        self._silence: str | None = None  # why nobody answers; the person was told
        self._left = False
        self._before: TurnSnapshot | None = None
        self._over: str | None = None  # the run that dropped a steer, until the thread has learnt it

    async def follow(self, subject: Subject) -> Ending:
        """Until the turn is over or the person leaves.

        Raises:
            ServiceUnavailableError: nothing answered for `patience`; what became of the turn is not known.
            RefusedError: there is no such turn.
            TurnkeeperError: the turn's workflow did not end by itself.

        """
        self._subject = subject
        stop = Stopping(self._keeper, lambda: self._subject, self._notice, self._outage)
        async with Tasks() as tasks:
            watching = tasks.start(self._watch_all())
            stopping: asyncio.Task[None] | None = None
            while True:
                press = tasks.start(self._presses.get())
                await asyncio.wait({watching, press}, return_when=asyncio.FIRST_COMPLETED)
                if watching.done():
                    return watching.result()
                if press.result() is Press.LEAVE or stopping is not None or not self._stops:
                    self._left = True
                    self._view.detached(lines.leaving(self._subject, stop.state, self._silence))
                    return Detached()
                stopping = tasks.start(stop.stop())

    async def _watch_all(self) -> Settled | NeverBegun:
        """The turn, and if the provider loses it, the turn that goes on with it; a dropped steer, as the next turn."""
        while True:
            ending = await self._watch()
            if isinstance(ending, Settled) and (dropped := _dropped_steer(ending)) is not None:
                self._over, self._subject, self._before = ending.subject.run_id, dropped, None
                over = ending.result.turn_id
                self._notice(f"turn {over} is over and did not take the prompt up: it is a turn of its own now")
                continue
            following = await self._continuation(ending) if isinstance(ending, Settled) else None
            if following is None:
                return ending
            self._subject = following
            self._before = None
            self._notice(f"the provider lost turn {following.continues}; {following.turn_id} goes on with it")
            self._view.begun(following)

    async def _continuation(self, settled: Settled) -> Subject | None:
        result = settled.result
        if result.outcome.reason is not Reason.PROVIDER_LOST_TURN:
            return None
        since = time.monotonic()
        while time.monotonic() - since < TAKING:
            try:
                thread = await self._keeper.thread(result.thread_id)
            except ServiceUnavailableError:
                await asyncio.sleep(QUICK_LOOK)
                continue  # the result is there: nobody waits longer than this for what may follow
            active = [thread.active] if thread.active else []
            known = [*thread.recent, *active, *thread.queued]
            for turn in known:
                if turn.continues == result.turn_id:
                    return Subject(
                        thread.thread_id, turn.turn_id, turn.run_id, turn.idempotency_key, continues=result.turn_id
                    )
            if all(turn.turn_id != result.turn_id for turn in active):
                return None  # the thread has settled it, and nothing goes on with it
            await asyncio.sleep(QUICK_LOOK)
        return None

    async def _watch(self) -> Settled | NeverBegun:
        run_id = self._subject.run_id or await self._run_of()
        if isinstance(run_id, NeverBegun):
            return run_id
        subject = replace(self._subject, run_id=run_id, link=self._link(self._subject.thread_id, run_id))
        self._subject = subject
        async with Tasks() as tasks:
            looking = tasks.start(self._look_on(subject))
            ending = tasks.start(self._result(subject.thread_id, run_id))
            await asyncio.wait({looking, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                looking.result()  # it only ever ends by raising: nothing answered for too long
            result = ending.result()
        # A quick turn does most between two looks: show the rest before the outcome.
        with suppress(TurnkeeperError, TimeoutError):
            async with asyncio.timeout(LAST_LOOK):
                self._show(await self._keeper.turn(subject.thread_id, run_id))
        return Settled(subject, result)

    async def _result(self, thread_id: str, run_id: str) -> TurnResult:
        """The result, asked for again while Temporal is away: the looks beside it say when to give up."""
        while True:
            try:
                return await self._keeper.result(thread_id, run_id)
            except ServiceUnavailableError:
                await asyncio.sleep(SLOW_LOOK)

    async def _run_of(self) -> str | NeverBegun:
        """The run of a turn that has not begun, once it begins."""
        shown: int | None = None
        told: str | None = None
        answering_since: float | None = None
        while True:
            subject = self._subject
            thread = await self._answered(lambda: self._keeper.thread(self._subject.thread_id))
            answering_since = answering_since or time.monotonic()
            turn, ahead = find_turn(thread, subject)
            if turn is None and (not subject.kept or time.monotonic() - answering_since > TAKING):
                raise _unknown(thread)
            if turn is not None:
                if mistake := key_reused(turn.turn_id, turn.prompt_digest, subject.prompt_digest):
                    raise mistake
                self._subject = subject = replace(subject, turn_id=turn.turn_id)
                if turn.run_id is not None and turn.run_id != self._over:
                    self._subject = replace(subject, steered=turn.steered_into is not None)
                    return turn.run_id
                if (why := why_never_begun(thread, turn)) is not None:
                    return NeverBegun(subject, turn, why)
            if ahead and ahead != shown:
                self._view.queued(self._at(), ahead)
                shown = ahead
            line = own_place.words(thread.place, thread.endpoint) if thread.place and not thread.place.granted else None
            if not ahead and line is not None and line != told:
                self._notice(line)
                told = line
            await asyncio.sleep(QUICK_LOOK)

    async def _look_on(self, subject: Subject) -> None:
        looks = 0
        while True:
            self._show(await self._answered(lambda: self._keeper.turn(subject.thread_id, subject.run_id)))
            looks += 1
            await asyncio.sleep(QUICK_LOOK if looks < FIRST_LOOKS else SLOW_LOOK)

    def _show(self, after: TurnSnapshot) -> None:
        if self._before is None:
            # Who joins late sees the turn's own clock. Never backwards, should the clocks of the machines differ.
            until = after.outcome.completed_at if after.outcome else datetime.now(UTC)
            self._began -= max((until - after.started_at).total_seconds() - self._at(), 0.0)
        before, self._before = self._before, after
        self._view.seen(self._at(), before, after)

    def _notice(self, text: str) -> None:
        # The terminal was given back; a call that was under way may still have something to say.
        if not self._left:
            self._view.notice(self._at(), text)

    async def _answered(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` gives, asked again while nobody answers, and the person is told so, once for each reason."""
        silent_since: float | None = None
        while True:
            try:
                answer = await ask()
            except ServiceUnavailableError as error:
                silent_since = silent_since or time.monotonic()
                why = self._outage() or error.message
                if time.monotonic() - silent_since > self._patience:
                    raise ServiceUnavailableError(
                        f"Nothing answered for {span(self._patience)}: {why}", code=error.detail_code
                    ) from error
                if why != self._silence:
                    self._silence = why
                    self._notice(f"no news: {why} Trying again for {span(self._patience)}.")
                await asyncio.sleep(SLOW_LOOK)
                continue
            if self._silence is not None:
                self._silence = None
                self._notice("news again")
            return answer

    def _at(self) -> float:
        return time.monotonic() - self._began


def _dropped_steer(settled: Settled) -> Subject | None:
    """The prompt that went into the turn which is over, if that did not answer it: the thread has it in its queue."""
    subject, result = settled.subject, settled.result
    if not subject.steered or subject.turn_id in {result.turn_id, *result.steered}:
        return None
    return replace(subject, run_id=None, link=None, steered=False, kept=True)


def _unknown(thread: ThreadSnapshot) -> RefusedError:
    error = f" Its last error: {thread.last_error}" if thread.last_error else ""
    return RefusedError(f"Thread {thread.thread_id!r} did not take the turn.{error}", code="unknown_turn")
