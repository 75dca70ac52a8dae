"""The suite finds what it is there for: each rule broken on purpose is seen by the rows that are about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from tests.conformance import suite
from tests.conformance.rows import Row, RowsError, load_rows
from tests.conformance.suite import Result, run_rows
from turnkeeper import delivery, lifecycle, outcomes, queueing, readings, replies, stopping, threads
from turnkeeper.observations import NotThere, SessionMissing
from turnkeeper.opencode import sessions
from turnkeeper.turn import Delivery
from turnkeeper.vocabulary import AnswerState, EventKind, EvidenceKind, Reason, SessionStatus, TurnState
from workflows.thread_ending import ThreadEnding

Mutation = Callable[[pytest.MonkeyPatch], None]


def an_idle_event_ends_the_turn(patch: pytest.MonkeyPatch) -> None:
    heard = lifecycle._event  # noqa: SLF001 - a rule that is to be broken

    def event(turn: Any, said: Any, now: Any) -> Any:  # noqa: ANN401 - as the rule has them
        if said.kind is EventKind.IDLE:
            return outcomes.with_verdict(turn, Reason.FINISHED, EvidenceKind.SNAPSHOT, "idle", now)
        return heard(turn, said, now)

    patch.setattr(lifecycle, "_event", event)


def unknown_is_empty(patch: pytest.MonkeyPatch) -> None:
    gone = lambda turn, _, now: readings.observed(turn, NotThere(what="session"), now)  # noqa: E731 - one line of evil
    patch.setattr(readings, "unreachable", gone)


def a_lost_run_leaves_the_session_ready(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(outcomes.SETTLEMENTS, Reason.PROVIDER_LOST_TURN, (TurnState.INTERRUPTED, SessionStatus.READY))


def an_abort_is_an_error(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(outcomes.SETTLEMENTS, Reason.ABORTED_ELSEWHERE, (TurnState.ERROR, SessionStatus.ERROR))


def an_unconfirmed_stop_leaves_the_session_ready(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(outcomes, "UNCONFIRMED_STOP", SessionStatus.READY)


def an_idle_session_is_stopped_without_a_word_to_its_provider(patch: pytest.MonkeyPatch) -> None:
    async def abort(*_: object) -> None:
        """Nothing is asked."""

    patch.setattr(ThreadEnding, "_abort_at_rest", abort)


def a_stop_does_not_keep_the_prompt_back(patch: pytest.MonkeyPatch) -> None:
    ends = stopping.decide_stopping
    started = delivery._submit_started  # noqa: SLF001 - as above

    def decide(turn: Any, stop: Any, now: Any) -> Any:  # noqa: ANN401 - as above
        return lifecycle._decide_delivery(turn, now) if turn.delivery is Delivery.UNSENT else ends(turn, stop, now)  # noqa: SLF001

    patch.setattr(lifecycle, "decide_stopping", decide)
    patch.setattr(
        delivery, "_submit_started", lambda turn, now: replace(started(replace(turn, stop=None), now), stop=turn.stop)
    )


def a_stop_that_fails_ends_the_turn(patch: pytest.MonkeyPatch) -> None:
    asked = stopping._stop_asked  # noqa: SLF001 - as above
    patch.setattr(stopping, "_stop_asked", lambda turn, stop: asked(turn, replace(stop, keep=False)))


def a_repeated_key_is_a_new_prompt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(threads, "knows", lambda *_: False)
    patch.setattr(threads, "_known", lambda *_: None)


def an_error_stays(patch: pytest.MonkeyPatch) -> None:
    begin = threads.begin_next

    def begin_next(state: Any, now: Any) -> Any:  # noqa: ANN401 - as above
        begun = begin(state, now)
        return begun and (begun[0].model_copy(update={"last_error": state.last_error}), begun[1])

    patch.setattr(threads, "begin_next", begin_next)


def nothing_ever_stalls(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lifecycle, "_stalled_at", lambda _: None)


def any_trouble_is_a_missing_session(patch: pytest.MonkeyPatch) -> None:
    async def resume(*_: object) -> SessionMissing:
        return SessionMissing()

    patch.setattr(sessions, "_resume", resume)


def an_answer_is_not_sent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(replies, "due_reply", lambda *_: None)


def an_answer_that_comes_too_late_is_a_failure(patch: pytest.MonkeyPatch) -> None:
    ended = replies._ended  # noqa: SLF001 - as above

    def end(turn: Any, asked: Any, state: Any, now: Any) -> Any:  # noqa: ANN401 - as above
        return ended(turn, asked, AnswerState.REFUSED if state is AnswerState.STALE else state, now)

    patch.setattr(replies, "_ended", end)


def a_steer_waits_for_the_turn(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(queueing, "may_steer", lambda *_: False)


def nothing_is_done(patch: pytest.MonkeyPatch) -> None:
    async def perform(*_: object) -> None:
        """The row's `when`, left out."""

    patch.setattr(suite, "perform", perform)


