"""What operators can list and filter workflows by. Never a secret and never a text: these are not encrypted."""

from __future__ import annotations

from typing import Final

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from turnkeeper.errors import ConfigurationError

THREAD: Final = SearchAttributeKey.for_keyword("TurnkeeperThread")
STATE: Final = SearchAttributeKey.for_keyword("TurnkeeperState")
ENDPOINT: Final = SearchAttributeKey.for_keyword("TurnkeeperEndpoint")
REASON: Final = SearchAttributeKey.for_keyword("TurnkeeperReason")
SESSION: Final = SearchAttributeKey.for_keyword("TurnkeeperSession")

ALL: Final = (THREAD, STATE, ENDPOINT, REASON, SESSION)


async def register_search_attributes(client: Client) -> None:
    """Make sure that the namespace knows them; safe to repeat, and from many workers at once.

    Raises:
        ConfigurationError: they are missing and this client may not add them.

    """
    service = client.operator_service
    try:
        listed = await service.list_search_attributes(ListSearchAttributesRequest(namespace=client.namespace))
        missing = [key for key in ALL if key.name not in listed.custom_attributes]
        if not missing:
            return
        await service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace=client.namespace,
                search_attributes={key.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD for key in missing},
            )
        )
    except RPCError as error:
        if error.status is RPCStatusCode.ALREADY_EXISTS:
            return
        names = ", ".join(key.name for key in ALL)
        raise ConfigurationError(
            f"search attributes of namespace {client.namespace!r}",
            f"{error.status.name} when checking or adding them",
            f"a client that may add them, or these added by an operator as Keyword: {names}",
        ) from error


def attributes_of(thread_id: str, endpoint: str) -> TypedSearchAttributes:
    """What a thread is listed by."""
    return TypedSearchAttributes([SearchAttributePair(THREAD, thread_id), SearchAttributePair(ENDPOINT, endpoint)])
