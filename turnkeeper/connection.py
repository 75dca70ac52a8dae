"""The connection to Temporal, from the standard `TEMPORAL_*` environment and profiles, checked before it is used."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Final

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfig
from temporalio.service import RPCError, RPCStatusCode

from turnkeeper.errors import ServiceUnavailableError, bounded

CONNECT_TIMEOUT: Final = 10.0
"""Seconds to connect and find the namespace. The SDK itself would retry for longer and then say less."""


async def connect(environ: Mapping[str, str] | None = None, *, within: float = CONNECT_TIMEOUT) -> Client:
    """A connected client whose namespace exists.

    `environ` holds overrides of the process's own environment.

    Raises:
        ServiceUnavailableError: no server, no such namespace, or no right to it. The text names no address.

    """
    try:
        config = ClientConfig.load_client_connect_config(override_env_vars=environ)
    except (RuntimeError, ValueError) as error:
        raise ServiceUnavailableError(
            f"The Temporal client configuration cannot be read: {bounded(str(error)).rstrip('.')}.",
            next_step="Check the TEMPORAL_* variables and the profile file.",
        ) from error
    if not config.get("target_host"):
        raise ServiceUnavailableError(
            "No Temporal server is named.",
            code="no_address",
            next_step="Set TEMPORAL_ADDRESS (host:port) or a profile; `turnkeeper dev` prints the address of its own.",
        )
    try:
        async with asyncio.timeout(within):
            client = await Client.connect(**config, data_converter=pydantic_data_converter)
            await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    except RPCError as error:
        raise _explain(error, config.get("namespace", "default")) from error
    except (RuntimeError, ValueError, TimeoutError, OSError) as error:
        raise ServiceUnavailableError(
            f"The Temporal server does not answer: {_trouble(error, within)}.", next_step=_check(environ)
        ) from error
    return client


_TROUBLES: Final = (
    ("dns error", "nobody knows the name of its host"),
    ("Connection refused", "nothing listens at its address"),
    ("error after connection", "what listens at its address is no Temporal server, or wants TLS"),
    ("tls", "the TLS handshake failed"),
    ("certificate", "the TLS handshake failed"),
)
"""Words of the SDK's core, and what they mean. The core's own text holds the address."""


def _trouble(error: Exception, within: float) -> str:
    if isinstance(error, ValueError):
        return "its address is not of the form host:port"
    if isinstance(error, TimeoutError):
        return f"there was no answer within {within:g} s"
    return next((meaning for words, meaning in _TROUBLES if words in str(error)), "the connection failed")


def _check(given: Mapping[str, str] | None) -> str:
    """Where the address came from."""
    if given:
        return "Its address is the one that the stack wrote down; see the stack's terminal and its logs."
    if os.environ.get("TEMPORAL_ADDRESS"):
        return "Check TEMPORAL_ADDRESS and TEMPORAL_TLS, or unset them to use the stack of `turnkeeper dev`."
    return "Check the address in the Temporal profile file, and TEMPORAL_PROFILE."


def _explain(error: RPCError, namespace: str) -> ServiceUnavailableError:
    match error.status:
        case RPCStatusCode.NOT_FOUND:
            return ServiceUnavailableError(
                f"The Temporal server has no namespace {namespace!r}.", next_step="Set TEMPORAL_NAMESPACE."
            )
        case RPCStatusCode.PERMISSION_DENIED | RPCStatusCode.UNAUTHENTICATED:
            return ServiceUnavailableError(
                f"Temporal refuses access to the namespace {namespace!r}.",
                next_step="Check TEMPORAL_API_KEY or the client certificate.",
            )
        case _:
            return ServiceUnavailableError(f"Temporal answered {error.status.name}.", next_step="Try again.")
