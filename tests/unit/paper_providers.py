"""Two providers on paper: one says anything, one has a real run inside, whose truth a test can compare with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import cycle
from typing import Final

from tests.unit.scripted_turn import SILENT, T0, seconds, seen
from turnkeeper.observations import (
    AbortReport,
    Accepted,
    NotSent,
    NotThere,
    Observation,
    PerhapsSent,
    Replied,
    ReplyReport,
    Seen,
    SessionBusy,
    SessionOpened,
    SessionReport,
    SubmitReport,
    Unreachable,
)
from turnkeeper.vocabulary import Standing

FINAL_GAP: Final = timedelta(milliseconds=350)
"""A run is idle this long before its last word is stored: the worst that was measured."""


@dataclass
class Arbitrary:
    """Says what its lists say, round and round."""

    sessions: Sequence[SessionReport]
    submits: Sequence[SubmitReport]
    looks: Sequence[Observation]
    abort_sent: bool = True
    replies: Sequence[ReplyReport] = (Replied(),)

    def __post_init__(self) -> None:
        self._replies: Iterator[ReplyReport] = cycle(self.replies)
        self._sessions: Iterator[SessionReport] = cycle(self.sessions)
        self._submits: Iterator[SubmitReport] = cycle(self.submits)
        self._looks: Iterator[Observation] = cycle(self.looks)

    def open(self, *, resume: bool, at: datetime) -> SessionReport:  # noqa: ARG002 (the protocol's)
        """Says "missing" only of a session that was to be resumed, as the contract has it."""
        report = next(self._sessions)
        return report if resume or report.kind != "missing" else SessionOpened(session_id="ses_2", created=True)

    def submit(self, at: datetime, *, anew: bool) -> SubmitReport:  # noqa: ARG002 (the protocol's)
        return next(self._submits)

    def look(self, at: datetime) -> Observation:  # noqa: ARG002 (the protocol's)
        return next(self._looks)

    def abort(self, at: datetime) -> AbortReport:  # noqa: ARG002 (the protocol's)
        return AbortReport(sent=self.abort_sent)

    def reply(self, at: datetime) -> ReplyReport:  # noqa: ARG002 (the protocol's)
        return next(self._replies)


@dataclass(frozen=True)
class Truth:
    """What really happens, in seconds."""

    reaches_after: float = 0.0  # from the submit until the post is there: the submit looks first
    stored_after: float = 0.1  # from then until the prompt can be read
    started_after: float = 0.1  # from then until it runs
    runs_for: float = 3.0  # from then until its last word is stored
    verdict: Standing = Standing.SUCCEEDED  # HALTED: the run dies and nobody ever says so
    progress_every: float = 20.0
    waits: tuple[float, float] | None = None  # from and until, of the run: a person is asked
    lost_posts: int = 0  # this many posts vanish on the way
    dropped_posts: int = 0  # so many that follow are stored and never run
    answers: bool = True  # the submit sees the prompt stored (it then lasts until that)
    away: tuple[tuple[float, float], ...] = ()  # from and until, after T0: no answer to anything

    def is_away(self, at: datetime) -> bool:
        return any(seconds(begin) <= at - T0 < seconds(end) for begin, end in self.away)


@dataclass
class Truthful:
    """A provider that runs the prompt once for every post it gets and does not drop, and tells the truth about it."""

    truth: Truth = field(default_factory=Truth)
    posts: int = 0
    stored_at: datetime | None = None
    aborted_at: datetime | None = None

    @property
    def runs_from(self) -> datetime | None:
        if self.stored_at is None or self.posts <= self.truth.lost_posts + self.truth.dropped_posts:
            return None
        return self.stored_at + seconds(self.truth.started_after)

    @property
    def over_at(self) -> datetime | None:
        """When the run's last word can be read."""
        if self.aborted_at is not None:
            return self.aborted_at + FINAL_GAP
        return None if self.runs_from is None else self.runs_from + seconds(self.truth.runs_for)

    def open(self, *, resume: bool, at: datetime) -> SessionReport:
        if self.truth.is_away(at):
            return Unreachable(failure=SILENT)
        return SessionOpened(session_id="ses_1", created=not resume)

    def submit(self, at: datetime, *, anew: bool) -> SubmitReport:
        """Look first, as the activity does, so that only a prompt that is not there is posted.

        Nor is one that runs or ran taken out: a second run of it would be somebody else's work.
        """
        if self.truth.is_away(at):
            return NotSent(failure=SILENT)
        if anew and self.runs_at(at):
            return SessionBusy(session_id="ses_1")
        if anew and (self.runs_from is None or at < self.runs_from):
            self.stored_at = None
        if self.stored_at is not None and at >= self.stored_at:
            return Accepted()
        self.posts += 1
        if self.posts <= self.truth.lost_posts:
            return PerhapsSent(detail="no answer")
        self.stored_at = at + seconds(self.truth.reaches_after + self.truth.stored_after)
        return PerhapsSent(taken=True) if self.truth.answers else PerhapsSent(detail="no answer")

    def look(self, at: datetime) -> Observation:
        if self.truth.is_away(at):
            return Unreachable(failure=SILENT)
        if self.stored_at is None or at < self.stored_at:
            return NotThere(what="prompt")
        return self._standing(at)

    def abort(self, at: datetime) -> AbortReport:
        """Says `true` and does nothing while the run is not registered, like the real one."""
        if self.truth.is_away(at):
            return AbortReport(sent=False, failure=SILENT)
        if self.aborted_at is None and self.runs_at(at):
            self.aborted_at = at
        return AbortReport(sent=True)

    def reply(self, at: datetime) -> ReplyReport:
        """Its requests are known by the standing alone: nobody has anything to answer."""
        raise AssertionError(f"an answer at {at} to nothing")

    def runs_at(self, at: datetime) -> bool:
        """Is an agent at work?"""
        begin, end = self.runs_from, self.over_at
        if begin is None or end is None or self.aborted_at is not None:
            return False
        return begin <= at < end - FINAL_GAP

    def ever_runs_after(self, at: datetime) -> bool:
        """Is an agent at work then, or will one be?"""
        begin = self.runs_from
        return self.runs_at(at) or (begin is not None and begin > at)

    def _standing(self, at: datetime) -> Seen:
        begin, end = self.runs_from, self.over_at
        if begin is None or end is None or at < begin:
            return seen(Standing.UNSTARTED)
        step = f"step {int((at - begin) / seconds(self.truth.progress_every))}"
        if self.runs_at(at):
            asked = self.truth.waits
            waits = asked is not None and seconds(asked[0]) <= at - begin < seconds(asked[1])
            return seen(Standing.WAITING if waits else Standing.RUNNING, step)
        if at < end:
            return seen(Standing.HALTED, "idle before final")
        return seen(Standing.ABORTED if self.aborted_at is not None else self.truth.verdict, "final")
