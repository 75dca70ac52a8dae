"""Following a turn: what is shown, what Ctrl-C means, how long silence is borne. Without signals and servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.unit.cli_stand_ins import (
    RUN,
    SETTLED,
    STARTED,
    STOPPED,
    T0,
    RememberingView,
    ScriptedKeeper,
    outcome,
    record,
    result,
    service_of,
    snapshot,
    thread,
)
from turnkeeper.cli import following, stopping
from turnkeeper.cli import run as running
from turnkeeper.cli.choice import choose_view
from turnkeeper.cli.endings import Exit
from turnkeeper.cli.following import Detached, Ending, Follower, NeverBegun, Settled
from turnkeeper.cli.presses import Press, Presses
from turnkeeper.cli.reporting import follow_to_exit
from turnkeeper.cli.service import Service
from turnkeeper.cli.stopping import STOP_SENT, STOPPING
from turnkeeper.cli.views import Subject
from turnkeeper.commands import RemovedTurn
from turnkeeper.errors import RefusedError, ServiceUnavailableError, TurnkeeperError
from turnkeeper.keys import prompt_digest
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import InterruptResult, TurnResult
from turnkeeper.place_messages import OwnPlace
from turnkeeper.thread_messages import QueuedTurn, StartTurn, ThreadSnapshot
from turnkeeper.vocabulary import Reason, TurnState

NO_WORKER = ServiceUnavailableError("No worker answered in time.")
Said = pytest.CaptureFixture[str]
WAIT = 5.0  # seconds until a test gives up; what it waits for takes milliseconds
SUBJECT = Subject("shop", "t1", RUN, "k1")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same steps, a hundred times faster."""
    for module, name in (
        (following, "QUICK_LOOK"),
        (following, "SLOW_LOOK"),
        (stopping, "DOUBLE_PRESS"),
        (stopping, "NEXT_TRY"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name) / 100)


class Case:
    """One follower under test."""

    def __init__(
        self, keeper: ScriptedKeeper, *, stops: bool = True, patience: float = 60.0, outage: str | None = None
    ) -> None:
        self.keeper = keeper
        self.view = RememberingView()
        self.presses = Presses()
        self._follower = Follower(
            keeper,
            self.view,
            self.presses,
            lambda thread_id, run: f"{thread_id}/{run}",
            stops=stops,
            patience=patience,
            outage=lambda: outage,
        )

    @asynccontextmanager
    async def following(self, subject: Subject = SUBJECT) -> AsyncIterator[asyncio.Task[Ending]]:
        task = asyncio.create_task(self._follower.follow(subject))
        try:
            async with asyncio.timeout(WAIT):
                yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110 - the condition is about a stand-in that knows no event
            await asyncio.sleep(0.001)

    def press(self, press: Press = Press.CTRL_C) -> None:
        self.presses.put_nowait(press)


async def test_shows_the_turn_until_its_result_is_there() -> None:
    case = Case(ScriptedKeeper(turns=[snapshot(), snapshot(state=TurnState.WAITING), snapshot()]))
    async with case.following() as task:
        await case.until(lambda: case.view.has("seen waiting"))
        case.keeper.over.set()
        ending = await task
    assert isinstance(ending, Settled)
    assert ending.subject.link == f"shop/{RUN}"


async def test_looks_once_more_after_the_end_so_that_a_quick_turn_shows_its_tools() -> None:
    case = Case(ScriptedKeeper())
    case.keeper.over.set()
    async with case.following() as task:
        await task
    assert case.view.has("seen running")


async def test_one_press_stops_the_turn_and_waits_for_the_settled_turn() -> None:
    case = Case(ScriptedKeeper())
    async with case.following() as task:
        case.press()
        ending = await task
    assert isinstance(ending, Settled)
    assert ending.result.outcome == STOPPED
    assert ("interrupt", ("shop", "t1", "Ctrl-C")) in case.keeper.asked
    assert case.view.has(f"notice {STOPPING}")
    assert case.view.has(f"notice {STOP_SENT}")


