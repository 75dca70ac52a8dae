"""The judge finds what must never happen: each failing is made up once, and each truthful end is let pass."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import pytest

from tests.chaos.cases import Case, Kind, one_run
from tests.chaos.judge import ABORTED, Damage, Failing, Verdict, judge
from tests.chaos.witness import Reply, Truth
from turnkeeper.findings import AdoptResult
from turnkeeper.messages import AnswerResult, Evidence, InterruptResult, Outcome, TurnRecord, TurnResult
from turnkeeper.outcomes import SETTLEMENTS
from turnkeeper.vocabulary import AnswerState, EvidenceKind, Reason, SessionStatus

BEGAN: Final = 1_000_000.0
ENDED: Final = BEGAN + 3
NO_DAMAGE: Final = Damage(over_at=BEGAN)
ANSWERED: Final = Truth((BEGAN,), (Reply(BEGAN + 1, ENDED, "stop", None),), effects=1)
UNFINISHED: Final = replace(ANSWERED, replies=(Reply(BEGAN + 1, None, None, None),))
NEVER_RUN: Final = replace(ANSWERED, replies=(), effects=0)
DIED: Final = replace(NO_DAMAGE, deaths=(BEGAN + 2,))
FAILED: Final = replace(NO_DAMAGE, failed=frozenset({"ses_1"}))
LOST: Final = Reason.PROVIDER_LOST_TURN
WAS_ABORTED: Final = replace(ANSWERED, replies=(Reply(BEGAN + 1, ENDED, None, ABORTED),), effects=0)


def told(reason: Reason, kind: Kind = Kind.TOOL, *, at: float = ENDED + 0.2, confirmed: bool | None = None) -> Case:
    evidence = Evidence(kind=EvidenceKind.SNAPSHOT, at=datetime.fromtimestamp(at, UTC), detail="told")
    outcome = Outcome(
        state=SETTLEMENTS[reason][0],
        reason=reason,
        evidence=evidence,
        started_at=datetime.fromtimestamp(BEGAN, UTC),
        completed_at=evidence.at,
        confirmed=confirmed,
    )
    result = TurnResult(thread_id="t", turn_id="turn-1", session_id="ses_1", client_message_id="msg_1", outcome=outcome)
    return Case(kind, "word", "t", BEGAN, result=result)


def stopped(reason: Reason, *, confirmed: bool | None = True, at: float = ENDED + 0.2) -> Case:
    case = told(reason, Kind.STOPPED_IN_TOOL, at=at, confirmed=confirmed)
    case.stop_asked_at = BEGAN + 2
    case.stop_taken_at = at
    case.stop = InterruptResult(turn_id="turn-1", was_running=True)
    return case


def answered(state: AnswerState, reason: Reason = Reason.FINISHED) -> Case:
    case = told(reason, Kind.PERMISSION)
    case.answer_given = True
    case.answer = AnswerResult(turn_id="turn-1", request_id="per_1", state=state)
    return case


def given_into(first: Case, reason: Reason, turn_id: str = "turn-1") -> Case:
    """A prompt that steers."""
    case = told(reason, Kind.STEERS)
    case.into = first
    assert case.result is not None
    case.result = case.result.model_copy(update={"turn_id": turn_id})
    return case


def removed(*, so_told: bool = True) -> Case:
    return Case(Kind.REMOVED, "word", "t", BEGAN, removed=so_told)


def adopted(reason: Reason | None, *, turn_id: str | None = "turn-1", at: float = BEGAN + 1) -> Case:
    case = told(reason or Reason.FINISHED, Kind.ADOPTED)
    if reason is None:
        case.result = None
    case.adopted_at = at
    case.adopted = AdoptResult(
        thread_id="t", session_id="ses_1", directory="/", status=SessionStatus.RUNNING, turn_id=turn_id
    )
    return case


def continued(reason: Reason, *follow_ups: Reason) -> Case:
    case = told(reason, Kind.CONTINUED)
    case.follow_ups = tuple(
        TurnRecord(
            turn_id=f"t{number}",
            idempotency_key="k",
            state=SETTLEMENTS[end][0],
            prompt_start="",
            reason=end,
            completed_at=datetime.fromtimestamp(ENDED, UTC),
        )
        for number, end in enumerate(follow_ups)
    )
    return case


def names(verdict: Verdict) -> set[Failing]:
    return {name for name, _ in verdict.failings}


@pytest.mark.parametrize(
    ("case", "truth", "damage"),
    [
        (told(Reason.FINISHED), ANSWERED, NO_DAMAGE),
        (told(Reason.PROVIDER_LOST_TURN), UNFINISHED, replace(NO_DAMAGE, deaths=(BEGAN + 2,))),
        (told(Reason.PROMPT_DROPPED), NEVER_RUN, replace(NO_DAMAGE, deaths=(BEGAN + 1, BEGAN + 2, BEGAN + 3))),
        (adopted(Reason.PROMPT_DROPPED), NEVER_RUN, DIED),
        (told(Reason.PROVIDER_ERROR), replace(ANSWERED, replies=(Reply(BEGAN, ENDED, None, "APIError"),)), NO_DAMAGE),
        (stopped(Reason.STOPPED), WAS_ABORTED, NO_DAMAGE),
        (stopped(Reason.STOPPED), Truth(), NO_DAMAGE),
        (stopped(Reason.STOPPED, confirmed=False), ANSWERED, NO_DAMAGE),
        (stopped(Reason.FINISHED), ANSWERED, NO_DAMAGE),
        (answered(AnswerState.DELIVERED), ANSWERED, NO_DAMAGE),
        (told(Reason.PROVIDER_ERROR), NEVER_RUN, FAILED),
        (told(Reason.PROMPT_DROPPED), NEVER_RUN, FAILED),
        (removed(), Truth(), NO_DAMAGE),
        (told(Reason.FINISHED, Kind.REMOVED), ANSWERED, NO_DAMAGE),  # it had begun
        (adopted(Reason.FINISHED), ANSWERED, NO_DAMAGE),
        (adopted(None, turn_id=None, at=ENDED), ANSWERED, NO_DAMAGE),
        (adopted(None, turn_id=None), UNFINISHED, replace(NO_DAMAGE, deaths=(BEGAN + 0.5,))),
        (continued(Reason.FINISHED), ANSWERED, NO_DAMAGE),
        (continued(Reason.PROVIDER_LOST_TURN, Reason.FINISHED), replace(UNFINISHED, others=1), DIED),
        (continued(LOST, LOST, Reason.FINISHED), replace(UNFINISHED, others=2), DIED),
        (continued(LOST, LOST, LOST), replace(UNFINISHED, others=2), DIED),
    ],
)
def test_truthful_ends_pass(case: Case, truth: Truth, damage: Damage) -> None:
    assert judge(case, truth, damage).failings == ()


@pytest.mark.parametrize(
    ("case", "truth", "damage", "failing"),
    [
        (told(Reason.FINISHED), UNFINISHED, NO_DAMAGE, Failing.WRONG),
        (told(Reason.FINISHED), WAS_ABORTED, NO_DAMAGE, Failing.WRONG),
        (told(Reason.PROVIDER_LOST_TURN), UNFINISHED, NO_DAMAGE, Failing.WRONG),  # nothing died
        (told(Reason.PROMPT_DROPPED), NEVER_RUN, NO_DAMAGE, Failing.WRONG),
        (told(Reason.PROMPT_DROPPED), NEVER_RUN, DIED, Failing.WRONG),  # once is no reason not to give it again
        (told(Reason.PROVIDER_LOST_TURN), ANSWERED, replace(NO_DAMAGE, deaths=(BEGAN,)), Failing.WRONG),
        (told(Reason.STOPPED), WAS_ABORTED, NO_DAMAGE, Failing.WRONG),  # nobody asked for it
        (told(Reason.PROVIDER_ERROR), replace(ANSWERED, replies=()), NO_DAMAGE, Failing.WRONG),  # it never said so
        (stopped(Reason.STOPPED), ANSWERED, NO_DAMAGE, Failing.WRONG),
        (stopped(Reason.STOPPED, at=ENDED - 2), WAS_ABORTED, NO_DAMAGE, Failing.WRONG),  # it worked on
        (told(Reason.PROMPT_REJECTED), Truth(), NO_DAMAGE, Failing.LOST),
        (told(Reason.FINISHED), replace(ANSWERED, stored_at=(BEGAN, BEGAN + 1)), NO_DAMAGE, Failing.DOUBLED),
        (told(Reason.FINISHED), replace(ANSWERED, effects=2), NO_DAMAGE, Failing.DOUBLED),
        (told(Reason.FINISHED), replace(ANSWERED, replies=ANSWERED.replies * 2), NO_DAMAGE, Failing.DOUBLED),
        (answered(AnswerState.STALE), ANSWERED, NO_DAMAGE, Failing.ANSWER_LOST),
        (answered(AnswerState.DELIVERED), replace(ANSWERED, effects=0), NO_DAMAGE, Failing.ANSWER_LOST),
        (told(Reason.FINISHED), replace(ANSWERED, effects=0), NO_DAMAGE, Failing.LOST),
        (told(Reason.FINISHED), replace(ANSWERED, at_work=True), NO_DAMAGE, Failing.WRONG),
        (
            stopped(Reason.STOPPED),
            replace(WAS_ABORTED, children=(Reply(BEGAN, ENDED + 5, "stop", None),)),
            NO_DAMAGE,
            Failing.WRONG,
        ),
        (
            stopped(Reason.FINISHED),
            replace(ANSWERED, replies=(Reply(BEGAN, ENDED + 45, "stop", None),)),
            NO_DAMAGE,
            Failing.STOP_LOST,
        ),
        (removed(), ANSWERED, NO_DAMAGE, Failing.WRONG),
        (removed(so_told=False), Truth(), NO_DAMAGE, Failing.UNSETTLED),
        (adopted(None), ANSWERED, NO_DAMAGE, Failing.UNSETTLED),
        (adopted(None, turn_id=None), ANSWERED, NO_DAMAGE, Failing.UNSETTLED),  # it ran, and nobody followed it
        (adopted(Reason.FINISHED), replace(ANSWERED, stored_at=(BEGAN, BEGAN)), NO_DAMAGE, Failing.DOUBLED),
        (continued(LOST), UNFINISHED, DIED, Failing.LOST),
        (continued(LOST, Reason.FINISHED), UNFINISHED, DIED, Failing.LOST),
        (continued(LOST, Reason.FINISHED), replace(UNFINISHED, others=2), DIED, Failing.DOUBLED),
        (continued(Reason.FINISHED, Reason.FINISHED), replace(ANSWERED, others=1), NO_DAMAGE, Failing.DOUBLED),
    ],
)
def test_what_must_not_be_is_found(case: Case, truth: Truth, damage: Damage, failing: Failing) -> None:
    assert failing in names(judge(case, truth, damage))


def test_a_steer_that_one_turn_answered_is_judged_by_that_turns_last_word() -> None:
    first = told(Reason.FINISHED, Kind.SILENT_TOOL)
    steer = given_into(first, Reason.FINISHED)
    in_tool = replace(ANSWERED, replies=(Reply(BEGAN + 0.5, BEGAN + 1, "tool-calls", None),))
    assert one_run(first, steer)
    assert judge(first, in_tool, NO_DAMAGE, ANSWERED).failings == ()
    assert judge(steer, ANSWERED, NO_DAMAGE, in_tool).failings == ()
    assert names(judge(first, in_tool, NO_DAMAGE)) == {Failing.WRONG}, "without the steer it never answered"


def test_a_steer_that_nothing_answered_is_found() -> None:
    first = told(Reason.FINISHED, Kind.WORDS)
    steer = given_into(first, Reason.FINISHED)
    assert Failing.LOST in names(judge(steer, NEVER_RUN, NO_DAMAGE, ANSWERED))
    assert Failing.LOST in names(judge(steer, Truth(), NO_DAMAGE, ANSWERED))
    assert Failing.DOUBLED in names(judge(steer, replace(ANSWERED, effects=2), NO_DAMAGE, ANSWERED))


def test_a_steer_that_became_a_turn_of_its_own_is_judged_alone() -> None:
    first = told(Reason.FINISHED, Kind.WORDS)
    steer = given_into(first, Reason.FINISHED, "turn-2")
    assert not one_run(first, steer)
    assert judge(steer, ANSWERED, NO_DAMAGE).failings == ()


def test_a_turn_without_an_end_is_found() -> None:
    assert names(judge(Case(Kind.WORDS, "word", "t", BEGAN), ANSWERED, NO_DAMAGE)) == {Failing.UNSETTLED}


def test_a_stop_that_nobody_took_is_found() -> None:
    case = stopped(Reason.FINISHED)
    case.stop_taken_at = None
    assert names(judge(case, ANSWERED, NO_DAMAGE)) == {Failing.STOP_LOST}


def test_recovery_counts_from_the_truth_or_the_end_of_the_fault() -> None:
    case = told(Reason.FINISHED, at=ENDED + 4)
    assert judge(case, ANSWERED, NO_DAMAGE).late == pytest.approx(4)
    assert judge(case, ANSWERED, Damage(over_at=ENDED + 3)).late == pytest.approx(1)
    assert judge(case, ANSWERED, Damage(over_at=ENDED + 9)).late == 0
