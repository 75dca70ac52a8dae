"""Prompts that go into a running turn: when one may be sent, and what became of it. Pure; `lifecycle` calls it.

OpenCode merges or drops what it gets while it works: in a tool the next step answers it, in a text it is answered
after that, and an abort or an error leaves it stored and never run. So a steer is sent only when a fresh reading
shows the turn at work, and counts only once an answer stands under it or under a later one. A turn does not end by a
reading while one of its steers may still be on its way or about to run. What was not answered goes back to the thread.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, assert_never

from turnkeeper.gaps import unless_cut_off
from turnkeeper.observations import (
    Accepted,
    NotSent,
    NotThere,
    Observation,
    PerhapsSent,
    Refused,
    Seen,
    SessionBusy,
    SubmitReport,
)
from turnkeeper.turn import (
    SendSteer,
    Steer,
    SteerAsked,
    SteerReported,
    SteerStarted,
    SteerStep,
    Turn,
)
from turnkeeper.vocabulary import Standing, Wake

STEER_LOOK: Final = timedelta(seconds=1)
"""Between looks while a turn's end waits for what became of a steer."""


def learn(turn: Turn, fact: SteerAsked | SteerStarted | SteerReported, now: datetime) -> Turn:
    """The turn after a fact about one of its steers."""
    match fact:
        case SteerAsked(turn_id, message_id):
            if turn.stop is not None or any(steer.turn_id == turn_id for steer in turn.steers):
                return turn
            asked = Steer(turn_id, message_id, after_look=turn.looks)
            return replace(turn, steers=(*turn.steers, asked), wake=turn.wake or Wake.STEER)
        case SteerStarted(turn_id):
            return _changed(turn, turn_id, step=SteerStep.SENDING, sent_at=now)
        case SteerReported(turn_id, report):
            return _reported(turn, turn_id, report, now)
        case _:
            assert_never(fact)


def _reported(turn: Turn, turn_id: str, report: SubmitReport, now: datetime) -> Turn:
    match report:
        case Accepted() | PerhapsSent():
            due = now + STEER_LOOK
            turn = replace(turn, look_due=due if turn.look_due is None else min(turn.look_due, due))
            return _changed(turn, turn_id, step=SteerStep.SENT, sent_at=now)
        case NotSent() | SessionBusy():
            # Asked anew: what is known of the provider is older than its silence.
            turn = replace(turn, look_due=now + turn.limits.retry_interval)
            return _changed(turn, turn_id, step=SteerStep.ASKED, after_look=turn.looks)
        case Refused() | NotThere():
            return replace(turn, steers=tuple(steer for steer in turn.steers if steer.turn_id != turn_id))
        case _:
            assert_never(report)


def noticed(turn: Turn, observation: Observation, now: datetime) -> Turn:
    """Which steers a reading shows stored, and which of them answered."""
    if not turn.steers or not isinstance(observation, Seen):
        return turn
    steers = tuple(
        replace(
            steer,
            step=SteerStep.STORED,
            stored_at=steer.stored_at or now,
            answered=steer.message_id not in observation.unanswered,
        )
        if steer.message_id in observation.steered
        else steer
        for steer in turn.steers
    )
    turn = replace(turn, steers=steers)
    if turn.verdict is None or not any(_may_run(turn, steer, now) for steer in steers):
        return turn
    return replace(turn, verdict=None, look_due=now + STEER_LOOK)


def due(turn: Turn) -> SendSteer | None:
    """The steer to send now: the turn is seen at work, by a reading begun since it was asked for."""
    if any(steer.step in {SteerStep.SENDING, SteerStep.SENT} for steer in turn.steers):
        return None
    steer = next((steer for steer in turn.steers if steer.step is SteerStep.ASKED), None)
    if steer is None or turn.seen is None or turn.unreachable_since is not None or turn.suspicion is not None:
        return None
    fresh = turn.looks > steer.after_look
    at_work = turn.seen.standing in {Standing.RUNNING, Standing.WAITING}
    return SendSteer(steer.turn_id) if fresh and at_work else None


def answered(turn: Turn) -> tuple[str, ...]:
    """The steers that became a part of this turn."""
    return tuple(steer.turn_id for steer in turn.steers if steer.answered)


def sent_ids(turn: Turn) -> tuple[str, ...]:
    """Message ids of the steers that may be at the provider."""
    return tuple(steer.message_id for steer in turn.steers if steer.step is not SteerStep.ASKED)


def of_turn(turn: Turn, turn_id: str) -> Steer | None:
    """A steer by the id of its prompt's own turn."""
    return next((steer for steer in turn.steers if steer.turn_id == turn_id), None)


def _may_run(turn: Turn, steer: Steer, now: datetime) -> bool:
    """Perhaps on its way to the provider, or stored and perhaps about to run?"""
    limits, stop = turn.limits, turn.stop
    match steer.step:
        case SteerStep.ASKED:
            return False
        case SteerStep.SENDING:
            return True
        case SteerStep.SENT:
            budget = limits.stop_quiet if stop is not None else _patience(turn, steer, limits.accept_budget)
            return steer.sent_at is not None and now < steer.sent_at + budget
        case SteerStep.STORED:
            if steer.answered or steer.stored_at is None:
                return False
            if stop is not None:
                # What was stored before the abort is dropped with the run (measured on 1.18.33).
                return steer.stored_at >= stop.asked_at and now < steer.stored_at + limits.stop_quiet
            return now < steer.stored_at + _patience(turn, steer, limits.start_budget)
        case _:
            assert_never(steer.step)


def _patience(turn: Turn, steer: Steer, budget: timedelta) -> timedelta:
    """How long a steer that nobody heard of may still run. Turns that were begun long ago wait the whole time."""
    return unless_cut_off(turn, budget, steer.sent_at) if turn.gap_decides else budget


def _changed(turn: Turn, turn_id: str, **changes: object) -> Turn:
    steers = (replace(steer, **changes) if steer.turn_id == turn_id else steer for steer in turn.steers)  # type: ignore[arg-type]  # names of its fields
    return replace(turn, steers=tuple(steers))