async def test_two_quick_presses_leave_the_turn_running() -> None:
    case = Case(ScriptedKeeper())
    async with case.following() as task:
        await case.until(lambda: case.keeper.looks > 0)
        case.press()
        case.press()
        assert isinstance(await task, Detached)
    assert case.keeper.count("interrupt") == 0
    assert case.view.told[-1].startswith("detached The turn goes on.")
    assert "turnkeeper follow shop" in case.view.told[-1]


async def test_a_late_second_press_leaves_and_says_that_the_stop_goes_on() -> None:
    class Silent(ScriptedKeeper):
        async def interrupt(self, thread_id: str, turn_id: str | None = None, *, why: str = "") -> InterruptResult:
            self.asked.append(("interrupt", (thread_id, turn_id, why)))
            await asyncio.Event().wait()
            raise AssertionError

    case = Case(Silent())
    async with case.following() as task:
        case.press()
        await case.until(lambda: case.keeper.count("interrupt") == 1)
        case.press()
        assert isinstance(await task, Detached)
    assert case.view.told[-1].startswith("detached The stop goes on")


async def test_a_stop_that_nobody_answers_is_said_and_the_turn_is_followed_on() -> None:
    kept = ServiceUnavailableError("No worker answered the stop; it is kept.", code="stop_kept")
    case = Case(ScriptedKeeper(interrupts_with=kept))
    async with case.following() as task:
        case.press()
        await case.until(lambda: case.view.has("notice No worker answered the stop; it is kept."))
        case.keeper.over.set()
        assert isinstance(await task, Settled)


@pytest.mark.parametrize(
    ("answer", "notice", "leaving"),
    [
        (
            ServiceUnavailableError("No worker answered the stop; it is kept.", code="stop_kept"),
            "No worker answered the stop",
            "The stop is kept, and done once a worker is up.",
        ),
        (
            ServiceUnavailableError("The Temporal server does not answer."),
            "the stop was not accepted: No stack runs on /x.",
            "The stop was not accepted. Once Temporal answers: turnkeeper interrupt shop",
        ),
        (RefusedError("Turn t1 is not the running one."), "not stopped: Turn t1", "The turn goes on."),
    ],
)
async def test_who_leaves_after_a_stop_that_nobody_took_is_told_so(
    answer: TurnkeeperError, notice: str, leaving: str
) -> None:
    case = Case(ScriptedKeeper(interrupts_with=answer), outage="No stack runs on /x.")
    async with case.following() as task:
        case.press()
        await case.until(lambda: case.view.has(f"notice {notice}"))
        case.press()
        assert isinstance(await task, Detached)
        assert any(line.startswith(f"detached {leaving}") for line in case.view.told)


async def test_who_leaves_a_silent_turn_is_not_told_that_it_goes_on() -> None:
    case = Case(ScriptedKeeper(turns=[NO_WORKER]), stops=False, outage="No stack runs on /x.")
    async with case.following() as task:
        await case.until(lambda: case.view.has("notice no news: No stack runs on /x. Trying again for 1 min 00 s."))
        case.press()
        assert isinstance(await task, Detached)
    assert case.view.told[-1].startswith("detached It is not known whether the turn goes on: No stack runs on /x.")


async def test_a_terminal_that_goes_away_stops_nothing_and_does_not_say_so() -> None:
    case = Case(ScriptedKeeper())
    async with case.following() as task:
        case.press(Press.LEAVE)
        assert isinstance(await task, Detached)
    assert not case.view.has("notice")
    assert case.view.told[-1].startswith("detached The turn goes on.")


async def test_who_only_looks_on_leaves_with_the_first_press() -> None:
    case = Case(ScriptedKeeper(), stops=False)
    async with case.following() as task:
        case.press()
        assert isinstance(await task, Detached)
    assert case.keeper.count("interrupt") == 0