@pytest.mark.parametrize(
    ("mutate", "rows"),
    [
        (an_idle_event_ends_the_turn, {"ing-024", "oc-028", "p26-003"}),
        (unknown_is_empty, {"p26-007", "oc-044"}),
        (a_lost_run_leaves_the_session_ready, {"p26-006", "oc-021"}),
        (an_abort_is_an_error, {"p26-001", "oc-053"}),
        (an_unconfirmed_stop_leaves_the_session_ready, {"int-002"}),
        (an_idle_session_is_stopped_without_a_word_to_its_provider, {"stp-001"}),
        (a_stop_does_not_keep_the_prompt_back, {"int-009"}),
        (a_stop_that_fails_ends_the_turn, {"p26-008"}),
        (a_repeated_key_is_a_new_prompt, {"rct-018"}),
        (an_error_stays, {"rct-004"}),
        (nothing_ever_stalls, {"wd-001", "wd-002"}),
        (nothing_is_done, {"ing-003", "ing-044", "ing-063", "p26-001", "p26-004", "p26-006", "oc-018", "oc-060"}),
        (any_trouble_is_a_missing_session, {"oc-002", "oc-048"}),
    ],
)
async def test_a_broken_rule_breaks_its_rows(
    skipping_server: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch, mutate: Mutation, rows: set[str]
) -> None:
    monkeypatch.setattr(suite, "PATIENCE", 1.0)
    mutate(monkeypatch)
    verdicts = await run_rows(skipping_server, [row for row in load_rows() if row.id in rows])
    assert {name: verdict.result for name, verdict in verdicts.items()} == dict.fromkeys(rows, Result.BROKEN)


def is_about_answers(row: Row) -> bool:
    return row.area in {"reactor.approval", "projection.approvals", "projection.user_input"}


def is_about_steering(row: Row) -> bool:
    return row.area.endswith(".steer")


@pytest.mark.parametrize(
    ("mutate", "among", "rows"),
    [
        (an_answer_is_not_sent, is_about_answers, {"apr-002", "apr-003"}),
        (an_answer_that_comes_too_late_is_a_failure, is_about_answers, {"apr-003"}),
        (a_steer_waits_for_the_turn, is_about_steering, {"rct-009"}),
    ],
)
async def test_a_broken_rule_breaks_its_rows_and_no_others_about_the_same(
    skipping_server: WorkflowEnvironment,
    monkeypatch: pytest.MonkeyPatch,
    mutate: Mutation,
    among: Callable[[Row], bool],
    rows: set[str],
) -> None:
    monkeypatch.setattr(suite, "PATIENCE", 1.0)
    mutate(monkeypatch)
    verdicts = await run_rows(skipping_server, [row for row in load_rows() if among(row)])
    assert {name for name, verdict in verdicts.items() if verdict.result is Result.BROKEN} == rows


async def test_an_overruled_row_is_broken_when_the_other_one_is(
    skipping_server: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "PATIENCE", 1.0)
    chosen = [row for row in load_rows() if row.id in {"stp-002", "p26-008"}]
    [_, ruler] = sorted(chosen, key=lambda row: row.id == "p26-008")
    alone = await run_rows(skipping_server, [row for row in chosen if row is not ruler])
    assert alone["stp-002"].complaints == ("p26-008, which overrules it, is not run",)
    bent = replace(ruler, then={"session": {"lastError": "something else"}})
    both = await run_rows(skipping_server, [bent if row is ruler else row for row in chosen])
    assert both["stp-002"].complaints == ("p26-008, which overrules it, is broken",)


async def test_a_word_without_a_meaning_is_named(skipping_server: WorkflowEnvironment) -> None:
    row = next(row for row in load_rows() if row.id == "ing-003")
    [verdict] = (await run_rows(skipping_server, [replace(row, then={"sesion": {}})])).values()
    assert verdict.result is Result.BROKEN
    assert "'sesion'" in verdict.complaints[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- {id: a, source: s, area: a, upstream: test, given: [], when: [], thn: {}}", "row a has no 'then'"),
        (
            "- {id: a, source: s, area: a, upstream: test, given: [], when: [], then: {}, thn: {}}",
            "row a: row: 'thn' is not in the vocabulary",
        ),
        (
            "- {id: a, source: s, area: a, upstream: test, given: [], when: [{evnt: {type: x}}], then: {}}",
            "row a: when: 'evnt' is not in the vocabulary",
        ),
        ("- {id: a, source: s, area: a, upstream: test, given: [x], when: [], then: {}}", "row a is not of the shape"),
        ("- x", "row number 1 is not of the shape"),
        ("x", "not a list of rows"),
        ("[", "cannot be read"),
    ],
)
def test_a_file_of_another_shape_is_refused_with_a_sentence(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "rows.yaml"
    path.write_text(text)
    with pytest.raises(RowsError, match=says):
        load_rows(path)
