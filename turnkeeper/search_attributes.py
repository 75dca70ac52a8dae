"""What operators can list and filter workflows by. Never a secret and never a text: these are not encrypted."""

from __future__ import annotations

from typing import Final

from temporalio.common import SearchAttributeKey

THREAD: Final = SearchAttributeKey.for_keyword("TurnkeeperThread")
STATE: Final = SearchAttributeKey.for_keyword("TurnkeeperState")
ENDPOINT: Final = SearchAttributeKey.for_keyword("TurnkeeperEndpoint")
REASON: Final = SearchAttributeKey.for_keyword("TurnkeeperReason")
SESSION: Final = SearchAttributeKey.for_keyword("TurnkeeperSession")

ALL: Final = (THREAD, STATE, ENDPOINT, REASON, SESSION)