async def test_silence_is_said_once_and_its_end_too() -> None:
    case = Case(ScriptedKeeper(turns=[snapshot(), NO_WORKER, NO_WORKER, NO_WORKER, snapshot()]))
    async with case.following() as task:
        await case.until(lambda: case.view.has("notice news again"))
        case.keeper.over.set()
        await task
    assert [line for line in case.view.told if line.startswith("notice")] == [
        "notice no news: No worker answered in time. Trying again for 1 min 00 s.",
        "notice news again",
    ]


async def test_silence_ends_the_following_after_a_while() -> None:
    case = Case(ScriptedKeeper(turns=[NO_WORKER]), patience=0.0)
    async with case.following() as task:
        with pytest.raises(ServiceUnavailableError, match=r"Nothing answered for 0\.0 s: No worker answered in time\."):
            await task


async def test_a_result_that_comes_while_no_worker_answers_is_the_outcome_all_the_same() -> None:
    case = Case(ScriptedKeeper(turns=[NO_WORKER]))
    case.keeper.over.set()
    async with case.following() as task:
        assert isinstance(await task, Settled)


async def test_a_workflow_that_was_terminated_is_an_error_of_the_turn() -> None:
    case = Case(ScriptedKeeper(ends_with=TurnkeeperError("The workflow did not end by itself: terminated")))
    case.keeper.over.set()
    async with case.following() as task:
        with pytest.raises(TurnkeeperError, match="terminated"):
            await task


QUEUED = record(turn_id="t2", idempotency_key="k2", run_id=None, started_at=None, state=TurnState.QUEUED)


async def test_a_queued_turn_says_how_many_run_before_it_and_is_followed_when_it_begins() -> None:
    waiting = thread(active=record(), recent=(), queued=(QUEUED,), status="running")
    begun = thread(active=record(turn_id="t2", idempotency_key="k2", run_id="run-2"), recent=(), status="running")
    case = Case(ScriptedKeeper(threads_seen=[waiting, waiting, begun]))
    case.keeper.over.set()
    async with case.following(Subject("shop", "t2", None, "k2")) as task:
        ending = await task
    assert isinstance(ending, Settled)
    assert ending.subject.run_id == "run-2"
    assert case.view.told.count("queued 1") == 1


async def test_a_prompt_that_waits_for_a_place_says_how_many_are_before_it_once() -> None:
    place = OwnPlace(number=1, asked_at=T0, ahead=3)
    waiting = thread(recent=(), queued=(QUEUED,), place=place)
    begun = thread(active=record(turn_id="t2", idempotency_key="k2", run_id="run-2"), recent=(), status="running")
    case = Case(ScriptedKeeper(threads_seen=[waiting, waiting, begun]))
    case.keeper.over.set()
    async with case.following(Subject("shop", "t2", None, "k2")) as task:
        await task
    told = [line for line in case.view.told if "waits for a place at endpoint local (3 before it)" in line]
    assert len(told) == 1


async def test_a_kept_prompt_is_found_by_its_key_once_a_worker_is_up() -> None:
    case = Case(ScriptedKeeper(threads_seen=[NO_WORKER, thread(recent=()), thread(recent=(SETTLED,))]))
    case.keeper.over.set()
    async with case.following(Subject("shop", None, None, "k1", kept=True)) as task:
        ending = await task
    assert isinstance(ending, Settled)
    assert ending.subject.run_id == RUN


async def test_a_kept_prompt_with_the_key_of_another_one_is_refused_and_not_shown_as_that() -> None:
    earlier = SETTLED.model_copy(update={"prompt_digest": prompt_digest("Fix the test")})
    mine = Subject("shop", None, None, "k1", kept=True, prompt_digest=prompt_digest("Delete the test"))
    case = Case(ScriptedKeeper(threads_seen=[NO_WORKER, thread(recent=(earlier,))]))
    async with case.following(mine) as task:
        with pytest.raises(RefusedError, match=r"used before, with another prompt \(turn t1\)") as refused:
            await task
    assert refused.value.detail_code == "key_reused"
    assert not case.view.has("seen")


