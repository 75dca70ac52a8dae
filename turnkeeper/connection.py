"""The connection to Temporal, from the standard `TEMPORAL_*` environment and profiles, checked before it is used.

With `TURNKEEPER_ENCRYPTION_…` set, what it sends is encrypted and what it gets decrypted.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Final

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, GetWorkflowExecutionHistoryRequest
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.service import RPCError, RPCStatusCode

from turnkeeper.codec import data_converter
from turnkeeper.connection_trouble import refuse_careless, trouble, unreadable_configuration
from turnkeeper.errors import ServiceUnavailableError

CONNECT_TIMEOUT: Final = 10.0
"""Seconds to connect and find the namespace. The SDK itself would retry for longer and then say less."""


async def connect(environ: Mapping[str, str] | None = None, *, within: float = CONNECT_TIMEOUT) -> Client:
    """A connected client whose namespace exists.

    `environ` stands in for the process's own `TEMPORAL_*` variables, all of them.

    Raises:
        ServiceUnavailableError: no server, none that is trusted, no such namespace, or no right to it. The text
            names no address and no secret, and there is no cause behind it that does.
        ConfigurationError: the keys of encryption cannot be used.

    """
    converter = data_converter({**os.environ, **(environ or {})})
    try:
        config = ClientConfig.load_client_connect_config(override_env_vars=environ)
    except (RuntimeError, ValueError, OSError) as error:
        raise unreadable_configuration(error) from None
    if not config.get("target_host"):
        raise ServiceUnavailableError(
            "No Temporal server is named.",
            code="no_address",
            next_step="Set TEMPORAL_ADDRESS (host:port) or a profile; `turnkeeper dev` prints the address of its own.",
        )
    refuse_careless(config)
    try:
        async with asyncio.timeout(within):
            client = await Client.connect(**config, data_converter=converter)
            await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    except RPCError as error:
        raise _explain(error, config.get("namespace", "default")) from None
    except (RuntimeError, ValueError, TimeoutError, OSError) as error:
        why, next_step = trouble(error, config, within)
        raise ServiceUnavailableError(
            f"The Temporal server does not answer: {why}.", next_step=next_step or _check(environ)
        ) from None
    return client


async def refuse_unreadable(client: Client, workflow_id: str) -> None:
    """Make sure that `client` can read what the workflow of that id, if there is one, was started with.

    A worker without the right keys would fail every workflow task that it takes: better that it takes none.

    Raises:
        EncryptionError: says which key is missing.
        ServiceUnavailableError: Temporal does not answer.

    """
    request = GetWorkflowExecutionHistoryRequest(
        namespace=client.namespace, execution=WorkflowExecution(workflow_id=workflow_id), maximum_page_size=1
    )
    try:
        answer = await client.workflow_service.get_workflow_execution_history(request)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return
        raise _explain(error, client.namespace) from error
    codec = client.data_converter.payload_codec
    for event in answer.history.events:
        started = event.workflow_execution_started_event_attributes.input.payloads
        if codec is not None and started:
            await codec.decode(started)


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
