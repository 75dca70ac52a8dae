"""Following a turn: what is shown, what Ctrl-C means, how long silence is borne. Without signals and servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.unit.cli_stand_ins import (
    RUN,
    SETTLED,
    STOPPED,
    T0,
    RememberingView,
    ScriptedKeeper,
    outcome,
    record,
    result,
    snapshot,
    thread,
)
from turnkeeper.cli import following
from turnkeeper.cli.following import STOP_SENT, STOPPING, Detached, Ending, Follower, Settled
from turnkeeper.cli.presses import Press, Presses
from turnkeeper.cli.views import Subject
from turnkeeper.errors import RefusedError, ServiceUnavailableError, TurnkeeperError
from turnkeeper.messages import InterruptResult, TurnResult
from turnkeeper.vocabulary import Reason, TurnState

NO_WORKER = ServiceUnavailableError("No worker answered in time.")
WAIT = 5.0  # seconds until a test gives up; what it waits for takes milliseconds
SUBJECT = Subject("shop", "t1", RUN, "k1")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same steps, a hundred times faster."""
    for name in ("QUICK_LOOK", "SLOW_LOOK", "DOUBLE_PRESS"):
        monkeypatch.setattr(following, name, getattr(following, name) / 100)


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
    assert case.view.told[-1].startswith(f"detached {leaving}")


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


async def test_a_kept_prompt_is_found_by_its_key_once_a_worker_is_up() -> None:
    case = Case(ScriptedKeeper(threads_seen=[NO_WORKER, thread(recent=()), thread(recent=(SETTLED,))]))
    case.keeper.over.set()
    async with case.following(Subject("shop", None, None, "k1", kept=True)) as task:
        ending = await task
    assert isinstance(ending, Settled)
    assert ending.subject.run_id == RUN


async def test_a_kept_prompt_that_the_thread_refuses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "TAKING", 0.0)
    case = Case(ScriptedKeeper(threads_seen=[thread(recent=(), last_error="no such model")]))
    async with case.following(Subject("shop", None, None, "k1", kept=True)) as task:
        with pytest.raises(RefusedError, match="no such model"):
            await task


async def test_a_turn_that_ended_before_it_began_is_an_error_of_the_turn() -> None:
    lost = record(run_id=None, state=TurnState.ERROR, reason=Reason.TURNKEEPER_ERROR, completed_at=SETTLED.completed_at)
    case = Case(ScriptedKeeper(threads_seen=[thread(recent=(lost,))]))
    async with case.following(Subject("shop", "t1", None, "k1")) as task:
        with pytest.raises(TurnkeeperError, match="before it began: turnkeeper_error"):
            await task


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
