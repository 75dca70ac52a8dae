"""The catalogue of faults. Each strikes a site, lasts a random while, and is over when its coroutine returns."""

from __future__ import annotations

import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.chaos import bounds, lies
from tests.chaos.proxy import FaultProxy
from tests.chaos.site import Site, Worker, up
from turnkeeper.dev.processes import SupervisedProcess
from turnkeeper.vocabulary import Reason

Strike = Callable[[Site, Random], Awaitable[float | None]]
"""Returns when it was over, in seconds of the epoch, if that is not when it returns."""


CANNOT_STORE: Final = frozenset({Reason.PROMPT_REJECTED, Reason.PROVIDER_ERROR, Reason.STALLED})
"""OpenCode says so itself, with the database's error; or it stays busy for ever with a prompt that it never stored
(once in four runs), until the stall clock ends that."""


OTHER_SESSION: Final = frozenset({Reason.SESSION_GONE})
"""The answer to the session's creation named one that does not exist: the turn says so, and nothing was sent."""


class NotHereError(Exception):
    """This machine cannot strike so; says why."""


@dataclass(frozen=True)
class Fault:
    """`what` is for the table; `bound`: seconds from the truth or its end to the settlement (see `bounds`).

    `refuses`: how else a turn may truthfully end that OpenCode did not answer; `ours`: it takes Turnkeeper's own parts
    away, so that a stop is measured from its end.
    """

    name: str
    what: str
    strike: Strike
    bound: float
    refuses: frozenset[Reason] = frozenset()
    ours: bool = False


async def _nothing(_: Site, __: Random) -> None:
    """The baseline: the same stories, and nothing breaks."""


# Deaths.


async def _worker_killed(site: Site, random: Random) -> float:
    """Over at once: the other worker is up."""
    worker = random.choice(site.workers)
    await worker.process.kill()
    died = time.time()
    await site.lasts(random.uniform(0, 8))
    await up(worker.process)
    return died


async def _worker_terminated(site: Site, random: Random) -> float:
    worker = random.choice(site.workers)
    asked = time.time()
    await worker.process.stop(grace=20)
    await site.lasts(random.uniform(0, 4))
    await up(worker.process)
    return asked


async def _workers_killed(site: Site, random: Random) -> float:
    """Over when the first one is back."""
    for worker in site.workers:
        await worker.process.kill()
    await site.lasts(random.uniform(0, 5))
    await up(site.workers[0].process)
    back = time.time()
    await up(site.workers[1].process)
    return back


async def _opencode_killed(site: Site, random: Random) -> None:
    await site.opencode.kill()
    site.deaths.append(time.time())
    await site.lasts(random.uniform(0, 4))
    await site.opencode_up()


async def _opencode_terminated(site: Site, random: Random) -> None:
    site.deaths.append(time.time())
    await site.opencode.process.stop()
    site.deaths.append(time.time())
    await site.lasts(random.uniform(0, 4))
    await site.opencode_up()


async def _temporal_killed(site: Site, random: Random) -> None:
    await site.temporal.kill()
    await site.lasts(random.uniform(0, 5))
    await up(site.temporal.process)


async def _temporal_terminated(site: Site, random: Random) -> None:
    await site.temporal.stop()
    await site.lasts(random.uniform(0, 5))
    await up(site.temporal.process)


async def _disk_full(site: Site, random: Random) -> None:
    """OpenCode cannot store a word: what runs meanwhile may be lost."""
    if site.disk is None:
        raise NotHereError("no mount is permitted here")
    site.disk.fill()
    site.deaths.append(time.time())
    await site.lasts(random.uniform(1, 8))
    site.disk.free()
    site.deaths.append(time.time())


async def _clock_jumps(site: Site, random: Random) -> float:
    """Of both workers, back or forth, by up to an hour. Over at once: nothing may depend on it."""
    for worker in site.workers:
        if worker.clock is None:
            raise NotHereError("no C compiler here")
        worker.clock.jump(random.choice((-1, 1)) * random.uniform(5, 3600))
    jumped = time.time()
    await site.lasts(random.uniform(4, 10))
    for worker in site.workers:
        assert worker.clock is not None
        worker.clock.jump(0)
    return jumped


