"""The reference model: what each outcome must be, from the truth and from what people did. Not the product's rules.

It is kept as plain as it can be: a table from the last word that OpenCode stored about a prompt to the ends that may
be told to its person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from tests.chaos.cases import MARKED, Case, Kind
from tests.chaos.witness import FINAL, Reply, Truth
from turnkeeper.vocabulary import AnswerState, Reason

ABORTED: Final = "MessageAbortedError"

STILL_WORKING: Final = 1.0
"""Seconds that OpenCode may go on storing after the settlement: the last word follows its idle by 0.35 s at worst."""

NEVER_STOPPED: Final = 30.0
"""Seconds after a stop was taken. What is stopped in these runs works for 45, so its own end then shows no stop."""

MAX_FOLLOW_UPS: Final = 2
"""In a row, by the product's default."""

MAX_SENT: Final = 3
"""Times that a prompt is given to OpenCode, by the product's documents, before it is told as dropped."""

TOLD: Final = frozenset({Reason.PROVIDER_ERROR, Reason.PROMPT_REJECTED, Reason.PROMPT_DROPPED})
"""Of a run that OpenCode said had failed, and stored nothing of. Who missed that word knows that it never ran."""


class Failing(StrEnum):
    """What must never happen."""

    UNSETTLED = "unsettled"
    WRONG = "wrong"
    LOST = "lost"
    DOUBLED = "doubled"
    STOP_LOST = "stop lost"
    ANSWER_LOST = "answer lost"


@dataclass(frozen=True)
class Verdict:
    """`late`: seconds from the truth (or the end of the fault, whichever was later) to the settlement."""

    failings: tuple[tuple[Failing, str], ...]
    late: float | None


@dataclass(frozen=True)
class Damage:
    """What the fault did. Times in seconds of the epoch.

    `over_at`: its end; `deaths` of OpenCode, which was back at `back_at`; `refuses`: how else a turn may truthfully end
    that OpenCode did not answer; `failed`: sessions that OpenCode told an error of.
    """

    over_at: float
    deaths: Sequence[float] = ()
    back_at: float = 0.0
    refuses: frozenset[Reason] = frozenset()
    failed: frozenset[str] = frozenset()

    def ends(self, case: Case) -> frozenset[Reason]:
        """How this turn may truthfully end if OpenCode stored no answer."""
        session = case.result.session_id if case.result is not None else None
        return self.refuses | TOLD if session in self.failed else self.refuses


def judge(case: Case, truth: Truth, damage: Damage, beside: Truth | None = None) -> Verdict:
    """Everything that must not be about this prompt. `beside`: of another prompt that the same run answered."""
    own, run = truth, truth if beside is None else _together(truth, beside)
    failings = [*_delivery(case, own, damage), *_said(case, run, damage), *_follow_ups(case, own)]
    late = None
    if case.result is not None:
        known_at = max(_known_at(case, run, damage.back_at), damage.over_at, case.adopted_at or 0.0)
        late = max(0.0, case.result.outcome.completed_at.timestamp() - known_at)
    return Verdict(tuple(failings), late)


def _together(one: Truth, other: Truth) -> Truth:
    replies = sorted((*one.replies, *other.replies), key=lambda reply: reply.created_at)
    return replace(one, replies=tuple(replies), at_work=one.at_work or other.at_work)


def _delivery(case: Case, truth: Truth, damage: Damage) -> list[tuple[Failing, str]]:
    failings = []
    reason = case.result.outcome.reason if case.result is not None else None
    if len(truth.stored_at) > 1:
        failings.append((Failing.DOUBLED, f"stored {len(truth.stored_at)} times"))
    if truth.effects > 1 or truth.answered > 1:
        failings.append((Failing.DOUBLED, f"{truth.effects} effects, {truth.answered} answers"))
    if _was_removed(case):
        if truth.stored_at or truth.effects:
            failings.append((Failing.WRONG, "it was taken out of the queue, and reached OpenCode"))
        return failings
    if not truth.stored_at and case.stop_asked_at is None and reason not in damage.ends(case):
        failings.append((Failing.LOST, f"never reached OpenCode; {case.complaint}"))
    if reason is Reason.FINISHED and case.kind in MARKED and not truth.effects:
        failings.append((Failing.LOST, "it finished without its effect"))
    if reason is Reason.FINISHED and case.into is not None and not truth.answered:
        failings.append((Failing.LOST, "a steer that nothing answered"))
    return failings


def _was_removed(case: Case) -> bool:
    return case.kind is Kind.REMOVED and case.removed


def _said(case: Case, truth: Truth, damage: Damage) -> list[tuple[Failing, str]]:
    if case.result is None:
        settled = _was_removed(case) or _ended_before_adoption(case, truth, damage)
        return [] if settled else [(Failing.UNSETTLED, case.complaint or "no result in time")]
    outcome, failings = case.result.outcome, []
    allowed = _allowed(case, truth, damage)
    if case.stop_asked_at is not None and outcome.confirmed is False:
        allowed.add(Reason.STOPPED)  # it says itself that the run may go on
    why = outcome.failure.message if outcome.failure is not None else outcome.evidence.detail
    told = f"{outcome.reason} ({why}; confirmed: {outcome.confirmed}), truth {truth.last}, effects {truth.effects}"
    if outcome.reason not in allowed:
        failings.append((Failing.WRONG, f"{told}; allowed: {', '.join(sorted(allowed)) or 'nothing'}"))
    if outcome.confirmed is not False and outcome.reason not in damage.refuses:
        failings += _worked_on(truth, outcome.completed_at.timestamp(), told)
    if case.stop_asked_at is not None:
        failings += _stop(case, truth)
    if case.answer_given:
        failings += _answer(case, truth, damage.deaths)
    return failings