async def test_a_kept_prompt_that_the_thread_refuses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "TAKING", 0.0)
    case = Case(ScriptedKeeper(threads_seen=[thread(recent=(), last_error="no such model")]))
    async with case.following(Subject("shop", None, None, "k1", kept=True)) as task:
        with pytest.raises(RefusedError, match="no such model"):
            await task


LOST_EARLY = record(run_id=None, state=TurnState.ERROR, reason=Reason.TURNKEEPER_ERROR, completed_at=T0)
REMOVED = record(
    turn_id="t2", run_id=None, started_at=None, state=TurnState.INTERRUPTED, reason=Reason.REMOVED, completed_at=T0
)
WAITING_SUBJECT = Subject("shop", "t2", None, "k2", position=1)
WAITING = thread(active=record(), recent=(), queued=(QUEUED,), status="running")
TAKEN_BACK = thread(active=record(), recent=(REMOVED,), status="running")
NOT_QUEUED = RefusedError("Turn t2 runs already.", code="not_queued")


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (thread(recent=(LOST_EARLY.model_copy(update={"turn_id": "t2"}),)), "before it began: turnkeeper_error"),
        (TAKEN_BACK, "t2 was taken out of the queue before it began: nothing was sent."),
        (thread(recent=(), queued=(QUEUED,), closed=True), "was closed before t2 began: nothing was sent."),
    ],
)
async def test_a_turn_that_is_over_before_it_began_says_why(seen: ThreadSnapshot, words: str) -> None:
    case = Case(ScriptedKeeper(threads_seen=[seen]))
    async with case.following(WAITING_SUBJECT) as task:
        ending = await task
    assert isinstance(ending, NeverBegun)
    assert words in ending.why


class Queue(ScriptedKeeper):
    """Its thread shows the prompt waiting until it is taken out."""

    async def remove_queued(self, thread_id: str, turn_id: str) -> RemovedTurn:
        removed = await super().remove_queued(thread_id, turn_id)
        self.threads_seen = [TAKEN_BACK]
        return removed


def prompt_of(turn_id: str) -> QueuedTurn:
    start = StartTurn(prompt="Fix the test", idempotency_key=turn_id)
    return QueuedTurn(turn_id=turn_id, start=start, limits=TurnLimits(), accepted_at=T0)


async def test_one_press_takes_a_waiting_prompt_back_and_stops_nothing() -> None:
    case = Case(Queue(threads_seen=[WAITING], waits=(prompt_of("t2"),)))
    async with case.following(WAITING_SUBJECT) as task:
        await case.until(lambda: case.view.has("queued 1"))
        case.press()
        ending = await task
    assert isinstance(ending, NeverBegun)
    assert ending.turn.reason is Reason.REMOVED
    assert ("remove", ("shop", "t2")) in case.keeper.asked
    assert case.keeper.count("interrupt") == 0
    assert case.view.has("notice taking the prompt back")


async def test_two_quick_presses_leave_a_prompt_in_the_queue() -> None:
    case = Case(Queue(threads_seen=[WAITING], waits=(prompt_of("t2"),)))
    async with case.following(WAITING_SUBJECT) as task:
        await case.until(lambda: case.view.has("queued 1"))
        case.press()
        case.press()
        assert isinstance(await task, Detached)
    assert case.keeper.count("remove") == 0
    assert case.view.told[-1].startswith("detached The prompt stays where it is and runs when it is its turn.")


async def test_a_prompt_that_begins_while_it_is_taken_back_is_stopped() -> None:
    case = Case(ScriptedKeeper(threads_seen=[WAITING], removes_with=NOT_QUEUED))
    async with case.following(WAITING_SUBJECT):
        case.press()
        await case.until(lambda: case.keeper.count("remove") == 1)
        case.keeper.threads_seen = [thread(active=QUEUED.model_copy(update={"run_id": RUN}), status="running")]
        await case.until(lambda: ("interrupt", ("shop", "t2", "Ctrl-C")) in case.keeper.asked)


