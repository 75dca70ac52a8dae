"""One run: stories, one fault at a random moment, and the judgement. The same seed plays the same run again."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Final, Self

from tests.chaos.faults import BY_NAME, CATALOGUE, NotHereError
from tests.chaos.judge import Damage, Failing, judge
from tests.chaos.site import Site
from tests.chaos.stories import Kind, Person
from tests.chaos.witness import Witness

STORIES: Final = 4
"""At once in a run: OpenCode has one thread, and its own queueing is not what is measured."""

BEGIN_WITHIN: Final = 2.0
STRIKE_WITHIN: Final = 4.0
"""Seconds from the start of a run in which its stories begin and its fault strikes."""


@dataclass(frozen=True)
class Turn:
    """One judged prompt."""

    kind: str
    reason: str | None
    late: float | None
    failings: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Run:
    """One line of the results' file."""

    seed: int
    fault: str
    turns: tuple[Turn, ...]
    seconds: float

    @property
    def failed(self) -> bool:
        return any(turn.failings for turn in self.turns)

    def entry(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, entry: dict[str, Any]) -> Self:
        turns = tuple(Turn(**(turn | {"failings": tuple(map(tuple, turn["failings"]))})) for turn in entry["turns"])
        return cls(**(entry | {"turns": turns}))


async def play(site: Site, seed: int, fault_name: str | None = None) -> Run | NotHereError:
    """Seed n plays the n-th fault of the catalogue, round and round, unless one is named."""
    random = Random(seed)  # noqa: S311 - repeatable on purpose
    fault = BY_NAME[fault_name] if fault_name else CATALOGUE[seed % len(CATALOGUE)]
    began = time.time()
    people = [Person(site, Random(random.getrandbits(64)), kind) for kind in random.sample(list(Kind), STORIES)]  # noqa: S311
    site.deaths.clear()
    over: list[float] = []

    impossible: list[NotHereError] = []

    async def strike() -> None:
        await asyncio.sleep(random.uniform(0, STRIKE_WITHIN))
        try:
            over.append(await fault.strike(site, random) or time.time())
        except NotHereError as error:
            impossible.append(error)

    async def begin(person: Person, after: float) -> None:
        await asyncio.sleep(after)
        await person.play()

    async with asyncio.TaskGroup() as group:
        group.create_task(strike())
        for person in people:
            group.create_task(begin(person, random.uniform(0, BEGIN_WITHIN)))
    await site.heal()
    await site.until_quiet()
    if impossible:
        return impossible[0]
    witness = Witness(site.state, site.directory)
    damage = Damage(
        over[0], tuple(site.deaths), over[0] if site.deaths else 0.0, fault.refuses, frozenset(site.overheard.sessions)
    )
    turns = []
    for case in (case for person in people for case in person.cases):
        verdict = judge(case, witness.of(case.word), damage)
        reason = case.result.outcome.reason.value if case.result is not None else None
        failings = tuple((failing.value, f"{case.thread}: {words}") for failing, words in verdict.failings)
        turns.append(Turn(case.kind.name.lower(), reason, verdict.late, failings))
    return Run(seed, fault.name, tuple(turns), time.time() - began)


def counted(turns: list[Turn], *failings: Failing) -> int:
    """Turns with one of these failings."""
    return sum(any(name in failings for name, _ in turn.failings) for turn in turns)
