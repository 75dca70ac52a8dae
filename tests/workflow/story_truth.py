"""What must hold of a thread after every step of a story, and at its end. The provider knows the truth."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from hypothesis import event

from tests.e2e.waiting import until
from tests.workflow.model_provider import LIVE, Fate, Joined, Run, RunState
from tests.workflow.story import World
from turnkeeper.continuation import CONTINUE_PROMPT
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import TurnRecord
from turnkeeper.thread_messages import ThreadSnapshot
from turnkeeper.vocabulary import Reason, SessionStatus, TurnState

BUSY: Final = frozenset({SessionStatus.STARTING, SessionStatus.RUNNING})
MAX_CONTINUES: Final = TurnLimits().max_continues


async def check(world: World) -> None:
    """After every step."""
    for run in world.provider.runs:
        assert len(set(run.answers)) == len(run.answers), f"a request of {run.prompt} was answered twice"
        assert run.posts == 1, f"{run.prompt} was sent {run.posts} times"
        assert not run.beside, f"{run.prompt} was sent beside {run.beside}"
    if world.exists:
        thread = await world.snapshot()
        check_shown(thread)
        for turn in thread.recent:
            runs = runs_of(world, turn) if turn.reason is Reason.FINISHED else []
            assert not runs or runs[-1].state not in LIVE, f"{turn.turn_id} is called finished, and runs"


def check_shown(thread: ThreadSnapshot) -> None:
    """What a person sees is one consistent picture."""
    assert (thread.status in BUSY) == (thread.active is not None), thread
    active = [thread.active] if thread.active else []
    known = [*thread.recent, *active, *thread.steering, *thread.queued]
    assert len({turn.turn_id for turn in known}) == len(known), thread
    assert not (thread.steering and thread.active is None), thread
    assert not (thread.held and not thread.queued), thread
    for turn in thread.recent:
        assert turn.completed_at is not None, turn
        assert turn.reason is not None, turn
    for turn in [*active, *thread.steering, *thread.queued]:
        assert (turn.completed_at, turn.reason) == (None, None), turn


async def check_end(world: World) -> None:
    """Once all trouble is over and every run ended: everything settled, and truly."""
    world.provider.away = False

    async def settled() -> ThreadSnapshot | None:
        world.provider.end_all(RunState.FINISHED)
        if not world.exists:
            return None
        thread = await world.snapshot()
        if thread.held:
            await world.resume()
        return thread

    def over(thread: ThreadSnapshot | None) -> bool:
        at_rest = thread is None or not (thread.active or thread.queued or thread.steering)
        return at_rest and all(task.done() for task in world.commands)

    thread = await until(settled, over)
    await asyncio.gather(*world.commands)
    if thread is None:
        return
    thread = await world.snapshot()
    check_prompts(world, thread)
    check_follow_ups(world, thread)
    for turn in thread.recent:
        if turn.steered_into is None:
            check_truth(world, turn)
        else:
            check_steered(world, turn, thread)


def check_prompts(world: World, thread: ThreadSnapshot) -> None:
    """Every prompt that was given is answered once or handed back."""
    own = [turn.idempotency_key for turn in thread.recent if turn.continues is None and not turn.adopted]
    assert sorted(own) == sorted(prompt for prompt in world.given if prompt != "refused")
    adopted = [turn for turn in thread.recent if turn.adopted]
    assert len(adopted) <= 1
    taken_back = {turn.idempotency_key for turn in thread.recent if turn.reason is Reason.REMOVED}
    assert taken_back == set(world.removed)
    joined = [joined for run in world.provider.runs for joined in run.joined]
    done = Counter([run.prompt for run in world.provider.runs if run.prompt != CONTINUE_PROMPT])
    done.update(one.prompt for one in joined if one.fate is Fate.TAKEN_UP)
    twice = [prompt for prompt, times in done.items() if times > 1]
    assert not twice, f"done twice: {twice}"
    assert not set(world.removed) & set(done), "what was handed back is not done"


def check_follow_ups(world: World, thread: ThreadSnapshot) -> None:
    """Only of what was lost, at most so often in a row, never after a person's stop, and one run each."""
    turns = {turn.turn_id: turn for turn in thread.recent}
    for turn in thread.recent:
        chain = 0
        lost = turn
        while lost.continues is not None:
            chain += 1
            assert lost.continues not in world.stopped, f"{lost.turn_id} goes on with what a person stopped"
            lost = turns[lost.continues]
            assert lost.reason is Reason.PROVIDER_LOST_TURN, lost
        assert chain <= MAX_CONTINUES, turn
    sent = [run for run in world.provider.runs if run.prompt == CONTINUE_PROMPT]
    assert len({run.by for run in sent}) == len(sent), "a follow-up was sent twice"


def runs_of(world: World, turn: TurnRecord) -> list[Run]:
    """Its own, and those of steers that reached it after that one's end; or else the run that its prompt went into."""
    own = [run for run in world.provider.runs if turn.run_id is not None and run.by == turn.run_id]
    if turn.adopted and not own:  # it was told the end, and never looked: nobody knows the run by its turn
        own = [run for run in world.provider.runs if run.by is None]
    into = [run for run in world.provider.runs for one in did(run)[1:] if one.prompt == turn.idempotency_key]
    return own or into


def check_truth(world: World, turn: TurnRecord) -> None:
    """The turn ended as its latest run did."""
    runs = runs_of(world, turn)
    run = runs[-1] if runs else None
    truth = run.state if run is not None else None
    event(f"{turn.reason}, really {truth or 'never sent'}")
    if runs and not turn.adopted and turn.continues is None:
        assert turn.idempotency_key in {one.prompt for one in did(runs[0])}
    match turn.reason:
        case Reason.FINISHED:
            assert (turn.state, truth) == (TurnState.COMPLETED, RunState.FINISHED)
        case Reason.PROVIDER_ERROR:
            assert (turn.state, truth) == (TurnState.ERROR, RunState.FAILED)
        case Reason.PROVIDER_LOST_TURN:
            assert (turn.state, truth) == (TurnState.INTERRUPTED, RunState.DEAD)
        case Reason.SESSION_GONE:
            assert run is None or run.session_id not in world.provider.sessions
        case Reason.STOPPED:
            assert turn.state is TurnState.INTERRUPTED
            assert not turn.confirmed or truth not in LIVE, f"confirmed, but {turn.turn_id} is {truth}"
        case Reason.REMOVED | Reason.SESSION_BUSY:
            assert run is None, "nothing was to be sent"
        case Reason.PROVIDER_UNREACHABLE:
            assert turn.state is TurnState.ERROR
        case _:
            raise AssertionError(f"no step leads to {turn.reason}: {turn}, really {truth}")


def check_steered(world: World, turn: TurnRecord, thread: ThreadSnapshot) -> None:
    """It was done by the run that it went into, or by one of its own in the same turn, and ended as that turn did."""
    into = next(other for other in thread.recent if other.turn_id == turn.steered_into)
    assert (turn.state, turn.reason, turn.run_id) == (into.state, into.reason, into.run_id)
    taken = [one for run in runs_of(world, into) for one in did(run) if one.prompt == turn.idempotency_key]
    event(f"steered into a turn that ended {into.reason}")
    assert taken, f"{turn.turn_id} went into {into.turn_id}, but was never taken up"


def did(run: Run) -> list[Joined]:
    """The prompts that a run worked on."""
    own = Joined(run.prompt, run.message_id, Fate.TAKEN_UP)
    return [own, *(joined for joined in run.joined if joined.fate is Fate.TAKEN_UP)]
