"""The reference model: what each outcome must be, from the truth and from what people did. Not the product's rules.

It is kept as plain as it can be: a table from the last word that OpenCode stored about a prompt to the ends that may
be told to its person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tests.chaos.stories import Case, Kind
from tests.chaos.witness import FINAL, Truth
from turnkeeper.vocabulary import AnswerState, Reason

ABORTED: Final = "MessageAbortedError"

STILL_WORKING: Final = 1.0
"""Seconds that OpenCode may go on storing after the settlement: the last word follows its idle by 0.35 s at worst."""

TOLD: Final = frozenset({Reason.PROVIDER_ERROR, Reason.PROMPT_REJECTED})
"""Of a run that OpenCode said had failed, and stored nothing of."""


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


def judge(case: Case, truth: Truth, damage: Damage) -> Verdict:
    """Everything that must not be about this prompt."""
    failings = [*_delivery(case, truth, damage), *_said(case, truth, damage)]
    late = None
    if case.result is not None:
        known_at = max(_known_at(case, truth, damage.back_at), damage.over_at)
        late = max(0.0, case.result.outcome.completed_at.timestamp() - known_at)
    return Verdict(tuple(failings), late)


def _delivery(case: Case, truth: Truth, damage: Damage) -> list[tuple[Failing, str]]:
    failings = []
    if len(truth.stored_at) > 1:
        failings.append((Failing.DOUBLED, f"stored {len(truth.stored_at)} times"))
    if truth.effects > 1 or truth.answered > 1:
        failings.append((Failing.DOUBLED, f"{truth.effects} effects, {truth.answered} answers"))
    refused = case.result is not None and case.result.outcome.reason in damage.ends(case)
    if not truth.stored_at and case.stop_asked_at is None and not refused:
        failings.append((Failing.LOST, f"never reached OpenCode; {case.complaint}"))
    return failings


def _said(case: Case, truth: Truth, damage: Damage) -> list[tuple[Failing, str]]:
    if case.result is None:
        return [(Failing.UNSETTLED, case.complaint or "no result in time")]
    outcome, failings = case.result.outcome, []
    allowed = _allowed(case, truth, damage)
    if case.stop_asked_at is not None and outcome.confirmed is False:
        allowed.add(Reason.STOPPED)  # it says itself that the run may go on
    why = outcome.failure.message if outcome.failure is not None else outcome.evidence.detail
    told = f"{outcome.reason} ({why}; confirmed: {outcome.confirmed}), truth {truth.last}, effects {truth.effects}"
    if outcome.reason not in allowed:
        failings.append((Failing.WRONG, f"{told}; allowed: {', '.join(sorted(allowed)) or 'nothing'}"))
    settled_at = outcome.completed_at.timestamp()
    if outcome.confirmed is not False and truth.last is not None:
        ended = truth.last.completed_at or truth.last.created_at
        if ended > settled_at + STILL_WORKING:
            failings.append((Failing.WRONG, f"worked on for {ended - settled_at:.1f} s after its end: {told}"))
    if case.stop_asked_at is not None and case.stop is None:
        failings.append((Failing.STOP_LOST, case.complaint))
    if case.answer_given:
        failings += _answer(case, truth, damage.deaths)
    return failings


def _allowed(case: Case, truth: Truth, damage: Damage) -> set[Reason]:
    """The ends that may be told, from OpenCode's last word."""
    stopped = {Reason.STOPPED} if case.stop_asked_at is not None else set[Reason]()
    last = truth.last
    if not truth.stored_at:
        return stopped | damage.ends(case)
    died = any(death >= truth.stored_at[0] for death in damage.deaths)
    lost = {Reason.PROVIDER_LOST_TURN} if died else set[Reason]()
    if last is None:
        return stopped | lost | damage.ends(case) | ({Reason.PROMPT_DROPPED} if died else set())
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
