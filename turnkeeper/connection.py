"""The connection to Temporal, from the standard `TEMPORAL_*` environment and profiles, checked before it is used."""

from __future__ import annotations

import asyncio
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
            f"The Temporal client configuration cannot be read: {bounded(str(error))}",
            next_step="Check the TEMPORAL_* variables and the profile file.",
        ) from error
    try:
        async with asyncio.timeout(within):
            client = await Client.connect(**config, data_converter=pydantic_data_converter)
            await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    except RPCError as error:
        raise _explain(error, config.get("namespace", "default")) from error
    except (RuntimeError, TimeoutError, OSError) as error:
        raise ServiceUnavailableError(
            "The Temporal server does not answer.",
            next_step="Check TEMPORAL_ADDRESS and TEMPORAL_TLS, or start one machine's stack with `turnkeeper dev`.",
        ) from error
    return client


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
