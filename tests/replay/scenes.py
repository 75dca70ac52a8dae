"""What is recorded: real runs of the real workflows on a real server; only the provider is a script."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from temporalio.client import WorkflowHandle

from tests.e2e.waiting import until
from tests.replay import endings
from tests.replay.takes import Scene, Take
from tests.workflow.scripted_provider import ABORTED, HANGS, RUNNING, Held, answered, asking, asks, stands
from tests.workflow.stage import DIRECTORY, ENDPOINT, QUICK, Stage, TurnHandle, ended, snapshot, tell
from turnkeeper.findings import Adoption, LiveRun
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import (
    EndpointInput,
    PermissionRule,
    endpoint_workflow_id,
    thread_workflow_id,
    turn_workflow_id,
)
from turnkeeper.observations import LookRequest, OpenRequest, Question, RelayStatus, Seen
from turnkeeper.vocabulary import (
    AnsweredBy,
    EventKind,
    OnBusy,
    OnLost,
    PermissionReply,
    PolicyAction,
    Reason,
    Standing,
    TurnState,
)

EARLY: Final = 51
"""History events after which the thread of `continued` continues as new: the least that is allowed."""

WATCHED: Final = QUICK.model_copy(update={"look_interval": timedelta(seconds=0.5)})
"""Clocks that fire while one records."""

NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)

HALTED: Final = stands(Standing.HALTED, "begun")


def _permission(identity: str, command: str) -> OpenRequest:
    return OpenRequest(
        request_id=identity,
        kind="permission",
        session_id="ses_1",
        title=f"bash: {command}",
        permission="bash",
        patterns=(command,),
    )


REQUESTS: Final = (
    _permission("per_1", "git tag"),
    _permission("per_2", "make"),
    OpenRequest(
        request_id="que_3",
        kind="question",
        session_id="ses_1",
        title="Which version?",
        questions=(Question(text="Which version?"),),
    ),
    _permission("per_4", "make publish"),
)
"""What the turn of `asked` asks."""


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
    stage.provider.opens_at_door = False
    stage.provider.says("look", RUNNING, stands(Standing.HALTED, "begun"))
    await stage.start("lost", "Build everything", idempotency_key="lost", limits=WATCHED)
    await stage.settled_thread("lost")
    return thread_and_turn("lost")


async def dropped(stage: Stage) -> list[Take]:
    """The provider stored the prompt and never ran it: it was taken out and sent again, while no events came."""
    unstarted = stands(Standing.UNSTARTED)
    first = Held(unstarted)
    stage.provider.says("look", first, lambda _: answered() if stage.provider.count("submit") > 1 else unstarted)
    limits = WATCHED.model_copy(update={"start_budget": timedelta(seconds=0.5)})
    await stage.start("dropped", "Tidy up", idempotency_key="dropped", limits=limits)
    turn = stage.turn_of("dropped")
    await stage.provider.called("look")
    await tell(turn, EventKind.DETACHED)
    first.released.set()
    await stage.settled_thread("dropped")
    return [thread_and_turn("dropped")[1]]


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


async def flapped(stage: Stage) -> list[Take]:
    """An endpoint whose stream came and went until its history was full, while its relay ran."""
    stage.provider.says("relay", HANGS)
    workflow_id = f"{endpoint_workflow_id(ENDPOINT)}-flapped"
    endpoint = await stage.client.start_workflow(
        "Endpoint",
        EndpointInput(endpoint=ENDPOINT, task_queue=stage.queue, continue_after_events=EARLY),
        id=workflow_id,
        task_queue=stage.queue,
    )
    latest: WorkflowHandle[Any, None] = stage.client.get_workflow_handle(workflow_id)
    await stage.provider.called("relay")

    async def flap() -> str | None:
        await latest.signal("relay_status", RelayStatus(attached=False, at=NOON))
        return (await latest.describe()).run_id

    await until(flap, lambda run: run != endpoint.result_run_id)
    await stage.provider.called("relay", times=2)
    await latest.terminate("recorded")
    before = Take("endpoint_flapped_before", workflow_id, endpoint.result_run_id)
    return [before, Take("endpoint_flapped_after", workflow_id)]


async def asked(stage: Stage) -> list[Take]:
    """Four requests, one after the other: allowed by a rule, allowed by a person, rejected, answered by nobody."""
    looks = [asking(request) for request in REQUESTS]
    stage.provider.says("look", lambda _: [*looks, answered()][stage.provider.count("answer")])
    limits = WATCHED.model_copy(update={"request_timeout": timedelta(seconds=5)})
    git = PermissionRule(permission="bash", target="git *", action=PolicyAction.ALLOW)
    started = await stage.start("asked", "Release it", idempotency_key="asked", limits=limits, permissions=[git])
    turn = stage.turn_of("asked")
    await _asked_for(turn, "per_2")
    await stage.keeper.answer("asked", "per_2", permission=PermissionReply.ONCE)
    await _asked_for(turn, "que_3")
    await stage.keeper.answer("asked", "que_3", reject=True)
    await stage.keeper.wait(started)
    by = [answer.by for answer in (await snapshot(turn)).answers]
    if by != [AnsweredBy.POLICY, AnsweredBy.PERSON, AnsweredBy.PERSON, AnsweredBy.TIMEOUT]:
        raise AssertionError(f"answered by {by}")
    return [Take("turn_asked", turn_workflow_id("asked"))]


async def _asked_for(turn: TurnHandle, request_id: str) -> None:
    await until(lambda: snapshot(turn), lambda now: [one.request_id for one in now.open_requests] == [request_id])


async def adopted(stage: Stage) -> list[Take]:
    """A run that somebody began elsewhere, followed to its end; a prompt that was given meanwhile ran after it."""
    theirs = Held(answered("theirs"))
    live = LiveRun(message_id="msg_theirs", prompt="typed by a person")
    session = Adoption(session_id="ses_theirs", directory=DIRECTORY, task_queue=stage.queue, limits=WATCHED, live=live)
    stage.provider.says("adopt_session", session).says("look", theirs, answered())
    await stage.keeper.adopt("ses_theirs", endpoint=ENDPOINT, thread_id="adopted")
    run_id = (await stage.turn_of("adopted").describe()).run_id
    await stage.keeper.start_turn("adopted", "And the changelog", idempotency_key="adopted", limits=WATCHED)
    theirs.released.set()
    await stage.settled_thread("adopted", turns=2)
    thread, turn = thread_and_turn("adopted")
    return [thread, Take(turn.name, turn.workflow_id, run_id)]


async def resumed(stage: Stage) -> list[Take]:
    """A lost run, continued in its session by a prompt that says so."""
    stage.provider.says("look", HALTED, HALTED, answered())
    await stage.start("resumed", "Build it", idempotency_key="resumed", limits=WATCHED, on_lost=OnLost.CONTINUE)
    await stage.settled_thread("resumed", turns=2)
    return thread_and_turn("resumed")


async def edited(stage: Stage) -> list[Take]:
    """A queue that was held after a stop, went on, lost one prompt to its editor, and had another one overtake."""
    provider = stage.provider
    provider.says("look", lambda _: ABORTED if provider.count("abort") >= provider.count("submit") else RUNNING)
    for number in range(1, 5):
        await stage.start("edited", f"Step {number}", idempotency_key=f"step-{number}", limits=QUICK)
    await provider.called("submit")
    await stage.keeper.interrupt("edited", "t1", why="not yet", idempotency_key="not-yet")
    await stage.keeper.remove_queued("edited", "t3")
    await stage.keeper.resume_queue("edited")
    await provider.called("submit", times=2)
    await stage.keeper.send_now("edited", "t4", why="this one first")
    provider.forget("look")
    settled = await stage.settled_thread("edited", turns=4)
    order = [turn.turn_id for turn in settled.recent]
    if order != ["t1", "t3", "t2", "t4"]:
        raise AssertionError(f"ended in the order {order}")
    return [Take("thread_edited", thread_workflow_id("edited"))]


async def stopped(stage: Stage) -> list[Take]:
    """Stopped at rest, and resumed by the next prompt."""
    await stage.start("stopped", "One thing", idempotency_key="one", limits=QUICK)
    await stage.settled_thread("stopped")
    stop = await stage.keeper.stop_session("stopped", idempotency_key="stop")
    if stop.was_running:
        raise AssertionError("no turn was to run")
    await stage.start("stopped", "Another thing", idempotency_key="another", limits=QUICK)
    await stage.settled_thread("stopped", turns=2)
    return [Take("thread_stopped", thread_workflow_id("stopped"))]


async def steered(stage: Stage) -> list[Take]:
    """Two prompts into a running turn: one is taken up, the other is left behind and becomes the next turn."""
    over = asyncio.Event()

    def look(request: LookRequest) -> Seen:
        reading = answered() if over.is_set() else RUNNING
        return reading.model_copy(update={"steered": request.steers, "unanswered": request.steers[1:]})

    stage.provider.says("look", look)
    await stage.start("steered", "Write the changelog", idempotency_key="first", limits=QUICK)
    await stage.provider.called("submit")
    turn = stage.turn_of("steered")
    run_id = (await turn.describe()).run_id
    for prompt in ("Shorter", "And in French"):
        start = await stage.start("steered", prompt, idempotency_key=prompt, on_busy=OnBusy.STEER, limits=QUICK)
        if start.result is None or not start.result.steered:
            raise AssertionError(f"{prompt!r} was to go into the turn")
    over.set()
    await tell(turn, EventKind.IDLE)
    settled = await stage.settled_thread("steered", turns=3)
    ends = {one.turn_id: one.steered_into for one in settled.recent}
    if ends != {"t1": None, "t2": "t1", "t3": None}:
        raise AssertionError(f"went into {ends}")
    thread, turn_take = thread_and_turn("steered")
    return [thread, Take(turn_take.name, turn_take.workflow_id, run_id)]


async def cut_off(stage: Stage) -> list[Take]:
    """The provider died with a run and with what had gone into it: both are believed lost as soon as it is back."""
    limits = QUICK.model_copy(
        update={"confirm_delay": timedelta(seconds=1.5), "interrupt_grace": timedelta(seconds=4)},
    )
    died = asyncio.Event()

    def look(request: LookRequest) -> Seen:
        if stage.provider.count("submit") > len(("the prompt", "the steer")):
            return answered()
        reading = HALTED if died.is_set() else RUNNING
        return reading.model_copy(update={"steered": request.steers, "unanswered": request.steers})

    stage.provider.says("look", look)
    await stage.start("cut_off", "Sort the imports", idempotency_key="first", limits=limits)
    await stage.provider.called("submit")
    turn = stage.turn_of("cut_off")
    run_id = (await turn.describe()).run_id
    await stage.start("cut_off", "By length", idempotency_key="second", on_busy=OnBusy.STEER, limits=limits)
    await stage.provider.called("submit", times=2)
    died.set()
    await tell(turn, EventKind.ATTACHED, cut_off=True)
    settled = await stage.settled_thread("cut_off", turns=2)
    if [one.reason for one in settled.recent] != [Reason.PROVIDER_LOST_TURN, Reason.FINISHED]:
        raise AssertionError(f"ended as {settled.recent}")
    return [Take("turn_cut_off", turn_workflow_id("cut_off"), run_id)]


async def told(stage: Stage) -> list[Take]:
    """The relay had read the end of the run when it told of it: the turn took that, and did not look."""
    await stage.start("told", "Count to ten", idempotency_key="told", limits=TurnLimits())
    await stage.provider.called("submit")
    turn = stage.turn_of("told")
    await tell(turn, EventKind.PROGRESS, EventKind.IDLE, reading=await ended(turn, answered()))
    await stage.settled_thread("told")
    if stage.provider.count("look"):
        raise AssertionError("this turn was to end without a look")
    return thread_and_turn("told")[1:]


def thread_and_turn(name: str) -> list[Take]:
    return [Take(f"thread_{name}", thread_workflow_id(name)), Take(f"turn_{name}", turn_workflow_id(name))]


SCENES: Final[tuple[Scene, ...]] = (
    normal,
    interrupted,
    lost,
    continued,
    relayed,
    flapped,
    asked,
    adopted,
    resumed,
    edited,
    stopped,
    steered,
    endings.endings,
    endings.removed,
    endings.terminated,
    endings.long,
    endings.renewed,
    dropped,
    cut_off,
    told,
)
"""Each is played on a stage of its own."""

NAMES: Final = (
    "endpoint_flapped_after",
    "endpoint_flapped_before",
    "endpoint_relayed",
    "thread_adopted",
    "thread_continued_after",
    "thread_continued_before",
    "thread_edited",
    "thread_interrupted",
    "thread_lost",
    "thread_normal",
    "thread_resumed",
    "thread_steered",
    "thread_stopped",
    "thread_stopped_unasked",
    "turn_adopted",
    "turn_asked",
    "turn_cut_off",
    "turn_dropped",
    "turn_interrupted",
    "turn_lost",
    "turn_normal",
    "turn_resumed",
    "turn_steered",
    "turn_told",
    *endings.ENDING_NAMES,
)
"""The files that a recording makes; `thread_stopped_unasked` is that scene before a stop at rest asked the provider."""
