"""What a failed call means: the SDK's and httpx's errors, mapped once into ours. Pure.

The question behind every branch is whether OpenCode may have acted on the request. Only a connection that was never
made is a certain no.
"""

from __future__ import annotations

import ssl
from collections.abc import Collection
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

import httpx
import opencode_ai
from pydantic import ValidationError

from turnkeeper.errors import (
    DeliveryUnknownError,
    ProviderContractError,
    ProviderCredentialsError,
    ProviderError,
    ProviderHandshakeError,
    ProviderNotFoundError,
    ProviderOverloadedError,
    ProviderRefusedError,
    ProviderUnreachableError,
    ProviderWantsCertificateError,
)
from turnkeeper.opencode.tls import refuses_us, tls_failure, why_not_trusted
from turnkeeper.opencode.wording import foreign
from turnkeeper.overload import RETRY_AFTER_MAX

TRY_AGAIN: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
"""4xx that OpenCode itself never sends: a proxy's way to say "later". All but the last leave open what it had done."""


TOO_BIG: Final = "provider_answer_too_big"
"""Code of an answer that was not read to its end."""

MAX_TYPE_SHOWN: Final = 60
"""Characters of an answer's content type that are repeated: it is as long as the provider likes."""

MAX_RETRY_DIGITS: Final = 9
"""Digits that are read of a retry-after: thirty years."""

MAX_FIELD_PATH: Final = 100
"""Characters that name a wrong field: its path may hold keys that somebody else chose."""