async def test_a_prompt_that_is_not_in_the_running_turn_yet_is_taken_back_once_it_waits() -> None:
    class Returned(Queue):
        async def remove_queued(self, thread_id: str, turn_id: str) -> RemovedTurn:
            removed = await super().remove_queued(thread_id, turn_id) if not self.removes_with else None
            if removed is None:
                self.asked.append(("remove", (thread_id, turn_id)))
                self.removes_with = None
                raise NOT_QUEUED
            return removed

    undecided = thread(active=record(), recent=(), steering=(QUEUED,), status="running")
    case = Case(Returned(threads_seen=[undecided], removes_with=NOT_QUEUED, waits=(prompt_of("t2"),)))
    async with case.following(WAITING_SUBJECT) as task:
        case.press()
        ending = await task
    assert isinstance(ending, NeverBegun)
    assert case.keeper.count("remove") == 2
    assert case.keeper.count("interrupt") == 0


async def test_a_prompt_that_went_into_a_running_turn_stops_that_one_and_says_so() -> None:
    class Inside(ScriptedKeeper):
        async def interrupt(self, thread_id: str, turn_id: str | None = None, *, why: str = "") -> InterruptResult:
            if turn_id == "t2":
                raise RefusedError("Turn t2 is not the running one; that is t1.", code="not_running")
            return await super().interrupt(thread_id, turn_id, why=why)

    inside = QUEUED.model_copy(update={"state": TurnState.RUNNING, "run_id": RUN, "steered_into": "t1"})
    case = Case(Inside(threads_seen=[thread(active=record(), steering=(inside,), status="running")]))
    async with case.following(Subject("shop", "t2", RUN, "k2")) as task:
        case.press()
        ending = await task
    assert isinstance(ending, Settled)
    assert case.view.has("notice t2 went into t1 and cannot be taken back: stopping t1")
    assert ("interrupt", ("shop", "t1", "Ctrl-C")) in case.keeper.asked


async def test_a_kept_prompt_in_a_thread_of_others_is_not_stopped_by_guess() -> None:
    """Without its name the stop would meet whatever runs there."""
    case = Case(Queue(threads_seen=[NO_WORKER], waits=(prompt_of("t2"),)))
    async with case.following(Subject("shop", None, None, "k2", kept=True, shared=True)) as task:
        case.press()
        await case.until(lambda: case.view.has("notice nobody can say yet whether it has begun"))
        assert case.keeper.count("interrupt") == 0
        case.keeper.threads_seen = [WAITING]
        ending = await task
    assert isinstance(ending, NeverBegun)
    assert case.keeper.count("interrupt") == 0


@pytest.mark.parametrize("as_json", [True, False])
async def test_a_prompt_that_was_taken_back_ends_with_1_and_says_so(as_json: bool, capsys: Said) -> None:  # noqa: FBT001 - a parameter of the table
    view = choose_view(as_json=as_json)
    follower = Follower(ScriptedKeeper(threads_seen=[TAKEN_BACK]), view, Presses(), lambda *_: None)
    assert await follow_to_exit(follower, view, WAITING_SUBJECT) == Exit.ENDED_OTHERWISE
    last = capsys.readouterr().out.splitlines()[-1]
    words = "t2 was taken out of the queue before it began: nothing was sent."
    if as_json:
        entry = json.loads(last)
        assert (entry["event"], entry["turn"], entry["reason"], entry["text"]) == (
            "never_begun",
            "t2",
            "removed",
            words,
        )
    else:
        assert last == f"interrupted: removed. {words}"


class LosesTheFirst(ScriptedKeeper):
    """The provider loses the first turn; the second goes on with it."""

    async def result(self, thread_id: str, run_id: str | None = None) -> TurnResult:
        self.asked.append(("result", (thread_id, run_id)))
        return result(outcome(TurnState.INTERRUPTED, Reason.PROVIDER_LOST_TURN)) if run_id == RUN else result()


