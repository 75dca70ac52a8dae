"""Changes of the workflows that turns in flight would not survive, each with a recording that shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import pytest
from temporalio import workflow
from temporalio.exceptions import ActivityError

import workflows.endpoint
import workflows.thread
import workflows.turn
from tests.replay.endings import ENDINGS, LONG, RECORDED
from turnkeeper import adoption, gaps, queueing, readings, replies, steering
from turnkeeper.lifecycle import decide
from turnkeeper.thread_messages import ThreadState
from turnkeeper.turn import Decision, GiveUp, Look, Settle, Turn
from turnkeeper.vocabulary import Wake
from workflows import calls
from workflows.endpoint import EndpointWorkflow
from workflows.thread import ThreadWorkflow
from workflows.turn import TurnWorkflow

Mutation = Callable[[pytest.MonkeyPatch], None]


def opens_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """An activity more."""
    open_once = TurnWorkflow._open_session  # noqa: SLF001 - a mutation of the inside

    async def open_session(self: TurnWorkflow, *, resume: bool, again: bool) -> None:
        await workflow.execute_activity("admit", "x", start_to_close_timeout=timedelta(seconds=1))
        await open_once(self, resume=resume, again=again)

    monkeypatch.setattr(TurnWorkflow, "_open_session", open_session)


def submits_by_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """An activity renamed."""
    monkeypatch.setattr(calls, "SUBMIT", calls.Call("send", calls.SUBMIT.result_type, calls.SUBMIT.limit))


def calls_nothing_locally(monkeypatch: pytest.MonkeyPatch) -> None:
    """Local calls made remote ones."""
    monkeypatch.setattr(TurnWorkflow, "_start_quick", TurnWorkflow._start)  # noqa: SLF001 - as above


def forgets_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command less."""
    monkeypatch.setattr(TurnWorkflow, "_show", lambda _: None)


def lets_people_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that are never given to the provider."""
    monkeypatch.setattr(replies, "due_reply", lambda *_: None)


def sends_what_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt that runs already, sent again."""
    monkeypatch.setattr(workflows.turn, "adopted", lambda turn, _: turn)


def pauses_before_each_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer more, in the thread."""
    start_at_once = ThreadWorkflow._start_child  # noqa: SLF001 - as above

    async def start_child(self: ThreadWorkflow, queued: object) -> object:
        await workflow.sleep(1)
        return await start_at_once(self, queued)  # type: ignore[arg-type]  # whatever it takes

    monkeypatch.setattr(ThreadWorkflow, "_start_child", start_child)


def forgets_what_it_adopts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is live, and that no turn follows."""
    monkeypatch.setattr(adoption, "_following", lambda state, *_: state)


def gives_up_what_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """No turn that goes on with a lost one."""
    monkeypatch.setattr(workflows.thread, "continued", lambda state, *_, **__: state)


def holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue goes on behind the back of whoever stopped its turn."""
    monkeypatch.setattr(queueing, "would_hold", lambda *_: False)


def stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal less, from the thread to its turn."""

    async def stop(*_: object) -> None:
        """Tells nobody."""

    monkeypatch.setattr(ThreadWorkflow, "_stop", stop)


def knows_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """What today's workflows do, also where an earlier one did not."""
    monkeypatch.setattr(workflow, "patched", lambda _: True)


def hands_nothing_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt for a running turn that its thread keeps to itself."""

    async def steer(*_: object) -> None:
        """Tells nobody."""

    monkeypatch.setattr(ThreadWorkflow, "_steer", steer)


def steers_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt that its turn was given and does not send."""
    monkeypatch.setattr(steering, "due", lambda *_: None)


def drops_what_was_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stored prompt that is not sent again."""
    monkeypatch.setattr(readings, "MAX_SUBMITS", 1)


def minds_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a provider had when it died is waited for like anything else."""
    monkeypatch.setattr(gaps, "cut_off", lambda *_: False)


def takes_no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at what the relay has told already."""
    monkeypatch.setattr(TurnWorkflow, "_asks_for", lambda *_: False)


def rests_after_a_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer in place of the endpoint's activity: one that a replay compares."""
    monkeypatch.setattr(workflow, "start_activity", lambda *_, **__: asyncio.ensure_future(workflow.sleep(1)))


def looks_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ending that wants another reading first."""
    looked: list[Turn] = []

    def decide_later(turn: Turn, now: datetime) -> Decision:
        decision = decide(turn, now)
        if isinstance(decision, Settle | GiveUp) and not looked:
            looked.append(turn)
            return Look(Wake.TIMER)
        return decision

    monkeypatch.setattr(workflows.turn, "decide", decide_later)


def removes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt that was taken back, and runs."""
    removed = queueing.removed

    def handed_back(state: ThreadState, turn_id: str, now: datetime) -> queueing.Removed:
        return queueing.Removed(state, removed(state, turn_id, now).turn)

    monkeypatch.setattr(queueing, "removed", handed_back)


def dies_with_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that does not survive a turn that was terminated."""
    monkeypatch.setattr(workflows.thread, "ChildWorkflowError", ActivityError)


def is_never_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that goes on in one history."""
    monkeypatch.setattr(ThreadWorkflow, "_full", lambda _: False)


def renews_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another constant: one relay more before the endpoint continues as new."""
    monkeypatch.setattr(workflows.endpoint, "RUNS_PER_HISTORY", workflows.endpoint.RUNS_PER_HISTORY + 1)


def never_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that waits for its relay's end, however long its history."""
    monkeypatch.setattr(EndpointWorkflow, "_full", lambda _: False)


MUTATIONS: Final[tuple[tuple[Mutation, str], ...]] = (
    (opens_twice, "turn_lost"),
    (submits_by_another_name, "turn_lost"),
    (calls_nothing_locally, "turn_normal"),
    (forgets_its_state, "turn_interrupted"),
    (lets_people_wait, "turn_asked"),
    (sends_what_was_sent, "turn_adopted"),
    (opens_twice, "turn_resumed"),
    (pauses_before_each_turn, "thread_normal"),
    (pauses_before_each_turn, "thread_lost"),
    (pauses_before_each_turn, "thread_continued_before"),
    (pauses_before_each_turn, "thread_continued_after"),
    (stops_nothing, "thread_interrupted"),
    (forgets_what_it_adopts, "thread_adopted"),
    (gives_up_what_is_lost, "thread_resumed"),
    (holds_nothing, "thread_edited"),
    (stops_nothing, "thread_edited"),
    (pauses_before_each_turn, "thread_stopped"),
    (knows_no_version, "thread_stopped_unasked"),
    (hands_nothing_on, "thread_steered"),
    (steers_nowhere, "turn_steered"),
    (drops_what_was_dropped, "turn_dropped"),
    (minds_no_gap, "turn_cut_off"),
    (takes_no_reading, "turn_told"),
    (rests_after_a_relay, "endpoint_relayed"),
    (never_gives_way, "endpoint_flapped_before"),
    (rests_after_a_relay, "endpoint_flapped_after"),
    *((looks_once_more, RECORDED[reason]) for reason in ENDINGS),
    (removes_nothing, "thread_removed"),
    (dies_with_its_turn, "thread_turnkeeper_error"),
    *((is_never_full, run) for run in LONG[:-1]),
    (stops_nothing, LONG[-1]),
    (renews_later, "endpoint_renewed_before"),
    (rests_after_a_relay, "endpoint_renewed_after"),
)
