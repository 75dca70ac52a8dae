"""How workflows call activities: names, time limits, and what a call that failed means.

No activity is retried by Temporal: each reports what happened as a value, and the core decides what to do about it.
What is caught here is only what an activity cannot report itself, because its worker died or nobody took the task.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, FailureError, TimeoutError, TimeoutType  # noqa: A004 - Temporal's own

with workflow.unsafe.imports_passed_through():
    from turnkeeper.errors import TurnkeeperError
    from turnkeeper.failures import to_application_error
    from turnkeeper.findings import AdoptReport, SessionReading
    from turnkeeper.observations import (
        AbortReport,
        Admission,
        Failure,
        NotSent,
        Observation,
        PerhapsSent,
        ReplyReport,
        SessionReport,
        SubmitReport,
        Unreachable,
    )
    from turnkeeper.place_messages import PlaceAnswer, TurnCount
    from turnkeeper.vocabulary import Fault

ONCE: Final = RetryPolicy(maximum_attempts=1)

HEARTBEAT_TIMEOUT: Final = timedelta(seconds=4)
"""A worker that died is noticed this long after its last heartbeat; activities beat every second."""

PICKUP_TIMEOUT: Final = timedelta(seconds=30)
"""A task that no worker of the endpoint takes for so long: as good as an endpoint that does not answer."""


@dataclass(frozen=True, slots=True)
class Call:
    """One kind of activity. `limit` only ends lost runs: activities bound themselves more tightly."""

    name: str
    result_type: Any
    limit: timedelta
    local_limit: timedelta | None = None
    """Longest run inside the workflow task, where no signal is heard; None: never there."""


LOCAL_LIMIT: Final = timedelta(seconds=2)
"""A stop that arrives during a local call waits for it: with a grace of 12 s it is still answered within 15 s."""

ADMIT: Final = Call("admit", Admission, timedelta(seconds=20))  # it bounds its own calls to the provider more tightly
ADOPT: Final = Call("adopt_session", AdoptReport, timedelta(seconds=25))  # two readings of the provider, 10 s each
OPEN_SESSION: Final = Call("open_session", SessionReport, timedelta(seconds=20), LOCAL_LIMIT)
SUBMIT: Final = Call("submit", SubmitReport, timedelta(seconds=15), LOCAL_LIMIT)
READ_SESSION: Final = Call("read_session", SessionReading, timedelta(seconds=12))
LOOK: Final = Call("look", Observation, timedelta(seconds=12), LOCAL_LIMIT)
ABORT: Final = Call("abort", AbortReport, timedelta(seconds=8))
ASK_FOR_PLACE: Final = Call("ask_for_place", PlaceAnswer, timedelta(seconds=15))
COUNT_TURNS: Final = Call("count_turns", TurnCount, timedelta(seconds=30))  # a page of a hundred turns takes 50 ms
REPLY: Final = Call("answer", ReplyReport, timedelta(seconds=8))


def start(call: Call, request: object, *, task_queue: str, summary: str) -> workflow.ActivityHandle[Any]:
    """Start the activity on a queue whose workers reach the endpoint."""
    return workflow.start_activity(
        call.name,
        request,
        task_queue=task_queue,
        result_type=call.result_type,
        start_to_close_timeout=call.limit,
        schedule_to_start_timeout=PICKUP_TIMEOUT,
        heartbeat_timeout=HEARTBEAT_TIMEOUT,
        retry_policy=ONCE,
        summary=summary,
    )


async def ask_at_door(
    check: Call, request: object, *, unanswered: TurnkeeperError, task_queue: str | None = None
) -> Any:  # noqa: ANN401 - as the call says
    """What a check at the door says, as a local activity: one marker of history. With `task_queue`, elsewhere.

    Raises:
        ApplicationError: the check's own refusal, or `unanswered` when it ended without one.

    """
    try:
        if task_queue is not None:
            return await start(check, request, task_queue=task_queue, summary=f"ask at {task_queue}")
        return await workflow.execute_local_activity(
            check.name, request, result_type=check.result_type, start_to_close_timeout=check.limit, retry_policy=ONCE
        )
    except FailureError as error:
        cause = _cause(error)
        raise (cause if isinstance(cause, ApplicationError) else to_application_error(unanswered)) from None


def _cause(error: FailureError) -> BaseException | None:
    """A failed local activity raises its own error, a failed activity one around it (measured, 1.35)."""
    return error.cause if isinstance(error, ActivityError) else error


def no_answer(error: FailureError) -> Failure:
    """What to say of a call that ended without a report."""
    cause = _cause(error)
    if isinstance(cause, ApplicationError):
        return Failure(
            code=cause.type or "activity_failed",
            fault=Fault.OPERATOR,
            message=cause.message,
            retryable=True,
            next_step="Check the worker's log and its endpoints.",
        )
    return Failure(
        code="worker_lost",
        fault=Fault.OPERATOR,
        message="The worker that made the call died, or no worker took it.",
        retryable=True,
        next_step="Check that a worker runs for the endpoint's task queue.",
    )


def unanswered_submit(error: FailureError) -> SubmitReport:
    """Nobody took the task: certainly not sent. Anything else: perhaps sent."""
    if _never_taken(error):
        return NotSent(failure=no_answer(error))
    return PerhapsSent(detail=no_answer(error).message)


def unanswered_reply(error: FailureError) -> ReplyReport:
    """As with a submit: only a task that nobody took did certainly nothing."""
    return Unreachable(failure=no_answer(error), perhaps_done=not _never_taken(error))


def _never_taken(error: FailureError) -> bool:
    cause = _cause(error)
    return isinstance(cause, TimeoutError) and cause.type is TimeoutType.SCHEDULE_TO_START


def unreachable(error: FailureError) -> Unreachable:
    """A call that was not answered, as an observation."""
    return Unreachable(failure=no_answer(error))
