"""What is recorded: real runs of the real workflows on a real server; only the provider is a script."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from tests.e2e.waiting import until
from tests.workflow.scripted_provider import ABORTED, HANGS, RUNNING, Held, answered, asks, stands
from tests.workflow.stage import ENDPOINT, QUICK, Stage, snapshot, tell
from turnkeeper.messages import EndpointInput, endpoint_workflow_id, thread_workflow_id, turn_workflow_id
from turnkeeper.observations import RelayStatus
from turnkeeper.vocabulary import EventKind, Standing, TurnState

EARLY: Final = 51
"""History events after which the thread of `continued` continues as new: the least that is allowed."""

WATCHED: Final = QUICK.model_copy(update={"look_interval": timedelta(seconds=0.5)})
"""Clocks that fire while one records."""

NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Take:
    """One run to keep: its file's name, the workflow, the run (the latest without)."""

    name: str
    workflow_id: str
    run_id: str | None = None


Scene = Callable[[Stage], Awaitable[list[Take]]]


async def normal(stage: Stage) -> list[Take]:
    """Asks a person, works on, is looked at by the clock and by events, answers. Quick calls are local."""
    stage.provider.says("look", asks(), RUNNING, answered())
    await stage.start("normal", "What is six times seven?", idempotency_key="normal", limits=WATCHED)
    turn = stage.turn_of("normal")
    await tell(turn, EventKind.REQUEST_OPENED)
    await until(lambda: snapshot(turn), lambda now: now.state is TurnState.WAITING)
    await tell(turn, EventKind.REQUEST_CLOSED, EventKind.PROGRESS)
    await stage.settled_thread("normal")
    return thread_and_turn("normal")


async def interrupted(stage: Stage) -> list[Take]:
    """Stopped after an abort that was lost; the prompt that waited behind it was refused by nobody and ran."""
    stage.provider.says("look", lambda _: ABORTED if stage.provider.count("abort") > 1 else RUNNING)
    await stage.start("interrupted", "Rename every table", idempotency_key="first", limits=QUICK)
    run_id = (await stage.turn_of("interrupted").describe()).run_id
    await stage.start("interrupted", "Rename one table", idempotency_key="second", limits=WATCHED)
    await stage.provider.called("submit")
    stop = await stage.keeper.interrupt("interrupted", "t1", why="too many")
    if not stop.confirmed:
        raise AssertionError("this stop was to be confirmed")
    stage.provider.forget("look")
    await stage.settled_thread("interrupted", turns=2)
    thread, turn = thread_and_turn("interrupted")
    return [thread, Take(turn.name, turn.workflow_id, run_id)]


async def lost(stage: Stage) -> list[Take]:
    """The provider restarted and forgot the run. No call is local: the endpoint has workers of its own."""
    stage.provider.local_calls = False
    stage.provider.opens_at_door = False
    stage.provider.says("look", RUNNING, stands(Standing.HALTED, "begun"))
    await stage.start("lost", "Build everything", idempotency_key="lost", limits=WATCHED)
    await stage.settled_thread("lost")
    return thread_and_turn("lost")


async def continued(stage: Stage) -> list[Take]:
    """A thread that continues as new with prompts in its queue."""
    first = Held(answered())
    stage.provider.says("look", first, answered())
    await stage.small_thread(EARLY, "continued")
    run_id = (await stage.thread_of("continued").describe()).run_id
    for number in range(5):
        await stage.start("continued", f"Step {number}", idempotency_key=f"step-{number}", limits=WATCHED)
    first.released.set()
    await stage.settled_thread("continued", turns=5)
    workflow_id = thread_workflow_id("continued")
    return [Take("thread_continued_before", workflow_id, run_id), Take("thread_continued_after", workflow_id)]


async def relayed(stage: Stage) -> list[Take]:
    """An endpoint whose relay ended once and lost its stream once."""
    relay = Held()
    stage.provider.says("relay", relay, HANGS)
    workflow_id = endpoint_workflow_id(ENDPOINT)
    endpoint = await stage.client.start_workflow(
        "Endpoint",
        EndpointInput(endpoint=ENDPOINT, task_queue=stage.queue),
        id=workflow_id,
        task_queue=stage.queue,
    )
    await stage.provider.called("relay")
    for attached in (True, False):
        await endpoint.signal("relay_status", RelayStatus(attached=attached, at=NOON))
    relay.released.set()
    await stage.provider.called("relay", times=2)
    await endpoint.terminate("recorded")
    return [Take("endpoint_relayed", workflow_id)]


def thread_and_turn(name: str) -> list[Take]:
    return [Take(f"thread_{name}", thread_workflow_id(name)), Take(f"turn_{name}", turn_workflow_id(name))]


SCENES: Final[tuple[Scene, ...]] = (normal, interrupted, lost, continued, relayed)
"""Each is played on a stage of its own."""

NAMES: Final = (
    "endpoint_relayed",
    "thread_continued_after",
    "thread_continued_before",
    "thread_interrupted",
    "thread_lost",
    "thread_normal",
    "turn_interrupted",
    "turn_lost",
    "turn_normal",
)
"""The files that a recording makes."""
