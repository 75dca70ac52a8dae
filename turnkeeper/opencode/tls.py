"""TLS to an endpoint: whom we trust, and who we say we are. Read once, when the worker starts."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

import httpx

from turnkeeper.errors import ConfigurationError
from turnkeeper.settings import EndpointSettings

_ALERTS: Final = (
    "CERTIFICATE_REQUIRED",
    "UNKNOWN_CA",
    "BAD_CERTIFICATE",
    "CERTIFICATE_UNKNOWN",
    "ALERT_HANDSHAKE_FAILURE",
)
"""In OpenSSL's reason when the *other* side does not accept the handshake; with TLS 1.3 that comes after it."""


_NOT_TRUSTED: Final = (
    ("expired", "its certificate has expired"),
    ("not yet valid", "its certificate is not valid yet"),
    ("mismatch", "its certificate is for another name"),
    ("not valid for", "its certificate is for another name"),
    ("issuer", "its certificate is of a CA that is not trusted here"),
    ("self-signed", "its certificate is of a CA that is not trusted here"),
)
"""Words of OpenSSL's verification, and what they mean."""


def context_of(settings: EndpointSettings, name: str) -> ssl.SSLContext:
    """What the endpoint's connections are made with. With a `ca_file` that CA is trusted and no other.

    Raises:
        ConfigurationError: a file cannot be read or is none of its kind. Names the setting, and shows no content.

    """
    if settings.url.scheme != "https":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used, and it trusts nobody; 20 ms less
    if settings.ca_file is None:
        context = httpx.create_ssl_context()
    else:
        with_setting = f"endpoints.{name}.ca_file"
        try:
            context = ssl.create_default_context(cafile=settings.ca_file)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            raise _unreadable(with_setting, settings.ca_file, error, "certificates as PEM") from None
        if not context.get_ca_certs():
            raise _unreadable(with_setting, settings.ca_file, None, "certificates as PEM")
    if settings.client_cert_file is not None and settings.client_key_file is not None:
        try:
            # Of an encrypted key OpenSSL would ask on the terminal for its password.
            context.load_cert_chain(settings.client_cert_file, settings.client_key_file, password="")
        except (OSError, ValueError) as error:
            setting = f"endpoints.{name}.client_key_file"
            allowed = "a private key as PEM without a password, and its certificate in client_cert_file"
            raise _unreadable(setting, settings.client_key_file, error, allowed) from None
    return context


def _unreadable(setting: str, path: Path, error: Exception | None, allowed: str) -> ConfigurationError:
    # A key in the place of its path is shown to nobody.
    named = str(path) if path.is_absolute() else "a file"
    return ConfigurationError(setting, f"{named} ({type(error).__name__})" if error else named, allowed)


def tls_failure(error: BaseException | None) -> ssl.SSLError | None:
    """The TLS failure behind an HTTP client's error, if there is one. Waiting for more is none, though it looks so."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLWantReadError | ssl.SSLWantWriteError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def refuses_us(failure: ssl.SSLError) -> bool:
    """Is it the other side that does not accept our certificate, or misses one?"""
    said = f"{failure.reason or ''} {failure}".upper().replace(" ", "_")
    return "ALERT" in said and any(alert in said for alert in _ALERTS)


def why_not_trusted(failure: ssl.SSLCertVerificationError) -> str:
    """Why we do not accept the other side, in words without any name or address."""
    said = failure.verify_message.lower()
    return next((meaning for words, meaning in _NOT_TRUSTED if words in said), "its certificate is not accepted")