class AnswerTooBigError(httpx.TransportError):
    """An answer exceeded the endpoint's limit and was cut off."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"answer over {limit} bytes")
        self.limit = limit


def explain(what: str, endpoint: str, error: Exception, hidden: Collection[str] = ()) -> ProviderError:
    """The meaning of a failed call named `what`, in our words, and in those of an answer without the `hidden`."""
    if isinstance(error, opencode_ai.APIStatusError):
        return _explain_answer(what, endpoint, error, hidden)
    cause = error.__cause__ if isinstance(error, opencode_ai.APIConnectionError) else error
    if (failure := tls_failure(cause)) is not None:
        return _explain_tls(what, endpoint, failure, connecting=isinstance(cause, httpx.ConnectError))
    match cause:
        case AnswerTooBigError(limit=limit):
            return too_big(what, endpoint, f"{limit} bytes")
        case httpx.DecodingError():
            return ProviderContractError(f"{what}: the answer is compressed, though we asked for a plain one.")
        case httpx.ConnectError() | httpx.UnsupportedProtocol():
            return ProviderUnreachableError(
                f"{what}: endpoint {endpoint} does not accept connections.",
                next_step="Check that OpenCode runs there and that the endpoint's url is right.",
            )
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return ProviderUnreachableError(f"{what}: no connection to endpoint {endpoint} in time.")
        case httpx.TimeoutException() | TimeoutError():
            return DeliveryUnknownError(f"{what}: endpoint {endpoint} did not answer in time.", code="provider_timeout")
        case _:
            return DeliveryUnknownError(
                f"{what}: the connection to endpoint {endpoint} broke ({type(cause).__name__})."
            )


def _explain_tls(what: str, endpoint: str, failure: ssl.SSLError, *, connecting: bool) -> ProviderError:
    files = f"Check client_cert_file and client_key_file of endpoint {endpoint}."
    if refuses_us(failure):
        kind = ProviderHandshakeError if connecting else ProviderWantsCertificateError
        return kind(
            f"{what}: endpoint {endpoint} does not accept our client certificate, or wants one.", next_step=files
        )
    if isinstance(failure, ssl.SSLCertVerificationError):
        return ProviderHandshakeError(
            f"{what}: endpoint {endpoint} is not trusted: {why_not_trusted(failure)}.",
            next_step=f"Check url and ca_file of endpoint {endpoint}, or the certificate there.",
        )
    if connecting:
        return ProviderHandshakeError(
            f"{what}: endpoint {endpoint} speaks no TLS, or breaks it off.",
            next_step=f"Check that it is https there, and whether it wants a client certificate. {files}",
        )
    return DeliveryUnknownError(f"{what}: the connection to endpoint {endpoint} broke ({type(failure).__name__}).")


def too_big(what: str, endpoint: str, limit: str) -> ProviderContractError:
    """An answer that was not read to its end, or not made sense of: small in bytes, it may be big in memory."""
    return ProviderContractError(
        f"{what}: the answer exceeds {limit}.",
        next_step=f"Raise max_response_bytes of endpoint {endpoint}, or start a new thread.",
        code=TOO_BIG,
    )


def other_type(what: str, found: str, wanted: str, next_step: str, code: str | None = None) -> ProviderContractError:
    """An answer whose content type says that it is something else."""
    shown = foreign(found.split(";", maxsplit=1)[0], MAX_TYPE_SHOWN) or "nothing"
    return ProviderContractError(f"{what}: answered {shown} instead of {wanted}.", next_step=next_step, code=code)


def wrong_shape(what: str, error: ValidationError) -> ProviderContractError:
    """An answer that is not what the protocol says. Names the first wrong field, never its value."""
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(step) for step in problem["loc"])
    wrong = foreign(f"{where} {problem['type']}".strip(), MAX_FIELD_PATH)
    return ProviderContractError(f"{what}: the answer is not what OpenCode 1.18 sends ({wrong}).")


def _explain_answer(
    what: str, endpoint: str, error: opencode_ai.APIStatusError, hidden: Collection[str]
) -> ProviderError:
    status, retry_after = error.status_code, seconds_of(error.response.headers.get("retry-after"), datetime.now(UTC))
    if status == HTTPStatus.TOO_MANY_REQUESTS or (status == HTTPStatus.SERVICE_UNAVAILABLE and retry_after is not None):
        said = _said(error.body, hidden)
        message = f"{what}: endpoint {endpoint} answered {status}, too many requests{f' ({said})' if said else ''}."
        return ProviderOverloadedError(message, retry_after=retry_after)
    return explain_status(what, endpoint, status, error.body, hidden)


def explain_status(
    what: str, endpoint: str, status: int, body: object = None, hidden: Collection[str] = ()
) -> ProviderError:
    """The meaning of an answer that is no success. `body` is the decoded JSON, if it was any."""
    said = _said(body, hidden)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return ProviderCredentialsError(
            f"{what}: endpoint {endpoint} does not accept our credentials ({status}).",
            next_step=f"Check username and password (or password_env, password_file) of endpoint {endpoint}.",
        )
    if status == HTTPStatus.NOT_FOUND:
        if _confirms_absence(body):
            return ProviderNotFoundError(f"{what}: {said or 'not found'}.")
        return ProviderContractError(
            f"{what}: answered 404, but not as OpenCode does.",
            next_step=f"Check that the url of endpoint {endpoint} leads to OpenCode itself.",
        )
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in TRY_AGAIN:
        return DeliveryUnknownError(f"{what}: answered {status}{f' ({said})' if said else ''}.")
    if status < HTTPStatus.BAD_REQUEST:
        return ProviderContractError(
            f"{what}: answered {status} (a redirect).", next_step=f"Check the url of endpoint {endpoint}."
        )
    return ProviderRefusedError(f"{what}: answered {status}{f' ({said})' if said else ''}.", code=f"provider_{status}")


def seconds_of(retry_after: str | None, now: datetime) -> float | None:
    """A `Retry-After` header in seconds, bounded; None when there is none, or nobody can read it."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        # Thousands of digits are no number of seconds, and slow to read.
        seconds = float(text[:MAX_RETRY_DIGITS])
    else:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        seconds = (moment - now).total_seconds()
    return min(max(seconds, 0.0), RETRY_AFTER_MAX.total_seconds())


def _confirms_absence(body: object) -> bool:
    """OpenCode names its own 404s; a proxy's 404 must not end a turn."""
    if not isinstance(body, dict):
        return False
    name = body.get("name") or body.get("_tag")
    return isinstance(name, str) and name.endswith("NotFoundError")


def _said(body: object, hidden: Collection[str]) -> str:
    if not isinstance(body, dict):
        return ""
    data = body.get("data")
    text = data.get("message") if isinstance(data, dict) else body.get("message")
    return foreign(text, hidden=hidden).removesuffix(".") if isinstance(text, str) else ""
