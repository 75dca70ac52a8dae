"""The steady mixed load: a few lanes, each plays one story after another. Some keep their thread: it grows old."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.chaos.cases import STORIES, Case, Kind
from tests.chaos.site import Site
from tests.chaos.stories import Person, stubborn
from turnkeeper.errors import RefusedError, TurnkeeperError

PAUSE: Final = 1.0
"""Longest pause between two stories of a lane, in seconds: steady, not as fast as it goes."""

ALONE: Final = frozenset({Kind.ADOPTED, Kind.CONTINUED, Kind.SUBAGENT, Kind.SUBAGENT_ASKS, Kind.STOPPED_IN_SUBAGENT})
"""Judged by all that is in their session, so each has one of its own."""


@dataclass(frozen=True)
class Lane:
    """`keeps`: one thread for the whole soak, else a new one for each story, closed afterwards."""

    kinds: Sequence[Kind]
    keeps: bool


LANES: Final = (
    Lane((Kind.WORDS, Kind.TOOL, Kind.STEERS), keeps=True),  # many turns: its thread continues as new
    Lane([kind for kind in STORIES if kind not in ALONE], keeps=True),
    Lane([kind for kind in STORIES if kind is not Kind.ADOPTED], keeps=False),  # a session of ours for each thread
    Lane((Kind.LONG_WORDS,), keeps=False),
)


@dataclass(frozen=True)
class Story:
    """`failed`: sessions that OpenCode told an error of meanwhile."""

    cases: tuple[Case, ...]
    failed: frozenset[str]


@dataclass
class Load:
    """What was played."""

    played: list[Story] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)

    @property
    def open(self) -> int:
        """Threads."""
        return len(self.threads - self.closed)

    async def run(self, site: Site, lane: Lane, random: Random, over: asyncio.Event) -> None:
        """Story after story, until `over`."""
        thread = None
        while not over.is_set():
            person = Person(site, Random(random.getrandbits(64)), random.choice(lane.kinds))  # noqa: S311
            if thread is not None:
                person.thread = thread
            self.threads.add(person.thread)
            await self._play(site, person)
            if lane.keeps:
                thread = person.thread
            else:
                await self._close(site, person.thread)
            await asyncio.sleep(random.uniform(0, PAUSE))
        if thread is not None:
            await self._close(site, thread)

    async def _play(self, site: Site, person: Person) -> None:
        told = site.overheard.sessions
        told.difference_update(_sessions(self.played, person.thread))  # an error of an earlier story excuses nothing
        await person.play()
        mine = _sessions([Story(tuple(person.cases), frozenset())], person.thread)
        self.played.append(Story(tuple(person.cases), frozenset(told & mine)))

    async def _close(self, site: Site, thread: str) -> None:
        try:
            await stubborn(lambda: site.keeper.close(thread))
        except RefusedError as error:
            if error.detail_code != "not_found":  # its first start was never taken
                self.complaints.append(f"{thread} could not be closed: {error!r}")
        except (TurnkeeperError, TimeoutError) as error:
            self.complaints.append(f"{thread} could not be closed: {error!r}")
        self.closed.add(thread)


def _sessions(stories: Sequence[Story], thread: str) -> set[str]:
    results = [case.result for story in stories for case in story.cases if case.thread == thread]
    return {result.session_id for result in results if result is not None and result.session_id is not None}
