"""One soak: a site for the whole time, the load, faults one after another, and everything watched."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Final

from tests.chaos.bare import is_sound
from tests.chaos.cases import Case
from tests.chaos.faults import CATALOGUE, Fault, NotHereError
from tests.chaos.judge import Damage, Verdict
from tests.chaos.run import verdicts
from tests.chaos.site import UP_WITHIN, Site, Worker, running_site
from tests.chaos.stories import SETTLED_WITHIN
from tests.chaos.witness import Witness
from tests.e2e.waiting import until, until_true
from tests.soak.load import LANES, Load, Story
from tests.soak.probe import FILE_VARIABLE, Line
from tests.soak.watching import COUNTED, LATE, View, left_over, running, watch
from turnkeeper.vocabulary import Reason

ROOT: Final = Path(__file__).parents[2]
PROBE: Final = "tests.soak.probe"
FIRST_LINE: Final = 60.0
"""Seconds until a worker's probe has written: its first window, on a busy machine."""

CALM: Final = (8.0, 25.0)
"""Seconds between two faults, at random: turns run with and without one."""

DISK: Final = "1g"
"""OpenCode's data grows by 50 kB a turn; here it must never be full."""

NOT_STRUCK: Final = frozenset({"none", "workers-killed", "opencode-disk-full"})
"""One worker must live through it all; and a filled disk would be filled with this machine's memory."""

SPARED_BY: Final = frozenset({"worker-killed", "worker-terminated", "worker-frozen"})
"""Faults that strike the second worker alone: the first one's figures are judged."""


@dataclass(frozen=True)
class Struck:
    """One fault; times in seconds of the epoch. `over`: when the site was whole again."""

    fault: str
    began: float
    over: float
    refuses: frozenset[Reason]


@dataclass
class Soak:
    """Everything that was seen. `lines`: of the worker that lived through it."""

    seconds: float
    load: Load = field(default_factory=Load)
    struck: list[Struck] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    lives: dict[int, int] = field(default_factory=dict)
    """Lines by process of the worker that was killed."""
    verdicts: list[tuple[Case, Verdict]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """Sessions and workflows that should not be there at the end."""


async def soak(directory: Path, seconds: float, seed: int) -> Soak:
    """Run the load for so long, let it end, and judge every turn."""
    seen = Soak(seconds)
    async with running_site(directory, disk_size=DISK) as site:
        probes = [
            await _probed(worker, directory / f"probe-{number}.jsonl") for number, worker in enumerate(site.workers)
        ]
        survivor = site.workers[0].process.pid
        over = asyncio.Event()
        random = Random(seed)  # noqa: S311 - repeatable on purpose
        watching = asyncio.create_task(watch(site, seen.load, seen.views, directory / "site.jsonl"))
        async with asyncio.TaskGroup() as group:
            for lane in LANES:
                group.create_task(seen.load.run(site, lane, Random(random.getrandbits(64)), over))  # noqa: S311
            group.create_task(_strike(site, random, seconds, seen.struck, over))
        await site.heal()
        busy = await site.until_quiet()
        watching.cancel()
        seen.left = [*await _workflows_left(site), *left_over(site.state, seen.load.threads), *seen.load.complaints]
        witness = Witness(site.state, site.directory)
        for story in seen.load.played:
            damage = damage_of(site.deaths, seen.struck, story)
            seen.verdicts += verdicts(witness, story.cases, damage, busy)
        if site.workers[0].process.pid != survivor or not site.workers[0].process.running:
            seen.left.append("the worker that should have lived through it did not")
    lines = [[Line(**json.loads(line)) for line in probe.read_text().splitlines()] for probe in probes]
    seen.lines = [line for line in lines[0] if line.pid == lines[0][-1].pid]
    seen.lives = {pid: sum(line.pid == pid for line in lines[1]) for pid in {line.pid: None for line in lines[1]}}
    return seen


async def _probed(worker: Worker, file: Path) -> Path:
    """Start it again with the probe inside."""
    process = worker.process
    await process.stop()
    process.command = (sys.executable, "-m", PROBE)
    process.environment = {**(process.environment or os.environ), "PYTHONPATH": str(ROOT), FILE_VARIABLE: str(file)}
    await process.start()
    await until_true(file.exists, deadline=FIRST_LINE)
    return file


async def _strike(site: Site, random: Random, seconds: float, struck: list[Struck], over: asyncio.Event) -> None:
    """Each fault once in a random order, then again, for so long."""
    end = time.monotonic() + seconds
    spared = replace(site, workers=site.workers[1:])
    coming: list[Fault] = []
    while True:
        await asyncio.sleep(min(random.uniform(*CALM), max(0.0, end - time.monotonic())))
        if time.monotonic() >= end:
            break
        if not coming:
            coming = random.sample(CATALOGUE, len(CATALOGUE))
        fault = coming.pop()
        if fault.name in NOT_STRUCK:
            continue
        began = time.time()
        try:
            await fault.strike(spared if fault.name in SPARED_BY else site, random)
        except NotHereError:
            continue
        await site.heal()
        # A fault may leave an OpenCode behind that answers every prompt with an error: a person would restart it, too.
        # One that is only slow has a minute: a restart costs more turns than it saves.
        if not await is_sound(site.people.truth, site.directory, site.overheard.sessions, within=UP_WITHIN):
            site.deaths.append(time.time())
            await site.opencode.kill()
            await site.heal()
        struck.append(Struck(fault.name, began, time.time(), fault.refuses))
    over.set()


def damage_of(deaths: Sequence[float], struck: Sequence[Struck], story: Story) -> Damage:
    """What struck while this story was played."""
    began = min(case.started_at for case in story.cases)
    ended = max(_ended(case) for case in story.cases)
    meanwhile = [fault for fault in struck if fault.began <= ended and fault.over >= began]
    over_at = max((fault.over for fault in meanwhile), default=began)
    died = tuple(death for death in deaths if began <= death <= ended)
    return Damage(
        over_at=over_at,
        deaths=died,
        back_at=over_at if died else 0.0,
        refuses=frozenset(reason for fault in meanwhile for reason in fault.refuses),
        failed=story.failed,
    )


def _ended(case: Case) -> float:
    """Follow-ups included."""
    if case.result is None:
        return case.started_at + SETTLED_WITHIN
    ends = [case.result.outcome.completed_at, *(turn.completed_at for turn in case.follow_ups)]
    return max(end.timestamp() for end in ends if end is not None)


async def _workflows_left(site: Site) -> list[str]:
    """Once every thread is closed, only the endpoint's workflow may run."""
    expected = {"Thread": 0, "Turn": 0, "Endpoint": 1}

    async def counts() -> dict[str, int]:
        return {kind: await running(site.keeper.temporal, kind) for kind in COUNTED}

    try:
        await until(counts, lambda found: found == expected, deadline=LATE)
    except AssertionError as error:
        return [f"workflows that still run: {error}"]
    return []
