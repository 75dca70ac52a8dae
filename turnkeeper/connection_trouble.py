"""Why Temporal cannot be reached, in words that name a setting and neither an address nor anything secret. Pure.

The SDK's core gives its reasons as the debug form of its errors: with the address in it, and, of a profile file that
is not TOML, with the very line that is wrong, which may be the one that holds the API key. So nothing of such a text
is passed on; it is only searched for words that are known.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Final, NamedTuple

from temporalio.envconfig import ClientConnectConfig
from temporalio.service import TLSConfig

from turnkeeper.errors import MAX_FOREIGN_TEXT, ServiceUnavailableError, bounded

ADDRESS: Final = "TEMPORAL_ADDRESS"
TLS: Final = "TEMPORAL_TLS"
API_KEY: Final = "TEMPORAL_API_KEY"
CA: Final = "TEMPORAL_TLS_SERVER_CA_CERT_PATH"
SERVER_NAME: Final = "TEMPORAL_TLS_SERVER_NAME"
CLIENT_CERTIFICATE: Final = "TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH"

AUTHORIZATION: Final = "authorization"
"""The gRPC header that an API key travels in; `TEMPORAL_GRPC_META_AUTHORIZATION` sets it by hand."""


class Trouble(NamedTuple):
    """What is wrong, and what to do; nothing: that depends on where the address came from."""

    why: str
    next_step: str = ""


def _check(settings: str) -> str:
    return f"Check {settings}."


_TROUBLES: Final = (
    ("dns error", Trouble("nobody knows the name of its host")),
    ("Connection refused", Trouble("nothing listens at its address")),
    ("InvalidCertificate(Expired", Trouble("its certificate has expired", "Whoever runs it has to renew it.")),
    ("InvalidCertificate(NotValidYet", Trouble("its certificate is not valid yet", "Check the clocks.")),
    (
        "InvalidCertificate(NotValidForName",
        Trouble("its certificate is for another name", _check(f"{ADDRESS} and {SERVER_NAME}")),
    ),
    (
        "InvalidCertificate(UnknownIssuer",
        Trouble("its certificate is of a CA that is not trusted here", _check(CA)),
    ),
    ("InvalidCertificate", Trouble("its certificate is not accepted", _check(CA))),
    (
        "InconsistentKeys",
        Trouble("the client's key is not that of the client's certificate", _check(CLIENT_CERTIFICATE)),
    ),
    ("PrivateKeyParseError", Trouble("the client's key is no private key as PEM", _check(CLIENT_CERTIFICATE))),
    (
        "InvalidContentType",
        Trouble("it does not speak TLS", f"Check {ADDRESS} and {TLS}; an API key switches TLS on by itself."),
    ),
)
"""Words of the SDK's core, and what they mean."""

_CUT_OFF: Final = ("error after connection", "AlertReceived")
"""The connection was made, and closed by the other side: with TLS 1.3 a server says only then that it wants a
certificate of the client, or another one."""

_DENIED: Final = ("code: Unauthenticated", "code: PermissionDenied")
_REFUSED: Final = Trouble("it refuses who we say we are", _check(f"{API_KEY} or the client certificate"))
_NOT_TEMPORAL: Final = Trouble("what listens at its address is no Temporal server, or wants TLS")
_WANTS_CERTIFICATE: Final = Trouble(
    "it closed the connection; it may want a client certificate", _check(CLIENT_CERTIFICATE)
)
_OTHER_CERTIFICATE: Final = Trouble(
    "it closed the connection; it may not accept the client certificate", _check(CLIENT_CERTIFICATE)
)


def trouble(error: Exception, config: ClientConnectConfig, within: float) -> Trouble:
    """What a failed connection with this configuration means. `within`: seconds that were waited."""
    if isinstance(error, ValueError):
        return Trouble("its address is not of the form host:port")
    if isinstance(error, TimeoutError):
        return Trouble(f"there was no answer within {within:g} s")
    said, tls = str(error), config.get("tls")
    if any(words in said for words in _DENIED):
        return _REFUSED
    if any(words in said for words in _CUT_OFF):
        if not tls:
            return _NOT_TEMPORAL
        return _OTHER_CERTIFICATE if isinstance(tls, TLSConfig) and tls.client_cert else _WANTS_CERTIFICATE
    return next((meaning for words, meaning in _TROUBLES if words in said), Trouble("the connection failed"))


def unreadable_configuration(error: Exception) -> ServiceUnavailableError:
    """The environment, the profile file, or a file that one of them names cannot be read."""
    if isinstance(error, OSError):
        name = error.filename
        # A key in the place of its path is shown to nobody.
        named = name if isinstance(name, str) and Path(name).is_absolute() else "a file"
        said = f"{bounded(named, MAX_FOREIGN_TEXT)} ({type(error).__name__})"
    else:
        said = _without_source(str(error))
    return ServiceUnavailableError(
        f"The Temporal client configuration cannot be read: {said}.",
        next_step="Check the TEMPORAL_* variables and the profile file.",
    )


_PLACE: Final = re.compile(r"line \d+, column \d+")


def _without_source(said: str) -> str:
    """The text without what a parser shows of the file that it read."""
    if "TOML" in said:
        place = _PLACE.search(said)
        return f"the profile file is not TOML as Temporal wants it{f' ({place.group()})' if place else ''}"
    return bounded(said).rstrip(".")


def refuse_careless(config: ClientConnectConfig) -> None:
    """Refuse settings that would give a secret away, or that cannot work.

    Raises:
        ServiceUnavailableError: an API key would travel in clear to another machine; half of a client certificate.

    """
    headers = {name.lower(): value for name, value in config.get("rpc_metadata", {}).items()}
    key = config.get("api_key") or headers.get(AUTHORIZATION)
    if key and not config.get("tls") and not is_loopback(config.get("target_host", "")):
        raise ServiceUnavailableError(
            "An API key would travel to Temporal in clear.",
            code="key_in_clear",
            next_step=f"Unset {TLS}: an API key switches TLS on by itself.",
        )
    if key and not (key.isascii() and key.isprintable()):
        raise ServiceUnavailableError(
            "The API key holds what no header can: a line break, or letters beyond ASCII.",
            code="key_malformed",
            next_step=_check(API_KEY),
        )
    tls = config.get("tls")
    if isinstance(tls, TLSConfig) and bool(tls.client_cert) != bool(tls.client_private_key):
        raise ServiceUnavailableError(
            "Only half of the client certificate is set.",
            code="half_certificate",
            next_step=f"Set {CLIENT_CERTIFICATE}.",
        )


def is_loopback(target: str) -> bool:
    """Does `host:port` never leave this machine?"""
    host = target.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
