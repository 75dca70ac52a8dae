"""What the log says of an endpoint's event stream to whoever is woken at night: only changes, each with its reason."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from turnkeeper.observations import Failure

MEANWHILE: Final = "The turns that run look by themselves, later; the stream is tried again every few seconds."

log = logging.getLogger("turnkeeper.relay")


class StreamLog:
    """One endpoint's event stream, attached or lost. The endpoint's name is said, never its address."""

    def __init__(self, endpoint: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is known yet. `clock` gives seconds."""
        self._clock = clock
        self._endpoint = endpoint
        self._was_attached = False
        self._lost_at: float | None = None
        self._since = ""
        self._code: str | None = None

    def attached(self) -> None:
        """Events are read from now on."""
        if self._lost_at is None:
            log.info("endpoint %s: event stream attached", self._endpoint)
        else:
            away = self._clock() - self._lost_at
            back = "back" if self._was_attached else "attached"
            log.info("endpoint %s: event stream %s after %.1f s; running turns look now", self._endpoint, back, away)
        self._was_attached, self._lost_at, self._code = True, None, None

    def lost(self, failure: Failure) -> None:
        """A try failed, or the stream broke. Said once for each reason."""
        if failure.code == self._code:
            return
        self._code = failure.code
        why = f"{failure.message} {failure.next_step}".strip()
        if self._lost_at is not None:
            log.warning("endpoint %s: event stream away since %s UTC, now: %s", self._endpoint, self._since, why)
            return
        self._lost_at, self._since = self._clock(), f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
        what = "lost" if self._was_attached else "cannot be attached"
        log.warning(
            "endpoint %s: event stream %s, since %s UTC: %s %s", self._endpoint, what, self._since, why, MEANWHILE
        )
