"""The worker's log about an event stream: which, why, since when, what goes on meanwhile, and when it is back."""

from __future__ import annotations

import logging

import pytest

from activities.stream_log import StreamLog
from turnkeeper.errors import DeliveryUnknownError, ProviderCredentialsError, ProviderUnreachableError

CLOSED = DeliveryUnknownError("The event stream: endpoint build-box closed it.", code="stream_closed").failure()
AWAY = ProviderUnreachableError("Nobody listens.", next_step="Start it.").failure()
LOCKED_OUT = ProviderCredentialsError("The password is refused.", next_step="Check password_file.").failure()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [f"{record.levelname} {record.getMessage()}" for record in caplog.records]


def test_a_loss_says_which_endpoint_why_since_when_and_what_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = StreamLog("build-box", clock=iter((100.0, 106.1)).__next__)
    log.attached()
    log.lost(CLOSED)
    log.attached()
    attached, lost, back = said(caplog)
    assert attached == "INFO endpoint build-box: event stream attached"
    assert lost.startswith("WARNING endpoint build-box: event stream lost, since 20")
    assert "UTC: The event stream: endpoint build-box closed it. The turns that run look by themselves" in lost
    assert back == "INFO endpoint build-box: event stream back after 6.1 s; running turns look now"


def test_a_reason_is_said_once_and_a_new_one_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = StreamLog("build-box")
    for failure in (AWAY, AWAY, AWAY, LOCKED_OUT, LOCKED_OUT):
        log.lost(failure)
    first, second = said(caplog)
    assert "event stream cannot be attached, since" in first
    assert "Nobody listens. Start it." in first
    assert "event stream away since" in second
    assert second.endswith("UTC, now: The password is refused. Check password_file.")


def test_the_second_loss_of_the_same_kind_is_said_again(caplog: pytest.LogCaptureFixture) -> None:
    log = StreamLog("build-box")
    for _ in range(2):
        log.lost(AWAY)
        log.attached()
    assert len([line for line in said(caplog) if line.startswith("WARNING")]) == 2
