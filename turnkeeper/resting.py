"""Stopping a session in which no turn of ours runs. Pure; the thread performs it.

Somebody else's run may work there, or one whose stop was never confirmed; a person who says stop means it. So the
provider is asked to abort all the same, and then whether anything runs: as long as something does, again, until
`REST_STOP_GRACE` is over. Whatever is not confirmed keeps the thread as it was and says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, assert_never

from turnkeeper import threads
from turnkeeper.errors import bounded
from turnkeeper.findings import SessionFound, SessionReading
from turnkeeper.observations import AbortReport, Refused, SessionMissing, Unreachable
from turnkeeper.thread_messages import ThreadState

REST_STOP_GRACE: Final = timedelta(seconds=12)
"""From the stop to its answer, as a turn's `interrupt_grace` by default: callers wait 30 s for either."""

ABORT_AGAIN: Final = timedelta(seconds=1)
"""Before the next abort while something runs: one that came before its run was registered did nothing."""

OUT_OF_TIME: Final = f"The provider did not confirm within {REST_STOP_GRACE.total_seconds():g} s that nothing runs."


@dataclass(frozen=True, slots=True)
class Answer:
    """What the provider made of a stop. `why`: it is not known to be done; `again`: something still works there."""

    why: str | None = None
    again: bool = False


def judged(report: AbortReport, reading: SessionReading | None) -> Answer:
    """What an abort and the reading after it mean. `reading`: None when there was none."""
    if report.failure is not None:
        return Answer(report.failure.message)
    match reading:
        case SessionFound(busy=True):
            return Answer(OUT_OF_TIME, again=True)
        case SessionFound() | SessionMissing():
            return Answer()
        case Unreachable(failure=failure) | Refused(failure=failure):
            return Answer(failure.message)
        case None:
            return Answer(OUT_OF_TIME)
        case _:
            assert_never(reading)


def settled(state: ThreadState, why: str | None) -> ThreadState:
    """The thread after it: stopped, or as before with the reason why it is not known to be."""
    if why is None:
        return threads.session_stopped(state)
    return threads.check(state.model_copy(update={"last_error": bounded(why)}))
