"""One run: stories, one fault or two at random moments, and the judgement. The same seed plays the same run again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random
from typing import Final

from tests.chaos.cases import STORIES, Case, one_run
from tests.chaos.faults import Fault, NotHereError
from tests.chaos.judge import Damage, Verdict, judge
from tests.chaos.results import Run, Turn
from tests.chaos.series import faults_of
from tests.chaos.site import Site
from tests.chaos.stories import Person
from tests.chaos.witness import Witness
from turnkeeper.vocabulary import Reason

AT_ONCE: Final = 4
"""Stories in a run: OpenCode has one thread, and its own queueing is not what is measured."""

BEGIN_WITHIN: Final = 2.0
STRIKE_WITHIN: Final = 3.0
"""Seconds from the start of a run in which its stories begin and its fault strikes."""

OVERLAP: Final = 1.5
"""Seconds after the first of two faults in which the second strikes."""


async def play(site: Site, seed: int, names: tuple[str, ...] = ()) -> Run | NotHereError:
    """The faults of the seed, unless they are named.

    Raises:
        Exception: the site cannot be brought back; the run says nothing, and the site is of no more use.

    """
    random = Random(seed)  # noqa: S311 - repeatable on purpose
    faults = faults_of(seed, names)
    began = time.time()
    people = [Person(site, _own(random), kind) for kind in random.sample(STORIES, AT_ONCE)]
    site.begin()
    impossible, over = await _all_at_once(site, people, faults, random)
    await site.heal()
    busy = await site.until_quiet()
    if impossible is not None:
        return impossible
    damage = Damage(
        over_at=over,
        deaths=tuple(site.deaths),
        back_at=over if site.deaths else 0.0,
        refuses=frozenset[Reason]().union(*(fault.refuses for fault in faults)),
        failed=frozenset(site.overheard.sessions),
    )
    turns = _judged(site, people, damage, busy, ours=any(fault.ours for fault in faults))
    played = time.time() - began
    poisoned = not await site.clear(busy)
    return Run(
        seed=seed,
        faults=tuple(fault.name for fault in faults),
        turns=tuple(turns),
        seconds=round(played, 2),
        bound=sum(fault.bound for fault in faults),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        place=await site.place(),
        poisoned=poisoned,
    )


def _own(random: Random) -> Random:
    """For one person or fault, so that who comes first changes nothing for the others."""
    return Random(random.getrandbits(64))  # noqa: S311 - repeatable on purpose


async def _all_at_once(
    site: Site, people: Sequence[Person], faults: Sequence[Fault], random: Random
) -> tuple[NotHereError | None, float]:
    """Until everybody is told the end of everything and the faults are over: when that was, in seconds of the epoch."""
    impossible: list[NotHereError] = []
    over: list[float] = []

    async def strike(fault: Fault, after: float, random: Random) -> None:
        await asyncio.sleep(after)
        try:
            over.append(await fault.strike(site, random) or time.time())
        except NotHereError as error:
            impossible.append(error)

    async def begin(person: Person, after: float) -> None:
        await asyncio.sleep(after)
        await person.play()

    async def live() -> None:
        async with asyncio.TaskGroup() as living:
            for person in people:
                living.create_task(begin(person, random.uniform(0, BEGIN_WITHIN)))
        site.settled.set()

    async with asyncio.TaskGroup() as group:
        after = random.uniform(0, STRIKE_WITHIN)
        for fault in faults:
            group.create_task(strike(fault, after, _own(random)))
            after += random.uniform(0, OVERLAP)
        group.create_task(live())
    return impossible[0] if impossible else None, max(over, default=0.0)


def _judged(site: Site, people: Sequence[Person], damage: Damage, busy: frozenset[str], *, ours: bool) -> list[Turn]:
    witness = Witness(site.state, site.directory)
    judged = [entry for person in people for entry in verdicts(witness, person.cases, damage, busy)]
    return [_turn(case, verdict, damage, ours=ours) for case, verdict in judged]


def verdicts(
    witness: Witness, cases: Sequence[Case], damage: Damage, busy: frozenset[str]
) -> list[tuple[Case, Verdict]]:
    """On the prompts of one story; `busy`: sessions that OpenCode still works on."""
    truths = [witness.of(case.word, busy) for case in cases]
    judged = []
    for case, truth in zip(cases, truths, strict=True):
        beside = next((t for other, t in zip(cases, truths, strict=True) if one_run(case, other)), None)
        judged.append((case, judge(case, truth, damage, beside)))
    return judged


def _turn(case: Case, verdict: Verdict, damage: Damage, *, ours: bool) -> Turn:
    """A turn that somebody stopped is late by its stop alone: from his word, or the end of a fault of our own parts."""
    failings = tuple((failing.value, f"{case.thread}: {words}") for failing, words in verdict.failings)
    outcome = case.result.outcome if case.result is not None else None
    if outcome is None or outcome.reason is not Reason.STOPPED or case.stop_asked_at is None:
        reason = outcome.reason.value if outcome is not None else "removed" if case.removed else None
        return Turn(case.kind.name.lower(), reason, verdict.late, failings)
    since = max(case.stop_asked_at, damage.over_at) if ours else case.stop_asked_at
    told = max(0.0, outcome.completed_at.timestamp() - since)
    return Turn(case.kind.name.lower(), outcome.reason.value, None, failings, round(told, 3), outcome.confirmed)
