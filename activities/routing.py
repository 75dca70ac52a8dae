"""From a provider session to the thread whose turn its events are about.

No registry: we wrote the thread's id into the session's metadata when we created it, so a route is one cached read,
and usually none, because OpenCode's own session events carry the metadata. Child sessions follow their parents.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final, NamedTuple

from turnkeeper.errors import ProviderError, ProviderNotFoundError
from turnkeeper.opencode.client import OpenCodeClient
from turnkeeper.opencode.marks import SessionFacts, facts_of_session

MAX_SESSIONS: Final = 20_000
"""Sessions remembered, about 500 bytes each. A forgotten one costs one read."""

MAX_DEPTH: Final = 10
"""Child sessions below child sessions. OpenCode's agents go one or two deep; a loop must end somewhere."""

READ_AGAIN_FIRST: Final = 0.5
READ_AGAIN_LAST: Final = 4.0
"""Seconds before a session is read again that could not be; each pause is twice the one before, 7.5 s in all. Its
events wait meanwhile: dropped, they may have been the last of their turn, which only the clock would then find."""


class Route(NamedTuple):
    """Where a session's events go. A cheap tuple, as one is made for every event."""

    thread_id: str
    child: bool


class Router:
    """Routes of one endpoint, as far as they are known."""

    def __init__(self, client: OpenCodeClient, namespace: str) -> None:
        """Route only to threads of `namespace`: several control planes may share a provider."""
        self._client = client
        self._namespace = namespace
        self._sessions: OrderedDict[str, SessionFacts] = OrderedDict()

    def remember(self, facts: SessionFacts) -> None:
        """Take what an event or a read says about a session."""
        self._sessions[facts.session_id] = facts
        self._sessions.move_to_end(facts.session_id)
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)

    def directory(self, session_id: str) -> str | None:
        """Where the session works, if that is known."""
        facts = self._sessions.get(session_id)
        return facts.directory if facts is not None else None

    def known(self, session_id: str) -> tuple[Route | None, str | None]:
        """The route as far as it is known, and the session that has to be read to know more (None: nothing)."""
        current, child = session_id, False
        for _ in range(MAX_DEPTH):
            facts = self._sessions.get(current)
            if facts is None:
                return None, current
            if facts.thread is not None:
                ours = facts.namespace == self._namespace
                return (Route(facts.thread, child), None) if ours else (None, None)
            if facts.parent_id is None:
                return None, None
            current, child = facts.parent_id, True
        return None, None

    async def find(self, session_id: str) -> Route | None:
        """The route, reading what is not known; None for sessions that are not ours or cannot be read for a while."""
        pause = READ_AGAIN_FIRST
        for _ in range(MAX_DEPTH):
            route, missing = self.known(session_id)
            if missing is None:
                return route
            try:
                self.remember(facts_of_session(await self._client.session(missing)))
            except ProviderNotFoundError:
                return None
            except ProviderError:
                if pause > READ_AGAIN_LAST:
                    return None  # the turn looks by its own clock
                await asyncio.sleep(pause)
                pause *= 2
        return None
