"""Our errors as Temporal's, and back: the one place where the two hierarchies meet."""

from __future__ import annotations

from typing import Final

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from turnkeeper.errors import ProviderError, RefusedError, ServiceUnavailableError, TurnkeeperError
from turnkeeper.observations import Failure
from turnkeeper.vocabulary import Fault

_KINDS: Final[dict[Fault, type[TurnkeeperError]]] = {
    Fault.CALLER: RefusedError,
    Fault.PROVIDER: ProviderError,
    Fault.OPERATOR: ServiceUnavailableError,
    Fault.TURNKEEPER: TurnkeeperError,
}


def to_application_error(error: TurnkeeperError) -> ApplicationError:
    """`error` as Temporal carries it: expected, so neither logged as a fault nor counted as one."""
    failure = error.failure()
    return ApplicationError(
        f"{failure.message} {failure.next_step}".strip(),
        failure,
        type=error.detail_code,
        non_retryable=not error.retryable,
        category=ApplicationErrorCategory.BENIGN,
    )


def from_application_error(error: ApplicationError) -> TurnkeeperError:
    """The error that a workflow or activity raised, for the caller of the client."""
    details = error.details[0] if error.details else None
    if not isinstance(details, dict):
        return TurnkeeperError(error.message, next_step="See the workflow in the Temporal UI.")
    failure = Failure.model_validate(details)
    kind = _KINDS[failure.fault]
    return kind(failure.message, next_step=failure.next_step, code=failure.code)
