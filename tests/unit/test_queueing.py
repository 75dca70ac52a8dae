"""The rules of a thread's queue: no prompt is lost, doubled, or overtaken unasked."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.scripted_turn import T0
from tests.unit.test_threads import ADMITTED, accept, begin, outcome, start
from turnkeeper import queueing, threads
from turnkeeper.errors import RefusedError
from turnkeeper.limits import MAX_QUEUED_CHARACTERS, MAX_QUEUED_TURNS
from turnkeeper.thread_messages import ThreadState
from turnkeeper.vocabulary import OnBusy, Reason

RUNNING = threads.started(begin(accept(ThreadState(), "one")), "run-1")
BEHIND = accept(RUNNING, "two", "three")


def order(state: ThreadState) -> list[str]:
    return [queued.turn_id for queued in state.queue]


def stopped(state: ThreadState) -> ThreadState:
    return threads.settled(queueing.stop_asked(state, "t1", None), outcome(Reason.STOPPED), "ses_1")


def test_only_a_stop_that_a_person_asked_for_holds_the_queue() -> None:
    for reason in Reason:
        after = threads.settled(BEHIND, outcome(reason), "ses_1")
        assert after.held is (reason is Reason.STOPPED), reason
    making_way = threads.settled(queueing.making_way(BEHIND), outcome(Reason.STOPPED), "ses_1")
    assert not making_way.held
    assert not threads.settled(RUNNING, outcome(Reason.STOPPED), "ses_1").held, "nothing waits"


def test_a_held_queue_begins_nothing_until_somebody_says_so() -> None:
    held = stopped(BEHIND)
    assert threads.begin_next(held, T0) is None
    assert order(begin(queueing.resumed(held))) == ["t3"]
    assert order(begin(queueing.put_first(held, "t3"))) == ["t2"]
    assert order(begin(accept(held, "four"))) == ["t3", "t4"]


def test_removing_the_last_one_leaves_nothing_to_hold() -> None:
    state = queueing.removed(queueing.removed(stopped(BEHIND), "t2", T0).state, "t3", T0).state
    assert not state.held
    assert threads.begin_next(threads.check(state), T0) is None


def test_what_was_removed_is_remembered_as_far_as_the_payload_has_room() -> None:
    half = "x" * (MAX_QUEUED_CHARACTERS // 2)
    state = threads.accept(RUNNING, start("two", half), ADMITTED, T0).state
    state = threads.accept(state, start("three", half), ADMITTED, T0).state
    state = queueing.removed(state, "t2", T0).state
    assert queueing.removed(state, "t2", T0).turn.start.prompt == half
    state = threads.accept(state, start("four", half), ADMITTED, T0).state
    with pytest.raises(RefusedError, match="over: interrupted, removed"):
        queueing.removed(state, "t2", T0)


def test_a_stop_is_known_again_by_its_key() -> None:
    state = queueing.stop_asked(BEHIND, "t1", "key")
    assert queueing.stopped_by(state, "key") == "t1"
    assert queueing.stopped_by(state, "other") is None
    assert queueing.stopped_by(queueing.stop_asked(BEHIND, "t1", None), None) is None


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [*("queue", "interrupt", "begin"), *("stop", "finish", "settle"), *("remove", "now", "resume", "again")]
        ),
        st.integers(0, 5),
    ),
    max_size=60,
)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(STEPS)
def test_nothing_is_lost_nothing_runs_twice_and_nobody_overtakes_unasked(story: list[tuple[str, int]]) -> None:
    state, line, ran, taken_out, keys = ThreadState(), list[str](), list[str](), list[str](), 0
    for step, which in story:
        waiting = order(state)
        chosen = waiting[which % len(waiting)] if waiting else None
        match step:
            case "queue" | "interrupt" if len(waiting) < MAX_QUEUED_TURNS:
                keys += 1
                policy = OnBusy.INTERRUPT if step == "interrupt" else OnBusy.QUEUE
                accepted = threads.accept(state, start(f"key {keys}", on_busy=policy), ADMITTED, T0)
                state = accepted.state
                line = [accepted.turn_id, *line] if step == "interrupt" else [*line, accepted.turn_id]
                state = queueing.making_way(state) if step == "interrupt" else state
            case "again" if keys:
                assert threads.accept(state, start(f"key {keys}"), ADMITTED, T0).state == state
            case "begin":
                begun = threads.begin_next(state, T0)
                if begun is not None:
                    state, first = begun
                    assert first.turn_id == line.pop(0)
                    ran.append(first.turn_id)
                else:
                    assert state.active is not None or state.held or not line
            case "stop" if state.active is not None:
                state = queueing.stop_asked(state, state.active.turn_id, None)
            case "settle" | "finish" if state.active is not None:
                reason = Reason.STOPPED if state.stopping and step == "settle" else Reason.FINISHED
                state = threads.settled(state, outcome(reason), "s")
            case "remove" if chosen is not None:
                removed = queueing.removed(state, chosen, T0)
                assert queueing.removed(removed.state, chosen, T0).turn == removed.turn
                state = removed.state
                line.remove(chosen)
                taken_out.append(chosen)
            case "now" if chosen is not None:
                state = queueing.making_way(queueing.put_first(state, chosen))
                line.remove(chosen)
                line.insert(0, chosen)
            case "resume":
                state = queueing.resumed(state)
            case _:
                pass
        threads.check(state)
        assert order(state) == line
    assert sorted([*ran, *line, *taken_out]) == sorted(f"t{number}" for number in range(1, keys + 1))
