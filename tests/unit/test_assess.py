"""The assessment against recorded traffic: right at the end of every case, and never settled before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import groupby, pairwise
from typing import Final

import pytest

from tests.unit.recordings import load, states, v1_cases
from turnkeeper.limits import TurnLimits
from turnkeeper.observations import NotThere, Seen
from turnkeeper.opencode.assess import Snapshot, assess
from turnkeeper.opencode.wire import StatusEntry
from turnkeeper.vocabulary import Standing

TEXT_LIMIT: Final = 1000
UNSTARTED, HALTED = Standing.UNSTARTED, Standing.HALTED
SUCCEEDED, TRUNCATED, FAILED = Standing.SUCCEEDED, Standing.TRUNCATED, Standing.FAILED
ABORTED, REFUSED, ABSORBED = Standing.ABORTED, Standing.REFUSED, Standing.ABSORBED
CONCLUSIVE: Final = frozenset({SUCCEEDED, TRUNCATED, FAILED, ABORTED, REFUSED, ABSORBED})
NOT_THERE: Final = "not there"

FINAL: Final[dict[str, list[tuple[Standing | str, str]]]] = {
    # case: for each prompt of the client, its standing in the final lists and words of the facts behind it
    "abort_at_once": [(ABORTED, "error=MessageAbortedError")],
    "abort_before_first_token": [(ABORTED, "error=MessageAbortedError")],
    "abort_idle_and_twice": [(SUCCEEDED, "finish=stop")],
    "abort_in_tool": [(ABORTED, "error=MessageAbortedError")],
    "abort_lost_cold": [(SUCCEEDED, "finish=stop")],
    "abort_mid_stream": [(ABORTED, "error=MessageAbortedError")],
    "autocompact_after_stop": [(SUCCEEDED, "3 assistant messages")],
    "bad_agent": [(NOT_THERE, "")],
    "bad_model": [(UNSTARTED, "0 assistant messages")],
    "cold_first_turn": [(SUCCEEDED, "finish=stop")],
    "context_overflow": [(SUCCEEDED, "3 assistant messages")],
    "empty_output": [(SUCCEEDED, "finish=stop")],
    "error_http401": [(FAILED, "error=APIError")],
    "error_http429_retry_after": [(SUCCEEDED, "finish=stop")],
    "error_http500_forever": [(FAILED, "error=APIError")],
    "error_http500_then_ok": [(SUCCEEDED, "finish=stop")],
    "error_malformed_sse": [(FAILED, "error=UnknownError")],
    "error_stream_error_chunk": [(FAILED, "error=UnknownError")],
    "finish_length": [(TRUNCATED, "finish=length")],
    "kill9_stream": [(HALTED, "unfinished, finish=none")],
    "kill9_tool": [(HALTED, "open tools: bash")],
    "no_reply": [(UNSTARTED, "0 assistant messages")],
    "normal": [(SUCCEEDED, "finish=stop")],
    "permission_aborted": [(ABORTED, "error=MessageAbortedError")],
    "permission_once": [(SUCCEEDED, "finish=stop")],
    "permission_rejected_with_message": [(SUCCEEDED, "finish=stop")],
    "question_aborted": [(ABORTED, "error=MessageAbortedError")],
    "question_answered": [(SUCCEEDED, "finish=stop")],
    "question_rejected": [(REFUSED, "finish=tool-calls")],
    "queue_text": [
        (SUCCEEDED, "finish=stop; a later prompt is answered"),
        (ABSORBED, "0 assistant messages; a later prompt is answered"),
        (SUCCEEDED, "finish=stop"),
    ],
    "queue_then_abort": [(ABORTED, "a later prompt is stored"), (UNSTARTED, "0 assistant messages")],
    "queue_then_error": [(FAILED, "error=UnknownError; a later prompt is stored"), (UNSTARTED, "0 assistant messages")],
    "reasoning": [(SUCCEEDED, "finish=stop")],
    "repost_after_abort": [(SUCCEEDED, "2 assistant messages")],
    "repost_after_done": [(SUCCEEDED, "1 assistant message;")],
    "repost_no_part_id": [(SUCCEEDED, "1 assistant message;")],
    "repost_while_busy": [(SUCCEEDED, "1 assistant message;")],
    "shell": [(SUCCEEDED, "finish=none")],
    "step_limit_ignored": [(ABORTED, "7 assistant messages")],
    "subagent": [(SUCCEEDED, "finish=stop")],
    "subagent_abort_child": [(SUCCEEDED, "finish=stop")],
    "subagent_permission": [(SUCCEEDED, "finish=stop")],
    "summarize": [(SUCCEEDED, "finish=stop; a later prompt is answered"), (SUCCEEDED, "finish=stop")],
    "tool_bash": [(SUCCEEDED, "2 assistant messages")],
    "tool_failures": [(SUCCEEDED, "5 assistant messages")],
    "tool_parallel": [(SUCCEEDED, "2 assistant messages")],
    "tool_write_read": [(SUCCEEDED, "3 assistant messages")],
}
UNREADABLE: Final = {"delete_session_mid_stream": None, "json_schema_poison": SUCCEEDED}
"""Lists that answer 404 and 400 in the end, and what the events before that lead to."""

TRULY_SETTLED_TWICE: Final = {("repost_after_abort", ABORTED)}
"""The client of this recording posted an aborted prompt again, and it ran again: both settlements were true."""


def standing(snapshot: Snapshot, prompt: str) -> Standing | str:
    seen = assess(snapshot, prompt, TEXT_LIMIT)
    return seen.standing if isinstance(seen, Seen) else NOT_THERE


def test_every_recorded_case_has_an_expectation() -> None:
    assert set(v1_cases()) == FINAL.keys() | UNREADABLE.keys()


@pytest.mark.parametrize("case", sorted(FINAL))
def test_final_state_is_assessed_right(case: str) -> None:
    recorded = load(case)
    assert recorded.listed
    assert len(recorded.prompts) == len(FINAL[case])
    for prompt, (expected, facts) in zip(recorded.prompts, FINAL[case], strict=True):
        found = assess(recorded.final, prompt, TEXT_LIMIT)
        if isinstance(found, NotThere):
            assert expected == NOT_THERE
            continue
        assert found.standing == expected, found.detail
        assert facts in found.detail
        assert prompt in found.detail


def expected_end(case: str, number: int) -> Standing | str | None:
    return FINAL[case][number][0] if case in FINAL else UNREADABLE[case]


@dataclass(frozen=True)
class Moment:
    """A stretch of a recording in which every reading gave the same standing."""

    standing: Standing | str
    begins: float
    ends: float  # when the next began; for the last one, when it began


def moments(case: str, prompt: str) -> list[Moment]:
    readings = ((at, standing(snapshot, prompt)) for at, snapshot in states(case))
    begins = [(next(group)[0], key) for key, group in groupby(readings, key=lambda reading: reading[1])]
    ends = [at for at, _ in begins[1:]] + [at for at, _ in begins[-1:]]
    return [Moment(key, at, end) for (at, key), end in zip(begins, ends, strict=True)]


def all_moments() -> Iterator[tuple[str, int, list[Moment]]]:
    for case in v1_cases():
        for number, prompt in enumerate(load(case).prompts):
            yield case, number, moments(case, prompt)


def test_no_prefix_of_any_recording_settles_early() -> None:
    for case, number, stretches in all_moments():
        final = expected_end(case, number)
        early = [
            stretch
            for stretch in stretches
            if stretch.standing in CONCLUSIVE
            and stretch.standing != final
            and (case, stretch.standing) not in TRULY_SETTLED_TWICE
        ]
        assert early == [], f"{case}, prompt {number}"


def test_a_settled_turn_stays_settled() -> None:
    """Except where the client itself set the session to work again: a repeated post, a compaction by hand."""
    reopened = set()
    for case, _, stretches in all_moments():
        settled = [m.standing in CONCLUSIVE for m in stretches]
        if any(before and not after for before, after in pairwise(settled)):
            reopened.add(case)
    assert reopened == {"repost_after_abort", "repost_after_done", "repost_no_part_id", "summarize"}


def test_every_recording_ends_in_its_final_standing() -> None:
    # A killed server says nothing more: its recordings end in RUNNING, and only the next reading tells.
    killed = {"kill9_stream", "kill9_tool"}
    for case, number, stretches in all_moments():
        if case in FINAL and case not in killed and stretches:
            assert stretches[-1].standing == FINAL[case][number][0], f"{case}, prompt {number}"


def test_suspicion_passes_before_the_core_believes_it() -> None:
    """HALTED and UNSTARTED in the middle of a recording are real gaps between two writes; two readings cover them."""
    limits = TurnLimits()
    budget = {HALTED: limits.confirm_delay, UNSTARTED: limits.start_budget}
    for case, number, stretches in all_moments():
        for stretch, following in pairwise(stretches):
            if stretch.standing in budget:
                lasted = timedelta(seconds=following.begins - stretch.begins)
                assert lasted < budget[Standing(stretch.standing)], f"{case}, prompt {number}: {stretch}"


def test_idle_before_the_last_word_is_the_known_suspicion() -> None:
    # On errors and aborts the session is idle before its message is final: the gap that must never settle a turn.
    gapped = {case for case, _, stretches in all_moments() if any(m.standing is HALTED for m in stretches)}
    assert gapped == {
        "abort_before_first_token",
        "abort_in_tool",
        "abort_mid_stream",
        "error_http401",
        "error_http500_forever",
        "error_malformed_sse",
        "error_stream_error_chunk",
        "permission_aborted",
        "question_aborted",
        "queue_then_abort",
        "queue_then_error",
        "repost_after_abort",
    }


def test_a_status_read_before_the_messages_never_settles_early() -> None:
    """Two calls are no instant: a status up to a whole recording older than the messages must not conclude wrongly."""
    early = set()
    for case in v1_cases():
        history = [snapshot for _, snapshot in states(case)]
        for number, prompt in enumerate(load(case).prompts):
            final = expected_end(case, number)
            for later, snapshot in enumerate(history):
                for status in _distinct(history[:later]):
                    found = standing(replace(snapshot, status=status), prompt)
                    if found in CONCLUSIVE and found != final and (case, found) not in TRULY_SETTLED_TWICE:
                        early.add((case, number, found))
    assert early == set()


def _distinct(history: Iterable[Snapshot]) -> list[StatusEntry | None]:
    kinds: dict[str | None, StatusEntry | None] = {}
    for snapshot in history:
        kinds.setdefault(snapshot.status.type if snapshot.status else None, snapshot.status)
    return list(kinds.values())
