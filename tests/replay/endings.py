"""Scenes of their own for the ways to end that no other scene tells, and of runs that are long.

The table `RECORDED` names for each reason a history in which a turn ended so.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from tests.e2e.waiting import until, until_true
from tests.replay.takes import Take
from tests.workflow.scripted_provider import (
    ABORTED,
    AWAY,
    HANGS,
    NO_SESSION,
    RUNNING,
    SILENT,
    Answer,
    Held,
    ScriptedProvider,
    Verb,
    answered,
    stands,
)
from tests.workflow.stage import ENDPOINT, QUICK, Stage
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import EndpointInput, endpoint_workflow_id, thread_workflow_id, turn_workflow_id
from turnkeeper.observations import NotSent, Refused, SessionBusy
from turnkeeper.vocabulary import Reason, Standing
from workflows.endpoint import RUNS_PER_HISTORY

RECORDED: Final[Mapping[Reason, str]] = {
    Reason.FINISHED: "turn_normal",
    Reason.TRUNCATED: "turn_truncated",
    Reason.REFUSED: "turn_refused",
    Reason.STOPPED: "turn_interrupted",
    Reason.ABORTED_ELSEWHERE: "turn_aborted_elsewhere",
    Reason.SUPERSEDED: "turn_superseded",
    Reason.PROVIDER_LOST_TURN: "turn_lost",
    Reason.SESSION_GONE: "turn_session_gone",
    Reason.PROVIDER_ERROR: "turn_provider_error",
    Reason.PROMPT_REJECTED: "turn_prompt_rejected",
    Reason.SESSION_BUSY: "turn_session_busy",
    Reason.PROMPT_DROPPED: "turn_prompt_dropped",
    Reason.PROVIDER_UNREACHABLE: "turn_provider_unreachable",
    Reason.STALLED: "turn_stalled",
    Reason.DEADLINE_EXCEEDED: "turn_deadline_exceeded",
    Reason.REMOVED: "thread_removed",
    Reason.TURNKEEPER_ERROR: "thread_turnkeeper_error",
}
"""A new reason needs a scene here before its first release: turns that end so must replay for ever after."""

SECOND: Final = timedelta(seconds=1)
IMPATIENT: Final = QUICK.model_copy(
    update={"look_interval": SECOND / 2, "start_budget": SECOND, "retry_interval": SECOND / 5}
)
"""Clocks that run out while one records."""

Script = Mapping[Verb, tuple[Answer, ...]]

ENDINGS: Final[Mapping[Reason, tuple[Script, TurnLimits]]] = {
    Reason.TRUNCATED: ({"look": (stands(Standing.TRUNCATED, "cut"),)}, QUICK),
    Reason.REFUSED: ({"look": (stands(Standing.REFUSED, "no"),)}, QUICK),
    Reason.ABORTED_ELSEWHERE: ({"look": (RUNNING, ABORTED)}, IMPATIENT),
    Reason.SUPERSEDED: ({"look": (stands(Standing.ABSORBED, "another"),)}, QUICK),
    Reason.SESSION_GONE: ({"look": (RUNNING, NO_SESSION)}, IMPATIENT),
    Reason.PROVIDER_ERROR: ({"look": (stands(Standing.FAILED, "failed"),)}, QUICK),
    Reason.PROMPT_REJECTED: ({"submit": (NotSent(failure=AWAY), Refused(failure=AWAY))}, IMPATIENT),
    Reason.SESSION_BUSY: (
        {"submit": (SessionBusy(session_id="ses_1"),)},
        IMPATIENT.model_copy(update={"session_busy_timeout": SECOND}),
    ),
    Reason.PROMPT_DROPPED: ({"look": (stands(Standing.UNSTARTED, "stored"),)}, IMPATIENT),
    Reason.PROVIDER_UNREACHABLE: (
        {"look": (RUNNING, SILENT)},
        IMPATIENT.model_copy(update={"unreachable_timeout": SECOND}),
    ),
    Reason.STALLED: ({"look": (RUNNING,)}, IMPATIENT.model_copy(update={"stall_timeout": SECOND})),
    Reason.DEADLINE_EXCEEDED: ({"look": (RUNNING,)}, IMPATIENT.model_copy(update={"deadline": 2 * SECOND})),
}
"""What the provider says, and the clocks under which it ends a turn so."""


async def endings(stage: Stage) -> list[Take]:
    """One short thread for each ending that the provider or a clock of ours decides."""
    takes = []
    for reason, (script, limits) in ENDINGS.items():
        stage.provider.forget("look", "submit")
        for verb, answers in script.items():
            stage.provider.says(verb, *answers)
        if reason in {Reason.STALLED, Reason.DEADLINE_EXCEEDED}:
            _until_aborted(stage.provider)
        thread_id = reason.value.replace("_", "-")
        await stage.start(thread_id, "Fix the failing test", idempotency_key=thread_id, limits=limits)
        _assert_ended((await stage.settled_thread(thread_id)).recent[0].reason, reason)
        takes.append(Take(RECORDED[reason], turn_workflow_id(thread_id)))
    return takes


def _until_aborted(provider: ScriptedProvider) -> None:
    before = provider.count("abort")
    provider.says("look", lambda _: ABORTED if provider.count("abort") > before else RUNNING)


def _assert_ended(found: Reason | None, meant: Reason) -> None:
    if found is not meant:
        raise AssertionError(f"this turn was to end as {meant}, not as {found}")


async def removed(stage: Stage) -> list[Take]:
    """A prompt that its editor took back before it began; the next one came when nothing ran any more."""
    first = Held(answered())
    stage.provider.says("look", first)
    await stage.start("removed", "Keep this", idempotency_key="keep", limits=QUICK)
    await stage.start("removed", "Not this", idempotency_key="not-this", limits=QUICK)
    await stage.keeper.remove_queued("removed", "t2")
    first.released.set()
    await stage.settled_thread("removed", turns=2)
    await stage.start("removed", "But this", idempotency_key="but-this", limits=QUICK)
    settled = await stage.settled_thread("removed", turns=3)
    _assert_ended({turn.turn_id: turn.reason for turn in settled.recent}["t2"], Reason.REMOVED)
    return [Take(RECORDED[Reason.REMOVED], thread_workflow_id("removed"))]


async def terminated(stage: Stage) -> list[Take]:
    """A turn that an operator terminated: its thread says so, and runs the next one."""
    stage.provider.says("look", RUNNING, answered())
    await stage.start("terminated", "Build it", idempotency_key="one", limits=QUICK)
    await stage.provider.called("look")
    await stage.turn_of("terminated").terminate("by an operator")
    await stage.settled_thread("terminated")
    await stage.start("terminated", "Again", idempotency_key="two", limits=QUICK)
    settled = await stage.settled_thread("terminated", turns=2)
    _assert_ended(settled.recent[0].reason, Reason.TURNKEEPER_ERROR)
    return [Take(RECORDED[Reason.TURNKEEPER_ERROR], thread_workflow_id("terminated"))]


LONG: Final = ("thread_long_1", "thread_long_2", "thread_long_3", "thread_long_4")
"""Runs of one thread, in their order. The last one was still open."""

FEW_EVENTS: Final = 51
"""History events after which the long thread continues as new: the least that is allowed."""


async def long(stage: Stage) -> list[Take]:
    """A thread of many runs: each takes over what the last one knew, prompts that wait and a stop among it."""
    provider = stage.provider
    await stage.small_thread(FEW_EVENTS, "long")
    runs: list[str] = []
    number = 0
    while len(runs) < len(LONG):
        number += 2
        for step in (number - 1, number):
            await stage.start("long", f"Step {step}", idempotency_key=f"step-{step}", limits=QUICK)
        await stage.settled_thread("long", turns=min(number, 20))
        run_id = (await stage.thread_of("long").describe()).run_id or ""
        runs += [run_id] if run_id not in runs else []
    again = await stage.start("long", "Step 1", idempotency_key="step-1")
    if again.result is None or not again.result.repeated:
        raise AssertionError("the first run's key was to be known to the last")
    before = provider.count("abort")
    provider.says("look", lambda _: ABORTED if provider.count("abort") > before else RUNNING)
    await stage.start("long", "One too many", idempotency_key="last", limits=QUICK)
    await until_true(lambda: provider.count("submit") > number)
    await stage.keeper.interrupt("long", why="enough")
    await stage.settled_thread("long", turns=min(number + 1, 20))
    return [Take(name, thread_workflow_id("long"), run) for name, run in zip(LONG, runs, strict=True)]


async def renewed(stage: Stage) -> list[Take]:
    """An endpoint that continued as new after a month of relays, and runs on."""
    relays = [Held() for _ in range(RUNS_PER_HISTORY)]
    for relay in relays:
        relay.released.set()
    stage.provider.says("relay", *relays, HANGS)
    workflow_id = f"{endpoint_workflow_id(ENDPOINT)}-renewed"
    endpoint = await stage.client.start_workflow(
        "Endpoint",
        EndpointInput(endpoint=ENDPOINT, task_queue=stage.queue),
        id=workflow_id,
        task_queue=stage.queue,
    )
    latest = stage.client.get_workflow_handle(workflow_id)
    await until(latest.describe, lambda now: now.run_id != endpoint.first_execution_run_id)
    await stage.provider.called("relay", times=RUNS_PER_HISTORY + 1)
    await latest.terminate("recorded")
    return [
        Take("endpoint_renewed_before", workflow_id, endpoint.first_execution_run_id),
        Take("endpoint_renewed_after", workflow_id),
    ]


ENDING_NAMES: Final = (
    "endpoint_renewed_after",
    "endpoint_renewed_before",
    *LONG,
    "thread_removed",
    "thread_turnkeeper_error",
    *(RECORDED[reason] for reason in ENDINGS),
)
"""The files that a recording of these scenes makes."""