# Frozen processes.


async def _freeze(site: Site, process: SupervisedProcess, random: Random) -> None:
    process.signal(signal.SIGSTOP)
    try:
        await site.lasts(random.uniform(2, 12))
    finally:
        process.signal(signal.SIGCONT)


async def _worker_frozen(site: Site, random: Random) -> None:
    await _freeze(site, random.choice(site.workers).process, random)


async def _opencode_frozen(site: Site, random: Random) -> None:
    await _freeze(site, site.opencode.process, random)


async def _temporal_frozen(site: Site, random: Random) -> None:
    await _freeze(site, site.temporal.process, random)


# Wires.


def _to_opencode(site: Site) -> list[FaultProxy]:
    return [worker.to_opencode for worker in site.workers]


def _to_temporal(site: Site) -> list[FaultProxy]:
    return [worker.to_temporal for worker in site.workers]


def _to_model(site: Site) -> list[FaultProxy]:
    return [site.to_model]


Wires = Callable[[Site], list[FaultProxy]]


def _on(wires: Wires, do: Callable[[FaultProxy, Random], None]) -> Strike:
    """Every one of these wires for some seconds."""

    async def strike(site: Site, random: Random) -> None:
        for wire in wires(site):
            do(wire, random)
        await site.lasts(random.uniform(1, 10))
        for wire in wires(site):
            wire.heal()

    return strike


def _cut(wire: FaultProxy, _: Random) -> None:
    wire.cut()


def _reset_once(wire: FaultProxy, _: Random) -> None:
    wire.break_all(reset=True)


def _half_open(wire: FaultProxy, _: Random) -> None:
    wire.hold()


def _slow(wire: FaultProxy, random: Random) -> None:
    wire.latency = random.uniform(0.2, 1.5)


def _trickle(wire: FaultProxy, random: Random) -> None:
    wire.bytes_per_second = random.randint(200, 5000)


# Streams and answers.


def _streams(frames: Callable[[Random], lies.Frames]) -> Strike:
    """The event streams are attached anew and are bad for a while. Over at once: looks alone must do."""

    async def strike(site: Site, random: Random) -> float:
        began = time.time()
        for worker in site.workers:
            worker.gate.frames = frames(random)
            worker.to_opencode.break_all()
        await site.lasts(random.uniform(5, 12))
        for worker in site.workers:
            worker.gate.let_pass()
            worker.to_opencode.break_all()
        return began

    return strike


async def _stream_lost(site: Site, random: Random) -> float:
    """No event at all, and everything else works: over as soon as it begins."""
    for worker in site.workers:
        worker.gate.cut(lies.STREAM)
    began = time.time()
    await site.lasts(random.uniform(8, 16))
    for worker in site.workers:
        worker.gate.let_pass()
    return began


def _answers(change: lies.Change) -> Strike:
    async def strike(site: Site, random: Random) -> None:
        _lie(site.workers, change, random)
        await site.lasts(random.uniform(2, 10))
        for worker in site.workers:
            worker.gate.let_pass()

    return strike


def _lie(workers: list[Worker], change: lies.Change, random: Random) -> None:
    for worker in workers:
        worker.gate.lie = lies.lying(change, random)


