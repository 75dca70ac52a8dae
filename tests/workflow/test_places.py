"""Places at an endpoint: real workflows, and the real activities that pass asks on; only the provider is a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import HttpUrl
from temporalio.client import WorkflowHandle

from activities import places as activities_of_places
from activities.endpoints import Endpoints
from activities.places import PlaceActivities
from tests.e2e.waiting import until, until_true
from tests.workflow.scripted_provider import RUNNING, answered
from tests.workflow.stage import QUICK, Stage, events_of
from turnkeeper import limits, own_place, places
from turnkeeper.findings import Adoption, LiveRun
from turnkeeper.messages import EndpointInput, EndpointSnapshot, endpoint_workflow_id
from turnkeeper.observations import LookRequest, PerhapsSent, PromptRequest, Seen
from turnkeeper.place_messages import PlacesShown
from turnkeeper.settings import EndpointSettings
from turnkeeper.vocabulary import OnBusy, Reason, SessionStatus

LIMIT: Final = 2

WATCHED: Final = QUICK.model_copy(
    update={"look_interval": timedelta(seconds=0.3), "look_interval_max": timedelta(seconds=0.3)}
)
"""No relay wakes these turns: they look by themselves."""


class House:
    """An endpoint with places on a stage, and the turns that its provider has."""

    def __init__(self, stage: Stage) -> None:
        """Turns run until they are let go."""
        self.stage = stage
        self.running: list[str] = []
        self.begun: list[str] = []
        self.most = 0
        self.open = False
        self._gone: set[str] = set()
        stage.provider.says("submit", self._submit).says("look", self._look)

    def _submit(self, request: PromptRequest) -> PerhapsSent:
        self.begun.append(request.prompt)
        self.running.append(request.message_id)
        self.most = max(self.most, len(self.running))
        return PerhapsSent(taken=True)

    def _look(self, request: LookRequest) -> Seen:
        if request.message_id not in self._gone and not self.open:
            return RUNNING
        if request.message_id in self.running:
            self.running.remove(request.message_id)
        return answered()

    def let_go(self, count: int = 1) -> None:
        """The turns that have run longest end."""
        self._gone |= set(self.running[:count])

    def let_all_go(self) -> None:
        self.open = True

    async def start(self, thread: str, prompt: str | None = None, **more: Any) -> str:  # noqa: ANN401 - as the client takes them
        """Give a prompt to a thread whose name ends so."""
        name = f"{self.stage.queue}-{thread}"
        await self.stage.start(name, prompt or thread, limits=WATCHED, **more)
        return name

    async def until_begun(self, *prompts: str) -> None:
        await until_true(lambda: self.begun == list(prompts))

    async def places(self) -> PlacesShown:
        shown = (await self.stage.keeper.endpoint(self.stage.endpoint)).places
        return shown or PlacesShown(limit=None, held=0, waiting=0)

    async def until_line(self, *threads: str) -> None:
        names = tuple(f"{self.stage.queue}-{thread}" for thread in threads)
        await until(self.places, lambda shown: shown.next == names)

    async def until_empty(self) -> None:
        await until(self.places, lambda shown: (shown.held, shown.waiting) == (0, 0))

    async def start_endpoint(self, **more: Any) -> None:  # noqa: ANN401 - as the model takes them
        await self.stage.client.start_workflow(
            "Endpoint",
            EndpointInput(endpoint=self.stage.endpoint, task_queue=self.stage.queue, **more),
            id=endpoint_workflow_id(self.stage.endpoint),
            task_queue=self.stage.queue,
        )

    @property
    def workflow(self) -> WorkflowHandle[Any, EndpointSnapshot]:
        return self.stage.client.get_workflow_handle(endpoint_workflow_id(self.stage.endpoint))


@pytest.fixture
async def house(monkeypatch: pytest.MonkeyPatch, empty_stage: Stage) -> AsyncIterator[House]:
    """Two places, a worker that is up, and clocks that do not make a test wait."""
    monkeypatch.setattr(places, "COUNT_INTERVAL", timedelta(seconds=1))
    monkeypatch.setattr(places, "TO_BEGIN", timedelta(seconds=2))
    monkeypatch.setattr(own_place, "ASK_AGAIN", timedelta(seconds=2))
    stage = empty_stage
    stage.endpoint = stage.queue
    stage.provider.max_running_turns = LIMIT
    settings = EndpointSettings(
        url=HttpUrl("http://opencode.example"),
        roots=(Path("/srv"),),
        task_queue=stage.queue,
        max_running_turns=LIMIT,
    )
    activities = PlaceActivities(Endpoints({stage.endpoint: settings}), stage.client)
    stage.more_activities = [activities.ask_for_place, activities.count_turns]
    house = House(stage)
    async with stage.worker_up():
        yield house
        await house.workflow.terminate("the test is over")


async def test_no_more_than_the_limit_run_and_who_came_first_is_next(house: House) -> None:
    names = [await house.start(thread) for thread in "abcde"]
    await house.until_begun("a", "b")
    await house.until_line("c", "d", "e")
    house.let_go()
    await house.until_begun("a", "b", "c")
    await house.until_line("d", "e")
    house.let_go()
    await house.until_begun("a", "b", "c", "d")
    house.let_all_go()
    for name in names:
        [turn] = (await house.stage.settled_thread(name)).recent
        assert turn.reason is Reason.FINISHED
    assert house.begun == ["a", "b", "c", "d", "e"]
    assert house.most == LIMIT
    await house.until_empty()


async def test_a_thread_with_many_prompts_takes_turns_with_the_others(house: House) -> None:
    greedy = await house.start("greedy", "g1")
    for number in range(2, 5):
        await house.start("greedy", f"g{number}")
    await house.start("other", "o1")
    await house.until_begun("g1", "o1")
    await house.start("third", "t1")
    await house.until_line("third")
    house.let_go()
    await house.until_begun("g1", "o1", "t1")
    house.let_all_go()
    await house.stage.settled_thread(greedy, turns=4)
    assert house.begun[3:] == ["g2", "g3", "g4"]


async def test_what_waits_says_so(house: House) -> None:
    for thread in "abc":
        await house.start(thread)
    name = await house.start("d")
    seen = await until(
        lambda: house.stage.keeper.thread(name), lambda now: now.place is not None and now.place.ahead == 1
    )
    assert seen.active is None
    assert [turn.prompt_start for turn in seen.queued] == ["d"]
    assert await house.places() == PlacesShown(
        limit=LIMIT, held=LIMIT, waiting=2, next=(f"{house.stage.queue}-c", name)
    )


async def waiting_thread(house: House, thread: str = "c") -> str:
    """A thread in line behind two that run."""
    for other in "ab":
        await house.start(other)
    await house.until_begun("a", "b")
    name = await house.start(thread)
    await house.until_line(thread)
    return name


async def test_a_stop_of_a_thread_in_line_holds_its_prompt_and_gives_its_place_to_the_next(house: House) -> None:
    name = await waiting_thread(house)
    stop = await house.stage.keeper.interrupt(name)
    assert (stop.was_running, stop.held, [turn.turn_id for turn in stop.queued]) == (False, True, ["t1"])
    await house.until_line()
    await house.start("d")
    house.let_go()
    await house.until_begun("a", "b", "d")
    await house.stage.keeper.resume_queue(name)
    await house.until_line("c")
    house.let_all_go()
    await house.stage.settled_thread(name)
    assert house.most == LIMIT


async def test_a_session_stopped_in_line_begins_nothing_either(house: House) -> None:
    name = await waiting_thread(house)
    stop = await house.stage.keeper.stop_session(name)
    assert (stop.was_running, stop.held) == (False, True)
    await house.until_line()
    house.let_all_go()
    await house.until_empty()
    thread = await house.stage.keeper.thread(name)
    assert (thread.held, house.begun) == (True, ["a", "b"])


async def test_a_prompt_in_line_can_be_taken_out_replaced_and_refused(house: House) -> None:
    name = await waiting_thread(house)
    await house.start("c", "c2", on_busy=OnBusy.STEER)
    await house.start("c", "c3", on_busy=OnBusy.INTERRUPT)
    assert (await house.stage.keeper.remove_queued(name, "t1")).removed.start.prompt == "c"
    house.let_go()
    await house.until_begun("a", "b", "c3")
    await house.stage.keeper.remove_queued(name, "t2")
    await house.until_line()
    house.let_all_go()
    await house.until_empty()
    assert house.begun == ["a", "b", "c3"]


async def test_a_thread_that_is_closed_in_line_hands_its_prompt_back(house: House) -> None:
    name = await waiting_thread(house)
    closed = await house.stage.keeper.close(name)
    assert [turn.start.prompt for turn in closed.returned] == ["c"]
    await house.until_line()
    await house.stage.thread_of(name).result()


async def test_a_run_that_is_taken_over_counts_and_is_not_made_to_wait(house: House) -> None:
    name = await waiting_thread(house)
    adoption = Adoption(
        session_id="ses_foreign",
        directory="/srv/shop",
        task_queue=house.stage.queue,
        limits=WATCHED,
        live=LiveRun(message_id="msg_foreign", prompt="somebody's"),
        max_running_turns=LIMIT,
    )
    house.stage.provider.says("adopt_session", adoption)
    house.running.append("msg_foreign")
    adopted = await house.stage.keeper.adopt("ses_foreign", endpoint=house.stage.endpoint, thread_id=house.stage.queue)
    assert adopted.run_id is not None
    assert (await house.places()).held == LIMIT + 1
    house.let_go()
    await until(house.places, lambda shown: shown.held == LIMIT)
    assert house.begun == ["a", "b"], "still as many as the limit run"
    house.let_all_go()
    await house.stage.settled_thread(name)


@pytest.mark.parametrize("victim", ["a", "c"], ids=["holds", "waits"])
async def test_the_place_of_a_thread_that_was_terminated_goes_to_the_next(house: House, victim: str) -> None:
    await waiting_thread(house)
    name = await house.start("d")
    await house.until_line("c", "d")
    await house.stage.thread_of(f"{house.stage.queue}-{victim}").terminate("an operator")
    if victim == "a":  # its turn is asked to end, and may run on; this one does not
        await house.stage.turn_of(f"{house.stage.queue}-a").terminate("an operator")
    else:
        house.let_go()
    await until_true(lambda: ("c" if victim == "a" else "d") in house.begun)
    house.let_all_go()
    await house.stage.settled_thread(name)
    await house.until_empty()


async def test_an_endpoint_that_was_terminated_counts_who_runs_and_is_asked_again(house: House) -> None:
    name = await waiting_thread(house)
    await house.workflow.terminate("an operator")
    await house.until_line("c")
    assert (await house.places()).held == LIMIT
    assert house.begun == ["a", "b"]
    house.let_all_go()
    await house.stage.settled_thread(name)
    assert house.most == LIMIT


async def test_both_continue_as_new_and_nobody_is_forgotten(house: House) -> None:
    await house.start_endpoint(continue_after_events=51)
    threads = [await house.stage.small_thread(51) for _ in range(3)]
    for number in range(3):
        for thread in threads:
            await house.stage.start(thread, f"{thread} {number}", limits=WATCHED)
    run = (await house.workflow.describe()).run_id
    house.let_all_go()
    async with asyncio.timeout(60):
        for thread in threads:
            settled = await house.stage.settled_thread(thread, turns=3)
            assert [turn.prompt_start for turn in settled.recent] == [f"{thread} {number}" for number in range(3)]
    assert sorted(house.begun) == sorted(f"{thread} {number}" for thread in threads for number in range(3))
    assert house.most == LIMIT
    assert (await house.workflow.describe()).run_id != run
    now = (await house.stage.thread_of(threads[0]).describe()).raw_description.workflow_execution_info
    assert now.first_run_id != now.execution.run_id


async def test_a_prompt_waits_while_the_endpoint_cannot_be_asked(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_place, "RETRY", timedelta(seconds=0.5))
    with monkeypatch.context() as away:
        away.setattr(activities_of_places, "ASK_SECONDS", 0.0)
        name = await house.start("a")
        seen = await until(
            lambda: house.stage.keeper.thread(name), lambda now: now.place is not None and now.place.failure is not None
        )
        assert seen.status is SessionStatus.IDLE
    await house.until_begun("a")
    house.let_all_go()
    await house.stage.settled_thread(name)


async def test_without_a_limit_nothing_is_asked(house: House) -> None:
    house.stage.provider.max_running_turns = None
    house.let_all_go()
    name = await house.start("a")
    await house.stage.settled_thread(name)
    events = await events_of(house.stage.thread_of(name))
    assert "signal_external_workflow_execution_initiated" not in events
    assert "activity_task_scheduled" not in events
    with pytest.raises(Exception, match="not found"):
        await house.workflow.describe()
    await house.start("b")  # the fixture ends an endpoint
    house.stage.provider.max_running_turns = LIMIT
    await house.stage.settled_thread(await house.start("c"))


def test_the_limits_of_what_is_kept_fit_into_one_payload() -> None:
    assert limits.MAX_RUNNING_TURNS <= limits.MAX_PLACES_HELD
    assert (limits.MAX_PLACES_HELD + limits.MAX_WAITING_THREADS) * 500 < 2_000_000
