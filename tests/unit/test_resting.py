"""Stopping a session in which no turn of ours runs: what each answer of the provider means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper import resting
from turnkeeper.findings import SessionFound, SessionReading
from turnkeeper.observations import AbortReport, Failure, Refused, SessionMissing, Unreachable
from turnkeeper.thread_messages import ThreadState
from turnkeeper.vocabulary import Fault, SessionStatus

DONE = AbortReport(sent=True)
AWAY = Failure(code="away", fault=Fault.PROVIDER, message="It does not answer.")
FOUND = SessionFound(session_id="ses_1", directory="/srv/shop", busy=False)
BUSY = FOUND.model_copy(update={"busy": True})
READY = ThreadState(status=SessionStatus.READY, session_id="ses_1", last_error="earlier")


@pytest.mark.parametrize(
    ("report", "reading", "answer"),
    [
        (DONE, FOUND, resting.Answer()),
        (DONE, SessionMissing(), resting.Answer()),
        (DONE, BUSY, resting.Answer(resting.OUT_OF_TIME, again=True)),
        (DONE, Unreachable(failure=AWAY), resting.Answer(AWAY.message)),
        (DONE, Refused(failure=AWAY), resting.Answer(AWAY.message)),
        (AbortReport(sent=True, failure=AWAY), None, resting.Answer(AWAY.message)),
    ],
)
def test_only_a_reading_that_shows_nothing_at_work_confirms(
    report: AbortReport, reading: SessionReading | None, answer: resting.Answer
) -> None:
    assert resting.judged(report, reading) == answer


statuses = st.sampled_from(sorted(set(SessionStatus) - {SessionStatus.STARTING, SessionStatus.RUNNING}))


@given(statuses, st.none() | st.text())
def test_the_session_is_stopped_or_as_before_with_the_reason_and_always_kept(
    status: SessionStatus, why: str | None
) -> None:
    before = READY.model_copy(update={"status": status})
    after = resting.settled(before, why)
    assert after.session_id == before.session_id
    if why is None:
        assert (after.status, after.last_error) == (SessionStatus.STOPPED, None)
    else:
        assert after.status is status
        assert after.last_error is not None