CATALOGUE: Final = (
    Fault("none", "nothing breaks", _nothing, bounds.UNTOUCHED),
    Fault("worker-killed", "worker kill -9, another one up", _worker_killed, bounds.WORKER_DIED, ours=True),
    Fault("worker-terminated", "worker SIGTERM, another one up", _worker_terminated, bounds.WORKER_DIED, ours=True),
    Fault("workers-killed", "both workers kill -9", _workers_killed, bounds.WORKER_DIED, ours=True),
    Fault("worker-frozen", "worker SIGSTOP for 2-12 s", _worker_frozen, bounds.WORKER_DIED, ours=True),
    Fault("opencode-killed", "OpenCode kill -9, restarted", _opencode_killed, bounds.PROVIDER_BACK),
    Fault("opencode-terminated", "OpenCode SIGTERM, restarted", _opencode_terminated, bounds.PROVIDER_BACK),
    Fault("opencode-frozen", "OpenCode SIGSTOP for 2-12 s", _opencode_frozen, bounds.PROVIDER_THAWED),
    Fault("opencode-disk-full", "OpenCode's disk full for 1-8 s", _disk_full, bounds.PROVIDER_LIED, CANNOT_STORE),
    Fault("temporal-killed", "Temporal kill -9, restarted", _temporal_killed, bounds.TEMPORAL_BACK, ours=True),
    Fault("temporal-terminated", "Temporal SIGTERM, restarted", _temporal_terminated, bounds.TEMPORAL_BACK, ours=True),
    Fault("temporal-frozen", "Temporal SIGSTOP for 2-12 s", _temporal_frozen, bounds.TEMPORAL_BACK, ours=True),
    Fault("clock-jump", "workers' clocks jump by up to 1 h", _clock_jumps, bounds.UNTOUCHED),
    Fault("opencode-cut", "worker to OpenCode: cut", _on(_to_opencode, _cut), bounds.PROVIDER_BACK),
    Fault(
        "opencode-reset", "worker to OpenCode: connections reset", _on(_to_opencode, _reset_once), bounds.PROVIDER_BACK
    ),
    Fault("opencode-half-open", "worker to OpenCode: half-open", _on(_to_opencode, _half_open), bounds.PROVIDER_THAWED),
    Fault("opencode-slow", "worker to OpenCode: 0.2-1.5 s latency", _on(_to_opencode, _slow), bounds.PROVIDER_THAWED),
    Fault("opencode-trickle", "worker to OpenCode: 0.2-5 kB/s", _on(_to_opencode, _trickle), bounds.PROVIDER_THAWED),
    Fault("temporal-cut", "worker to Temporal: cut", _on(_to_temporal, _cut), bounds.TEMPORAL_BACK, ours=True),
    Fault(
        "temporal-reset",
        "worker to Temporal: connections reset",
        _on(_to_temporal, _reset_once),
        bounds.TEMPORAL_BACK,
        ours=True,
    ),
    Fault(
        "temporal-half-open",
        "worker to Temporal: half-open",
        _on(_to_temporal, _half_open),
        bounds.TEMPORAL_BACK,
        ours=True,
    ),
    Fault(
        "temporal-slow",
        "worker to Temporal: 0.2-1.5 s latency",
        _on(_to_temporal, _slow),
        bounds.TEMPORAL_BACK,
        ours=True,
    ),
    Fault("model-cut", "OpenCode to model: cut", _on(_to_model, _cut), bounds.UNTOUCHED),
    Fault("model-half-open", "OpenCode to model: half-open", _on(_to_model, _half_open), bounds.UNTOUCHED),
    Fault("model-slow", "OpenCode to model: 0.2-1.5 s latency", _on(_to_model, _slow), bounds.UNTOUCHED),
    Fault("stream-lost", "event stream refused, all else fine", _stream_lost, bounds.STREAM_LOST),
    Fault("events-dropped", "half of the events dropped", _streams(lies.dropping), bounds.STREAM_LOST),
    Fault("events-doubled", "half of the events twice", _streams(lies.doubling), bounds.STREAM_LOST),
    Fault("events-reordered", "events out of order", _streams(lies.reordering), bounds.STREAM_LOST),
    Fault("answers-500", "half of the answers: 500", _answers(lies.server_error), bounds.PROVIDER_LIED),
    Fault("answers-html", "half of the answers: a web page", _answers(lies.web_page), bounds.PROVIDER_LIED),
    Fault("answers-truncated", "half of the answers: half of the JSON", _answers(lies.truncated), bounds.PROVIDER_LIED),
    Fault(
        "answers-wrong-ids",
        "half of the answers: another session's ids",
        _answers(lies.other_session),
        bounds.PROVIDER_LIED,
        OTHER_SESSION,
    ),
)
BY_NAME: Final = {fault.name: fault for fault in CATALOGUE}
