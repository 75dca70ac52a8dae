"""A thread that takes over a session: with a run that is live, without one, twice, refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from temporalio import activity
from temporalio.client import WorkflowExecutionStatus

from tests.e2e.waiting import until
from tests.workflow.scripted_provider import ABORTED, NO_PROMPT, RUNNING, Held, answered, stands
from tests.workflow.stage import ENDPOINT, QUICK, Stage, new_thread, outcome_of
from turnkeeper.errors import RefusedError, ServiceUnavailableError
from turnkeeper.failures import to_application_error
from turnkeeper.findings import AdoptElsewhere, Adoption, AdoptRequest, LiveRun
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import thread_workflow_id
from turnkeeper.observations import Admission
from turnkeeper.vocabulary import Reason, Record, SessionStatus, Standing, TurnState

LIVE = LiveRun(message_id="msg_theirs", prompt="typed by a person")
NO_SESSION = to_application_error(RefusedError("There is no session.", code="no_session"))


def live(stage: Stage, limits: TurnLimits = QUICK) -> Adoption:
    return Adoption(
        session_id="ses_theirs",
        directory="/srv/shop",
        task_queue=stage.queue,
        limits=limits,
        live=LIVE,
    )


async def test_a_live_run_is_followed_and_nothing_is_sent(stage: Stage) -> None:
    look = Held(answered())
    stage.provider.says("adopt_session", live(stage)).says("look", look, answered())
    thread = new_thread()
    adopted = await stage.keeper.adopt("ses_theirs", endpoint=ENDPOINT, thread_id=thread)
    assert (adopted.thread_id, adopted.turn_id, adopted.status) == (thread, "t1", SessionStatus.RUNNING)
    look.released.set()
    settled = await stage.settled_thread(thread)
    (turn,) = settled.recent
    assert (turn.reason, turn.adopted, turn.prompt_start) == (Reason.FINISHED, True, "typed by a person")
    assert (settled.session_id, settled.directory) == ("ses_theirs", "/srv/shop")
    assert [request.message_id for request in stage.provider.requests("look")] == ["msg_theirs"]
    assert stage.provider.order()[:2] == ["adopt_session", "look"], "the first thing it does is to look"
    assert stage.provider.count("submit") == stage.provider.count("open_session") == 0


async def test_a_prompt_given_meanwhile_waits_for_the_run_that_was_taken_over(stage: Stage) -> None:
    look = Held(answered())
    stage.provider.says("adopt_session", live(stage)).says("look", look, answered())
    thread = new_thread()
    await stage.keeper.adopt("ses_theirs", endpoint=ENDPOINT, thread_id=thread)
    started = await stage.keeper.start_turn(thread, "and then?")
    assert started.result is not None
    assert started.result.position == 1
    look.released.set()
    await stage.settled_thread(thread, turns=2)
    (resumed,) = stage.provider.requests("open_session")
    assert resumed.session_id == "ses_theirs"


async def test_a_run_that_was_taken_over_is_stopped_like_any_other(stage: Stage) -> None:
    stage.provider.says("adopt_session", live(stage))
    stage.provider.says("look", lambda _: ABORTED if stage.provider.count("abort") else RUNNING)
    thread = new_thread()
    await stage.keeper.adopt("ses_theirs", endpoint=ENDPOINT, thread_id=thread)
    stopped = await stage.keeper.interrupt(thread)
    assert stopped.confirmed
    assert [request.session_id for request in stage.provider.requests("abort")] == ["ses_theirs"]


@pytest.mark.parametrize(
    ("reading", "reason"),
    [
        (stands(Standing.HALTED), Reason.PROVIDER_LOST_TURN),
        (stands(Standing.UNSTARTED), Reason.PROMPT_DROPPED),
        (NO_PROMPT, Reason.PROVIDER_LOST_TURN),
    ],
)
async def test_what_becomes_of_a_run_that_was_taken_over_is_judged_as_ever(
    skipping_stage: Stage, reading: object, reason: Reason
) -> None:
    skipping_stage.provider.says("adopt_session", live(skipping_stage, TurnLimits()))
    skipping_stage.provider.says("look", reading)  # type: ignore[arg-type]  # the table holds answers only
    thread = new_thread()
    await skipping_stage.keeper.adopt("ses_theirs", endpoint=ENDPOINT, thread_id=thread)
    settled = await skipping_stage.settled_thread(thread)
    assert settled.recent[0].reason is reason
    assert skipping_stage.provider.count("submit") == 0


async def test_an_idle_session_makes_a_thread_that_is_ready(stage: Stage) -> None:
    adopted = await stage.keeper.adopt("ses_theirs", endpoint=ENDPOINT)
    assert (adopted.thread_id, adopted.turn_id, adopted.status) == ("ses_theirs", None, SessionStatus.READY)
    seen = await stage.keeper.thread("ses_theirs")
    assert (seen.recent, seen.session_id) == ((), "ses_theirs")
    with pytest.raises(RefusedError):
        await stage.keeper.start_turn("ses_theirs", "go", endpoint=ENDPOINT, directory="/elsewhere")
    assert (await stage.keeper.thread("ses_theirs")).session_id == "ses_theirs", "a refusal later ends nothing"
    await stage.keeper.start_turn("ses_theirs", "go")
    await stage.settled_thread("ses_theirs")
    (resumed,) = stage.provider.requests("open_session")
    assert resumed.session_id == "ses_theirs"
    await stage.thread_of("ses_theirs").terminate("its name is used once")


async def test_twice_is_once_also_when_the_run_is_over(stage: Stage) -> None:
    stage.provider.says("adopt_session", live(stage))
    thread = new_thread()
    first = await stage.keeper.adopt("ses_theirs", endpoint=ENDPOINT, thread_id=thread)
    await stage.settled_thread(thread)
    again = await stage.keeper.adopt("ses_theirs", endpoint=ENDPOINT, thread_id=thread)
    assert (again.turn_id, again.run_id, again.repeated) == (first.turn_id, first.run_id, True)
    assert stage.provider.count("adopt_session") == 1
    assert len((await stage.keeper.thread(thread)).recent) == 1


async def test_a_refusal_leaves_no_thread_behind(stage: Stage) -> None:
    stage.provider.says("adopt_session", NO_SESSION)
    thread = new_thread()
    with pytest.raises(RefusedError, match="no session"):
        await stage.keeper.adopt("ses_theirs", endpoint=ENDPOINT, thread_id=thread)
    over = await until(stage.thread_of(thread).describe, lambda now: now.close_time is not None)
    assert over.status is WorkflowExecutionStatus.COMPLETED
    stage.provider.forget("adopt_session")
    assert (await stage.keeper.adopt("ses_theirs", endpoint=ENDPOINT, thread_id=thread)).status is SessionStatus.READY


async def test_a_thread_in_use_takes_no_other_session(stage: Stage) -> None:
    thread = new_thread()
    await stage.start(thread)
    await stage.settled_thread(thread)
    with pytest.raises(RefusedError) as refused:
        await stage.keeper.adopt("ses_theirs", endpoint=ENDPOINT, thread_id=thread)
    assert refused.value.detail_code == "thread_in_use"
    assert stage.provider.count("adopt_session") == 0


async def test_what_can_be_no_session_or_thread_is_refused_at_once(stage: Stage) -> None:
    for session, thread in (("", None), ("ses 1", None), ("ses_1", "no/thread"), ("x" * 200, None)):
        with pytest.raises(RefusedError):
            await stage.keeper.adopt(session, endpoint=ENDPOINT, thread_id=thread)


async def test_an_adoption_while_no_worker_is_up_is_kept_and_done(
    empty_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnkeeper.recovery.ADOPT_TIMEOUT", 1.0)
    thread = new_thread()
    with pytest.raises(ServiceUnavailableError, match="kept"):
        await empty_stage.keeper.adopt("ses_theirs", endpoint=ENDPOINT, thread_id=thread)
    empty_stage.provider.says("adopt_session", live(empty_stage))
    async with empty_stage.worker_up():
        settled = await empty_stage.settled_thread(thread)
        assert (settled.recent[0].state, settled.session_id) == (TurnState.COMPLETED, "ses_theirs")
        assert (await outcome_of(empty_stage.turn_of(thread))).reason is Reason.FINISHED
        assert empty_stage.client.get_workflow_handle(thread_workflow_id(thread)) is not None


async def test_a_prompt_given_during_the_adoption_waits_for_the_run_that_is_taken_over(stage: Stage) -> None:
    adopting = Held(live(stage))
    stage.provider.says("adopt_session", adopting)
    thread = new_thread()
    asked = asyncio.create_task(stage.keeper.adopt("ses_theirs", endpoint=ENDPOINT, thread_id=thread))
    await stage.provider.called("adopt_session")
    started = asyncio.create_task(stage.keeper.start_turn(thread, "and then?"))
    adopting.released.set()
    adopted = await asked
    await started
    settled = await stage.settled_thread(thread, turns=2)
    assert [turn.adopted for turn in settled.recent] == [True, False]
    assert settled.recent[0].turn_id == adopted.turn_id
    (resumed,) = stage.provider.requests("open_session")
    assert resumed.session_id == "ses_theirs"


def reached_from(queue: str, adoption: Adoption) -> Callable[[AdoptRequest], Record]:
    """An endpoint that only workers of `queue` reach."""
    return lambda _: adoption if activity.info().task_queue == queue else AdoptElsewhere(ask_at=queue)


async def test_an_endpoint_with_a_queue_of_its_own_is_asked_there(stage: Stage) -> None:
    far = f"{stage.queue}-far"
    theirs = live(stage).model_copy(update={"task_queue": far})
    stage.provider.says("adopt_session", reached_from(far, theirs))
    thread = new_thread()
    async with stage.provider_worker_up(far):
        adopted = await stage.keeper.adopt("ses_theirs", endpoint=ENDPOINT, thread_id=thread)
        assert (adopted.thread_id, adopted.turn_id) == (thread, "t1")
        settled = await stage.settled_thread(thread)
    assert (settled.recent[0].reason, settled.session_id) == (Reason.FINISHED, "ses_theirs")
    assert stage.provider.order()[:3] == ["adopt_session", "adopt_session", "look"]


@pytest.mark.usefixtures("impatient_calls")
async def test_nobody_there_leaves_no_thread_behind_and_says_what_to_check(stage: Stage) -> None:
    far = f"{stage.queue}-far"
    stage.provider.says("adopt_session", reached_from(far, live(stage)))
    with pytest.raises(ServiceUnavailableError) as unavailable:
        await stage.keeper.adopt("ses_theirs", endpoint=ENDPOINT, thread_id=(thread := new_thread()))
    assert unavailable.value.detail_code == "not_adopted"
    assert "task queue" in str(unavailable.value)
    assert (await stage.thread_of(thread).describe()).status is WorkflowExecutionStatus.COMPLETED


async def test_what_the_endpoint_itself_refuses_there_is_the_answer(stage: Stage) -> None:
    far = f"{stage.queue}-far"
    stage.provider.says("adopt_session", AdoptElsewhere(ask_at=far), NO_SESSION)
    async with stage.provider_worker_up(far):
        with pytest.raises(RefusedError, match="no session"):
            await stage.keeper.adopt("ses_theirs", endpoint=ENDPOINT, thread_id=new_thread())


async def test_a_session_that_a_start_just_opened_is_the_threads_and_nothing_is_marked(stage: Stage) -> None:
    own = Admission(task_queue=stage.queue, directory="/srv/shop", limits=TurnLimits(), session_id="ses_own")
    admission = Held(own)
    stage.provider.says("admit", admission)
    thread = new_thread()
    started = asyncio.create_task(stage.start(thread))
    await stage.provider.called("admit")
    asked = asyncio.create_task(stage.keeper.adopt("ses_theirs", endpoint=ENDPOINT, thread_id=thread))
    admission.released.set()
    with pytest.raises(RefusedError):
        await asked
    await started
    assert (await stage.settled_thread(thread)).session_id == "ses_own"
    assert stage.provider.count("adopt_session") == 0
