"""What the first Ctrl-C does: it stops the turn that is followed, or takes its prompt back if it waits.

A prompt in the queue is taken out of it. One that begins in that moment is stopped as any running turn. One that went
into the running turn of its thread cannot be taken back: that turn is stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from turnkeeper.cli.keeper import Keeper
from turnkeeper.cli.lines import Stop
from turnkeeper.cli.place import find_turn, may_go_in
from turnkeeper.cli.views import Subject
from turnkeeper.errors import RefusedError, ServiceUnavailableError, TurnkeeperError

DOUBLE_PRESS: Final = 0.6
"""Seconds after a first Ctrl-C in which a second one still means "leave it running": a person presses twice in 0.3."""

NEXT_TRY: Final = 0.5
"""Seconds until a prompt that could not be taken back yet is looked for again."""

STOPPING: Final = "stopping the turn (Ctrl-C again at once leaves it running)"
STOP_SENT: Final = "asking for the stop, waiting for the confirmation (Ctrl-C again leaves without it)"
TAKING_BACK: Final = "taking the prompt back (Ctrl-C again at once leaves it there)"
TAKE_BACK_SENT: Final = "asking for the prompt back (Ctrl-C again leaves without an answer)"
NOT_KNOWN: Final = "nobody can say yet whether it has begun: it is taken back, or stopped, once a worker is up"

WHY: Final = "Ctrl-C"

_KEPT: Final = frozenset({"stop_kept", "removal_kept"})
"""The client's codes for what Temporal keeps until a worker is up."""


class Stopping:
    """Stops one turn."""

    def __init__(
        self,
        keeper: Keeper,
        subject: Callable[[], Subject],
        say: Callable[[str], None],
        outage: Callable[[], str | None],
    ) -> None:
        """`subject` gives what is known of the turn by now, `say` tells the person, `outage` why nobody answers."""
        self._keeper = keeper
        self._subject = subject
        self._say = say
        self._outage = outage
        self.state = Stop.NONE

    async def stop(self) -> None:
        """Ask for it, unless a second press comes at once (then this is cancelled), and say what came of it."""
        waiting = self._subject().waits
        self._say(TAKING_BACK if waiting else STOPPING)
        await asyncio.sleep(DOUBLE_PRESS)
        self.state = Stop.SENT
        self._say(TAKE_BACK_SENT if self._subject().waits else STOP_SENT)
        try:
            if not await self._take_back():
                await self._interrupt()
        except ServiceUnavailableError as error:
            kept = error.detail_code in _KEPT
            self.state = Stop.KEPT if kept else Stop.FAILED
            why = self._outage() or error.message
            self._say(error.message if kept else f"the stop was not accepted: {why} Ctrl-C again leaves.")
        except TurnkeeperError as error:
            self.state = Stop.NONE
            self._say(f"not stopped: {error}")

    async def _take_back(self) -> bool:
        """Was it taken out of the queue? False: it has begun, or never was there."""
        if self._subject().turn_id is None and self._subject().shared:
            await self._known()
        while True:
            subject = self._subject()
            if subject.run_id is not None or subject.turn_id is None:
                return False
            try:
                await self._keeper.remove_queued(subject.thread_id, subject.turn_id)
            except RefusedError as error:
                if error.detail_code != "not_queued":
                    raise
            else:
                return True
            thread = await self._keeper.thread(subject.thread_id)
            turn, _ = find_turn(thread, subject)
            if turn is None or not may_go_in(thread, turn):
                return False
            await asyncio.sleep(NEXT_TRY)

    async def _known(self) -> None:
        """Until the thread has taken a kept prompt: a stop without its name could stop another one's turn."""
        self._say(NOT_KNOWN)
        while self._subject().turn_id is None:  # noqa: ASYNC110 - whoever follows it finds its name by looking
            await asyncio.sleep(NEXT_TRY)

    async def _interrupt(self) -> None:
        subject = self._subject()
        try:
            result = await self._keeper.interrupt(subject.thread_id, subject.turn_id, why=WHY)
        except RefusedError as error:
            if error.detail_code != "not_running":
                raise
            into = await self._went_into(subject)
            if into is None:
                raise
            self._say(f"{subject.turn_id} went into {into} and cannot be taken back: stopping {into}")
            result = await self._keeper.interrupt(subject.thread_id, into, why=WHY)
        if result.failure is not None:
            self._say(f"not stopped: {result.failure}")
        elif not result.was_running:
            self._say("nothing was running any more")

    async def _went_into(self, subject: Subject) -> str | None:
        turn, _ = find_turn(await self._keeper.thread(subject.thread_id), subject)
        return turn.steered_into if turn is not None else None
