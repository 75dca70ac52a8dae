"""What becomes of an error while Temporal is asked: bad input is refused before, its own errors become ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from pydantic import ValidationError
from temporalio.client import (
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ActivityError, ApplicationError, FailureError
from temporalio.service import RPCError, RPCStatusCode

from turnkeeper.errors import RefusedError, ServiceUnavailableError, TurnkeeperError, bounded
from turnkeeper.failures import from_application_error
from turnkeeper.refusals import bad_input

Result = TypeVar("Result")

ENDED: Final = "already completed"
"""What Temporal says of a workflow that is over and takes no commands: the status is NOT_FOUND all the same."""


QUERY_AGAIN: Final = 0.1
"""Seconds before a query that Temporal broke off is asked again: whoever asks waits, and the next worker is up."""


def unless_cancelled() -> None:
    """The SDK turns a cancelled update into an error of its own: a caller who gave up must not get the signal twin."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


@contextmanager
def silence_as_timeout() -> Iterator[None]:
    """Each way in which an update shows that no worker took it, as a TimeoutError. Goes around `asyncio.timeout`."""
    try:
        yield
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        raise TimeoutError from error
    except RPCError as error:
        if error.status is RPCStatusCode.RESOURCE_EXHAUSTED:
            # Ten updates of that workflow are under way, and Temporal takes no more at a time. A signal it takes.
            raise TimeoutError from error
        if error.status is RPCStatusCode.FAILED_PRECONDITION:
            # Three workflow tasks went to a worker that never answered (frozen, or dying again and again): Temporal
            # then refuses updates of that workflow (measured, after 28 s). A signal it takes.
            raise TimeoutError from error
        raise


async def update_or_keep(
    update: Callable[[], Awaitable[Result]], keep: Callable[[], Awaitable[Result | None]], within: float
) -> Result | None:
    """The answer of an update; when no worker takes it within so many seconds, what `keep` gives, its signal twin.

    Raises:
        TimeoutError: Temporal does not take the signal either.

    """
    try:
        with silence_as_timeout():
            async with asyncio.timeout(within):
                return await update()
    except TimeoutError:
        unless_cancelled()
        async with asyncio.timeout(within):
            return await keep()


async def answer_of(query: Callable[[], Awaitable[Result]], within: float) -> Result:
    """The answer of a query, which changes nothing and may be asked again: within so many seconds.

    Temporal breaks one off as CANCELLED when the worker that it was given to is killed (seen once on 1.32.0).

    Raises:
        TimeoutError: no worker answered.

    """
    async with asyncio.timeout(within):
        while True:
            try:
                return await query()
            except RPCError as error:
                unless_cancelled()
                if error.status is not RPCStatusCode.CANCELLED:
                    raise
            await asyncio.sleep(QUERY_AGAIN)


@contextmanager
def refusing_bad_input() -> Iterator[None]:
    """A value that no message may hold, in one line."""
    try:
        yield
    except ValidationError as error:
        raise bad_input(error) from None


@contextmanager
def explaining(what: str) -> Iterator[None]:
    """Temporal's errors as ours."""
    try:
        yield
    except TimeoutError as error:
        raise _no_worker() from error
    except RuntimeError as error:
        if "client connect" not in str(error):
            raise
        # A client made with `lazy=True` connects at its first call, and says so in the SDK's own way.
        raise ServiceUnavailableError("The Temporal server does not answer.", next_step="Try again.") from error
    except WorkflowQueryFailedError as error:
        why = bounded(error.message).rstrip(".")
        raise ServiceUnavailableError(f"A worker could not answer: {why}.", next_step="See its log.") from error
    except (WorkflowUpdateFailedError, WorkflowFailureError) as error:
        raise _cause(error.cause) from error
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND and ENDED in error.message:
            raise RefusedError(f"{what[:1].upper()}{what[1:]} has ended.", code="not_found") from error
        if error.status is RPCStatusCode.NOT_FOUND:
            raise RefusedError(
                f"There is no {what}.", code="not_found", next_step="See `turnkeeper threads`."
            ) from error
        raise _unavailable(error) from error


def _unavailable(error: RPCError) -> ServiceUnavailableError:
    """An answer of Temporal that is neither a result nor "there is no such thing"."""
    match error.status:
        case RPCStatusCode.UNAVAILABLE:
            return ServiceUnavailableError("The Temporal server does not answer.", next_step="Try again.")
        case RPCStatusCode.FAILED_PRECONDITION:
            return _no_worker()
        case RPCStatusCode.INVALID_ARGUMENT if "search attribute" in error.message.lower():
            return ServiceUnavailableError(
                "Temporal's namespace lacks the search attributes of Turnkeeper.",
                code="no_search_attributes",
                next_step="A worker adds them when it starts; `turnkeeper doctor` says which are missing.",
            )
        case _:
            return ServiceUnavailableError(f"Temporal answered {error.status.name}.", next_step="Try again.")


def _no_worker() -> ServiceUnavailableError:
    return ServiceUnavailableError(
        "No worker answered in time.", next_step="Start one with `turnkeeper dev`, or see `turnkeeper doctor`."
    )


def _cause(error: BaseException) -> TurnkeeperError:
    while isinstance(error, ActivityError) and error.cause is not None:
        error = error.cause
    if isinstance(error, ApplicationError):
        return from_application_error(error)
    text = error.message if isinstance(error, FailureError) else type(error).__name__
    return TurnkeeperError(f"The workflow did not end by itself: {text}", next_step="See it in the Temporal UI.")
