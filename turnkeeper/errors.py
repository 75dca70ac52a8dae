"""One hierarchy of errors: whose fault, whether a retry helps, what to do next.

No message here ever holds a secret or an address: texts end up in Temporal histories, logs and terminals.
"""

from __future__ import annotations

from typing import ClassVar

from turnkeeper.observations import Failure
from turnkeeper.vocabulary import Fault

MAX_FOREIGN_TEXT = 500
"""Characters kept of a text that somebody else wrote (a provider's error body): enough to recognise it."""


class TurnkeeperError(Exception):
    """Base. `code` is stable and can be searched for; `str(error)` is one line."""

    code: ClassVar[str] = "turnkeeper"
    fault: ClassVar[Fault] = Fault.TURNKEEPER
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, next_step: str = "", code: str | None = None) -> None:
        """Say what happened and what to do about it; `code` narrows the class's own."""
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.detail_code = code or self.code

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}".strip()

    def failure(self) -> Failure:
        """The same as a value that may enter histories and results."""
        return Failure(
            code=self.detail_code,
            fault=self.fault,
            message=self.message,
            retryable=self.retryable,
            next_step=self.next_step,
        )


class RefusedError(TurnkeeperError):
    """Bad input, refused at the door: nothing was started. Asking again the same way gives the same answer."""

    code = "refused"
    fault = Fault.CALLER


class ConfigurationError(TurnkeeperError):
    """A setting is wrong. Names the setting, what was found and what is allowed."""

    code = "configuration"
    fault = Fault.OPERATOR

    def __init__(self, setting: str, found: str, allowed: str) -> None:
        """Never pass a secret as `found`."""
        super().__init__(f"{setting}: found {found}; allowed: {allowed}.")


class ServiceUnavailableError(TurnkeeperError):
    """Temporal does not answer, or not as configured. Nothing is known to have been accepted."""

    code = "service_unavailable"
    fault = Fault.OPERATOR
    retryable = True


class EncryptionError(TurnkeeperError):
    """What Temporal holds cannot be read with the keys that are here. Nothing is lost: others may open it."""

    code = "encryption"
    fault = Fault.OPERATOR


class ProviderError(TurnkeeperError):
    """Base of what a provider call can end in. Which child it is answers: was the request delivered?"""

    code = "provider"
    fault = Fault.PROVIDER


class ProviderUnreachableError(ProviderError):
    """Certainly not delivered: the connection was refused or never made. A retry is safe."""

    code = "provider_unreachable"
    retryable = True


class ProviderHandshakeError(ProviderUnreachableError):
    """Certainly not delivered: no TLS came about, as one side does not trust the other. Ours to mend."""

    code = "provider_tls"
    fault = Fault.OPERATOR


class ProviderOverloadedError(ProviderUnreachableError):
    """Certainly not acted on: the server, or a proxy before it, said "later" (429, or 503 with a retry-after)."""

    code = "provider_overloaded"

    def __init__(self, message: str, *, retry_after: float | None) -> None:
        """`retry_after`: seconds that it asks for; None: it names no time."""
        super().__init__(message, next_step="It is asked again by itself, ever less often; lower `max_running_turns`.")
        self.retry_after = retry_after

    def failure(self) -> Failure:
        """With what the pause depends on."""
        return super().failure().model_copy(update={"overloaded": True, "retry_after": self.retry_after})


class DeliveryUnknownError(ProviderError):
    """Perhaps delivered: the answer was lost, late or a server error. Look before sending again."""

    code = "delivery_unknown"
    retryable = True


class ProviderWantsCertificateError(DeliveryUnknownError):
    """Our certificate was refused after the handshake, as TLS 1.3 does: ours to mend, not the provider's."""

    code = "provider_certificate"
    fault = Fault.OPERATOR


class ProviderRefusedError(ProviderError):
    """Delivered, and the provider said no (a 4xx). A retry gives the same answer."""

    code = "provider_refused"


class ProviderCredentialsError(ProviderRefusedError):
    """Delivered, and the provider does not accept who we say we are: ours to mend, not the provider's."""

    code = "provider_credentials"
    fault = Fault.OPERATOR


class ProviderNotFoundError(ProviderRefusedError):
    """Delivered, and the provider confirms that the thing does not exist (a 404 of its own, as JSON)."""

    code = "provider_not_found"


class ProviderContractError(ProviderError):
    """The answer is not what this protocol says (HTML, half a JSON, wrong types). Perhaps delivered.

    Retryable because the usual cause is a proxy or a restarting server in front of the right one.
    """

    code = "provider_contract"
    retryable = True


def bounded(text: str, limit: int = MAX_FOREIGN_TEXT) -> str:
    """`text` on one line, cut to `limit` characters with a mark where it was cut."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
