"""What operators see of a turn in Temporal, and what its history costs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WorkflowHandle

from tests.e2e.waiting import until
from tests.workflow.scripted_provider import RUNNING, answered, asking, asks, stands
from tests.workflow.stage import ENDPOINT, Stage, events_of, new_thread, outcome_of, snapshot, tell
from turnkeeper import search_attributes
from turnkeeper.messages import Answer
from turnkeeper.observations import OpenRequest, Option, Question
from turnkeeper.vocabulary import EventKind, Reason, Standing, TurnState

BEGIN = "Rename the customer table"
PRIVATE = "and-here-begins-what-only-the-agent-may-read"
PROMPT = f"{BEGIN}, {'carefully, ' * 8}{PRIVATE}"

TURN_EVENTS = 24
"""Events of a turn that is settled by its first look. Only ever lower it."""
THREAD_EVENTS = 16
"""Events of a thread after its first turn."""


async def shown(handle: WorkflowHandle[Any, Any]) -> str:
    """The live text of the Temporal UI, asked as the UI asks."""
    metadata: WorkflowMetadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return metadata.current_details


async def everything_visible(handle: WorkflowHandle[Any, Any]) -> str:
    """All that lists and the top of the page show: no payload of the history."""
    description = await handle.describe()
    attributes = description.typed_search_attributes
    return f"{await shown(handle)} {await description.static_summary()} {attributes} {await description.memo()}"


async def test_a_waiting_turn_shows_what_it_waits_for_and_not_the_conversation(stage: Stage) -> None:
    thread = new_thread()
    stage.provider.says("look", asks("run `make deploy`"))
    await stage.start(thread, PROMPT)
    turn = stage.turn_of(thread)
    await stage.provider.called("submit")
    await tell(turn, EventKind.REQUEST_OPENED)
    await until(lambda: snapshot(turn), lambda now: now.state is TurnState.WAITING and now.next_check_at is not None)
    text = await shown(turn)
    assert "**waiting**" in text
    assert "run `make deploy`" in text
    attributes = await until(lambda: attributes_of(turn), lambda now: now.get(search_attributes.STATE) == "waiting")
    assert attributes.get(search_attributes.ENDPOINT) == ENDPOINT
    assert attributes.get(search_attributes.THREAD) == thread
    for handle in (turn, stage.thread_of(thread)):
        assert PRIVATE not in await everything_visible(handle)
    assert BEGIN in await everything_visible(turn), "the summary is the prompt's beginning"


async def test_a_settled_turn_shows_why_and_nothing_of_the_answer(skipping_stage: Stage) -> None:
    thread = new_thread()
    skipping_stage.provider.says("look", answered("the-answer"))
    started = await skipping_stage.start(thread, PROMPT)
    result = await skipping_stage.keeper.wait(started)
    turn = skipping_stage.turn_of(thread)
    text = await everything_visible(turn)
    assert "**finished**" in text
    assert PRIVATE not in text
    assert "the-answer" not in text
    attributes = await attributes_of(turn)
    assert attributes.get(search_attributes.STATE) == TurnState.COMPLETED
    assert attributes.get(search_attributes.REASON) == Reason.FINISHED
    assert attributes.get(search_attributes.SESSION) == result.session_id
    await skipping_stage.settled_thread(thread)
    assert PRIVATE not in await everything_visible(skipping_stage.thread_of(thread))


async def attributes_of(turn: WorkflowHandle[Any, Any]) -> Any:  # noqa: ANN401 - typed by the key one asks it for
    return (await turn.describe()).typed_search_attributes


async def test_a_short_turn_has_a_short_history(skipping_stage: Stage) -> None:
    thread = new_thread()
    await skipping_stage.start(thread)
    await skipping_stage.settled_thread(thread)
    of_turn = await events_of(skipping_stage.turn_of(thread))
    of_thread = await events_of(skipping_stage.thread_of(thread))
    assert len(of_turn) <= TURN_EVENTS, of_turn
    assert len(of_thread) <= THREAD_EVENTS, of_thread


async def test_ten_thousand_progress_events_stay_far_below_the_limits(stage: Stage) -> None:
    """25 a signal, as the relay sends them at worst. A run may hold 10,000 signals and 51,200 events."""
    stage.provider.says("look", RUNNING)
    turn = await stage.turn()
    await stage.provider.called("submit")
    for _ in range(20):
        await asyncio.gather(*(tell(turn, *[EventKind.PROGRESS] * 25) for _ in range(20)))
    seen = await until(lambda: snapshot(turn), lambda now: now.events_seen == 10_000)
    assert seen.state is TurnState.RUNNING
    stage.provider.says("look", answered())
    await tell(turn, EventKind.IDLE)
    assert (await outcome_of(turn)).reason is Reason.FINISHED
    assert len(await events_of(turn)) < 2_000


async def test_the_providers_own_retry_shows_with_its_time_until_it_is_over(stage: Stage) -> None:
    at = datetime.now(UTC) + timedelta(minutes=5)
    stage.provider.says("look", stands(Standing.RUNNING, "retry 1", retry_at=at), answered())
    thread = new_thread()
    await stage.start(thread)
    turn = stage.turn_of(thread)
    await stage.provider.called("submit")
    await tell(turn, EventKind.RETRYING)
    seen = await until(lambda: snapshot(turn), lambda now: now.retry_at is not None and now.next_check_at is not None)
    assert seen.retry_at == at
    assert f"provider's own retry | {at:%H:%M:%S} UTC" in await shown(turn)
    await tell(turn, EventKind.IDLE)
    assert (await outcome_of(turn)).reason is Reason.FINISHED
    assert (await snapshot(turn)).retry_at is None


async def test_the_page_of_a_waiting_turn_says_who_asks_what_and_how_it_was_answered(stage: Stage) -> None:
    question = OpenRequest(
        request_id="que_1",
        kind="question",
        session_id="ses_child",
        title="Which colour?",
        questions=(Question(text="Which colour?", options=(Option(label="red"), Option(label="green"))),),
    )
    stage.provider.says("look", lambda _: answered() if stage.provider.count("answer") else asking(question))
    turn = await stage.turn()
    asked = "| open question | Which colour? (red, green): `que_1`, a sub-agent in ses_child |"
    await until(lambda: shown(turn), lambda text: asked in text)
    await turn.execute_update("answer", Answer(request_id="que_1", answers=(("red",),)))
    await outcome_of(turn)
    text = await shown(turn)
    assert "| answer to que_1 | delivered, by person |" in text
    assert "open question" not in text