def _worked_on(truth: Truth, settled_at: float, told: str) -> list[tuple[Failing, str]]:
    """Nothing of a turn may go on after its end, sub-agents included."""
    last = max((_last_word(reply) for reply in (*truth.replies, *truth.children)), default=0.0)
    if last > settled_at + STILL_WORKING:
        return [(Failing.WRONG, f"worked on for {last - settled_at:.1f} s after its end: {told}")]
    if truth.at_work and not truth.others:
        return [(Failing.WRONG, f"OpenCode is still at work on it: {told}")]
    return []


def _last_word(reply: Reply) -> float:
    return reply.completed_at or reply.created_at


def _stop(case: Case, truth: Truth) -> list[tuple[Failing, str]]:
    if case.stop_taken_at is None:
        return [] if case.stop_refused else [(Failing.STOP_LOST, case.complaint)]
    if truth.last is not None and truth.last.finish in FINAL:
        ended = _last_word(truth.last)
        if ended > case.stop_taken_at + NEVER_STOPPED:
            return [(Failing.STOP_LOST, f"worked to its end, {ended - case.stop_taken_at:.0f} s after the stop")]
    return []


def _ended_before_adoption(case: Case, truth: Truth, damage: Damage) -> bool:
    """Nothing ran when the session was taken over, so there was no turn to follow."""
    if case.adopted is None or case.adopted_at is None or case.adopted.turn_id is not None:
        return False
    last = truth.last
    died = any(case.started_at <= death <= case.adopted_at for death in damage.deaths)
    over = last is not None and last.completed_at is not None and (last.finish in FINAL or last.error is not None)
    return died or (over and last is not None and _last_word(last) <= case.adopted_at)


def _follow_ups(case: Case, truth: Truth) -> list[tuple[Failing, str]]:
    """A lost run is gone on with, once for each loss, and nothing else is."""
    if case.kind is not Kind.CONTINUED or case.result is None:
        return []
    reasons = [case.result.outcome.reason, *(turn.reason for turn in case.follow_ups)]
    lost = min(sum(reason is Reason.PROVIDER_LOST_TURN for reason in reasons), MAX_FOLLOW_UPS)
    told = f"{lost} losses, {len(case.follow_ups)} follow-ups, {truth.others} stored; {case.complaint}"
    if any(turn.completed_at is None for turn in case.follow_ups):
        return [(Failing.UNSETTLED, told)]
    if len(case.follow_ups) < lost or truth.others < sum(reason is Reason.FINISHED for reason in reasons[1:]):
        return [(Failing.LOST, told)]
    if len(case.follow_ups) > lost or truth.others > len(case.follow_ups):
        return [(Failing.DOUBLED, told)]
    return []


def _allowed(case: Case, truth: Truth, damage: Damage) -> set[Reason]:
    """The ends that may be told, from OpenCode's last word."""
    stopped = {Reason.STOPPED} if case.stop_asked_at is not None else set[Reason]()
    last = truth.last
    if not truth.stored_at:
        return stopped | damage.ends(case)
    died = any(death >= truth.stored_at[0] for death in damage.deaths)
    lost = {Reason.PROVIDER_LOST_TURN} if died else set[Reason]()
    if last is None:
        # What died before its first word did nothing yet: it is to be run, unless somebody else gave it to OpenCode.
        given_up = case.kind is Kind.ADOPTED or len(damage.deaths) >= MAX_SENT
        return stopped | lost | damage.ends(case) | ({Reason.PROMPT_DROPPED} if died and given_up else set())
    unfinished = last.error is None and (last.completed_at is None or last.finish is None)
    if unfinished:
        return stopped | lost | damage.ends(case)
    if last.error == ABORTED:
        return stopped
    if last.error is not None:
        return {Reason.PROVIDER_ERROR}
    if last.finish in FINAL:
        return {Reason.FINISHED}
    # Ended after a tool: a person said no, the run died between two calls, or a stop came there.
    refused = {Reason.REFUSED} if case.kind is Kind.REJECTED or case.stop_asked_at is not None else set[Reason]()
    return stopped | lost | refused | damage.ends(case)


def _answer(case: Case, truth: Truth, deaths: Sequence[float]) -> list[tuple[Failing, str]]:
    """An answer has its effect, unless OpenCode died with the question."""
    if any(death >= case.started_at for death in deaths):
        return []
    if case.answer is None:
        return [(Failing.ANSWER_LOST, case.complaint)]
    if case.answer.state is not AnswerState.DELIVERED:
        return [(Failing.ANSWER_LOST, f"{case.answer.state}: {case.answer.failure}")]
    wanted = 0 if case.kind is Kind.REJECTED else 1
    if truth.effects != wanted:
        return [(Failing.ANSWER_LOST, f"{truth.effects} effects after the answer")]
    return []


def _known_at(case: Case, truth: Truth, back_at: float) -> float:
    """When the end could be known."""
    last = truth.last
    if case.stop_asked_at is not None and (last is None or last.error == ABORTED or last.completed_at is None):
        return case.stop_asked_at
    if last is None or last.completed_at is None or (last.finish not in FINAL and last.error is None):
        return max(back_at, last.completed_at or 0.0 if last else 0.0)
    return last.completed_at