LOST = record(state=TurnState.INTERRUPTED, reason=Reason.PROVIDER_LOST_TURN, completed_at=T0)


async def test_a_turn_that_goes_on_with_a_lost_one_is_followed_and_said() -> None:
    """The thread settles the lost one a moment after its result is there."""
    next_turn = record(turn_id="t2", idempotency_key="k2", run_id="0191-run", continues="t1")
    unsettled = thread(active=record(), recent=())
    case = Case(LosesTheFirst(threads_seen=[unsettled, thread(active=next_turn, recent=(LOST,))]))
    async with case.following() as task:
        ending = await task
    assert isinstance(ending, Settled)
    assert ending.result.outcome.reason is Reason.FINISHED
    assert (ending.subject.turn_id, ending.subject.run_id, ending.subject.continues) == ("t2", "0191-run", "t1")
    assert case.view.has("notice the provider lost turn t1; t2 goes on with it")


async def test_a_lost_turn_that_nothing_goes_on_with_is_the_end() -> None:
    case = Case(LosesTheFirst(threads_seen=[thread(recent=(LOST,))]))
    async with case.following() as task:
        ending = await task
    assert isinstance(ending, Settled)
    assert ending.result.outcome.reason is Reason.PROVIDER_LOST_TURN


async def test_a_lost_turn_is_shown_though_its_thread_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "TAKING", 0.05)
    case = Case(LosesTheFirst(threads_seen=[NO_WORKER]))
    async with case.following() as task:
        ending = await task
    assert isinstance(ending, Settled)
    assert ending.result.outcome.reason is Reason.PROVIDER_LOST_TURN


class DropsTheSteer(ScriptedKeeper):
    """The running turn ends without the prompt that went into it; that is the next turn."""

    async def result(self, thread_id: str, run_id: str | None = None) -> TurnResult:
        self.asked.append(("result", (thread_id, run_id)))
        return result() if run_id == RUN else result().model_copy(update={"turn_id": "t2"})


INSIDE = record(turn_id="t2", idempotency_key="k2", steered_into="t1")
WAITS = record(turn_id="t2", idempotency_key="k2", state=TurnState.QUEUED, run_id=None)
NEXT = record(turn_id="t2", idempotency_key="k2", run_id="0191-run")


@pytest.mark.parametrize(
    "subject",
    [Subject("shop", "t2", RUN, "k2", steered=True), Subject("shop", None, None, "k2", kept=True)],
    ids=["told at the start", "found out later"],
)
async def test_a_steer_that_is_dropped_is_followed_as_the_turn_that_it_becomes(subject: Subject) -> None:
    """The thread knows of the drop a moment after the result is there."""
    inside = thread(active=record(), steering=(INSIDE,), recent=())
    case = Case(DropsTheSteer(threads_seen=[inside, inside, thread(queued=(WAITS,)), thread(active=NEXT)]))
    async with case.following(subject) as task:
        ending = await task
    assert isinstance(ending, Settled)
    assert (ending.subject.turn_id, ending.subject.run_id, ending.result.turn_id) == ("t2", "0191-run", "t2")
    assert sum("did not take the prompt up" in told for told in case.view.told) == 1


# The start itself.


async def test_a_start_that_nobody_answers_is_said_before_the_person_wonders(
    capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "SLOW_START", 0.01)
    keeper, answering = ScriptedKeeper(start=STARTED), asyncio.Event()
    keeper.over.set()

    async def connect(_: Path) -> Service:
        await answering.wait()
        return service_of(keeper)

    task = asyncio.create_task(running.run_with(Presses(), connect, Path("/x"), running.Order("Go"), as_json=True))
    said = ""
    async with asyncio.timeout(WAIT):
        while not said:
            await asyncio.sleep(0.01)
            said = capsys.readouterr().err
        answering.set()
        assert await task == Exit.OK
    assert said == f"turnkeeper: {running.SLOW}\n"
    assert not capsys.readouterr().err, "once"
