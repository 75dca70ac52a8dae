"""A model call's failure as OpenCode stores it, in words for the person who has to act on it. Pure."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from turnkeeper.errors import bounded
from turnkeeper.observations import Failure
from turnkeeper.opencode.wire import MessageError, MessageInfo
from turnkeeper.opencode.wording import foreign
from turnkeeper.vocabulary import Fault

MAX_CODE: Final = 80  # characters of an error's name; OpenCode's longest is 24

_BY_NAME: Final = {
    "ProviderAuthError": (Fault.OPERATOR, "Check the model provider's API key in OpenCode's configuration or login."),
    "ContextOverflowError": (Fault.CALLER, "Start a new thread, or let OpenCode compact (compaction.auto)."),
    "ContentFilterError": (Fault.CALLER, "The model provider filtered the answer: rephrase the prompt."),
    "content-filter": (Fault.CALLER, "The model provider filtered the answer: rephrase the prompt."),
    "MessageOutputLengthError": (Fault.CALLER, "Ask for less at once, or raise the model's output limit in OpenCode."),
    "StructuredOutputError": (
        Fault.PROVIDER,
        "The model did not keep to the asked format: ask for JSON in the prompt.",
    ),
}

_BY_STATUS: Final = {
    HTTPStatus.BAD_REQUEST: (Fault.OPERATOR, "The model provider did not accept the request: check model and options."),
    HTTPStatus.UNAUTHORIZED: (Fault.OPERATOR, "Check the model provider's API key in OpenCode's configuration."),
    HTTPStatus.PAYMENT_REQUIRED: (Fault.OPERATOR, "Check the balance of the account at the model provider."),
    HTTPStatus.FORBIDDEN: (Fault.OPERATOR, "Check that the API key may use this model."),
    HTTPStatus.NOT_FOUND: (Fault.OPERATOR, "Check the model's name and the provider's base address in OpenCode."),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (Fault.CALLER, "Start a new thread: the conversation is too long."),
    HTTPStatus.TOO_MANY_REQUESTS: (Fault.PROVIDER, "The model provider limits the rate: start again later."),
}

_SERVER_TROUBLE: Final = (Fault.PROVIDER, "The model provider has trouble: start again later, or use another model.")
_UNKNOWN: Final = (Fault.PROVIDER, "OpenCode's own log has the details; a new turn may work.")


def failure_of_message(info: MessageInfo) -> Failure:
    """Why this assistant failed. Assumes that it did."""
    if info.error is not None:
        return failure_of_error(info.error)
    code = info.finish or "unknown"
    fault, next_step = _BY_NAME.get(code, _UNKNOWN)
    return Failure(
        code=bounded(code, MAX_CODE),
        fault=fault,
        message=f"The model ended with finish={bounded(code, MAX_CODE)}.",
        next_step=next_step,
    )


def failure_of_error(error: MessageError) -> Failure:
    """The error's name is the code; the provider's own words are kept, bounded and without addresses."""
    fault, next_step = _advice(error)
    status = f" (HTTP {error.data.status})" if error.data.status else ""
    message = foreign(error.data.message).removesuffix(".") or "the provider gave no message"
    return Failure(
        code=bounded(error.name, MAX_CODE),
        fault=fault,
        message=f"{message}{status}.",
        retryable=error.data.retryable or error.data.status == HTTPStatus.TOO_MANY_REQUESTS,
        next_step=next_step,
    )


def _advice(error: MessageError) -> tuple[Fault, str]:
    if error.name in _BY_NAME:
        return _BY_NAME[error.name]
    status = error.data.status
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _SERVER_TROUBLE
    return next((advice for known, advice in _BY_STATUS.items() if known == status), _UNKNOWN)
