"""Delivering a prompt at most once: look for it, send it if absent, look until it is stored.

OpenCode's 204 means that it took the request; the message can be read 0 to 1.25 s later (measured on 1.18.33). A
repeated post of the same id is harmless only while its turn is the newest and did not fail: otherwise it *runs
again*. So a prompt that left us is never sent again here, whatever its answer was.
"""

from __future__ import annotations

import asyncio
from typing import Final

from turnkeeper.errors import (
    DeliveryUnknownError,
    ProviderError,
    ProviderNotFoundError,
    ProviderRefusedError,
    ProviderUnreachableError,
)
from turnkeeper.observations import Accepted, NotSent, NotThere, PerhapsSent, PromptRequest, Refused, SubmitReport
from turnkeeper.opencode.client import OpenCodeClient

SUBMIT_SECONDS: Final = 12.0
"""Bound of the whole delivery. The activity's own timeout must be longer: then no post can leave after the workflow
gave the delivery up."""

STORED_SECONDS: Final = 5.0
"""How long to wait for a sent prompt to be stored; four times the worst measured."""

FIRST_PAUSE_SECONDS: Final = 1.0
"""Before the first look for the stored prompt, then doubling: a server needs 0 to 0.35 s, also with 25 posts at once.
Nobody waits for this answer, and every look is work for OpenCode's one thread at the moment when all prompts arrive."""

LONGEST_PAUSE_SECONDS: Final = 2.0


async def submit(client: OpenCodeClient, request: PromptRequest) -> SubmitReport:
    """Deliver the prompt; see `OpenCodeDriver.submit`."""
    delivery = _Delivery(client, request)
    try:
        async with asyncio.timeout(SUBMIT_SECONDS):
            return await delivery.run()
    except TimeoutError:
        return delivery.out_of_time()


class _Delivery:
    """One attempt; remembers whether the prompt may have left us."""

    def __init__(self, client: OpenCodeClient, request: PromptRequest) -> None:
        self._client = client
        self._request = request
        self._left_us = False

    async def run(self) -> SubmitReport:
        if self._request.fresh_session:
            return await self._send()
        try:
            if await self._stored():
                return Accepted(already_there=True)
        except ProviderRefusedError as error:
            return Refused(failure=error.failure())
        except ProviderError as error:
            return NotSent(failure=error.failure())
        return await self._send()

    def out_of_time(self) -> SubmitReport:
        if self._left_us:
            return PerhapsSent(detail=f"The prompt was not seen in the message list within {SUBMIT_SECONDS:g} s.")
        slow = DeliveryUnknownError(f"The provider did not answer within {SUBMIT_SECONDS:g} s; nothing was sent.")
        return NotSent(failure=slow.failure())

    async def _send(self) -> SubmitReport:
        request = self._request
        self._left_us = True
        try:
            await self._client.prompt(
                request.session_id,
                request.directory,
                request.message_id,
                request.prompt,
                model=request.model,
                agent=request.agent,
            )
        except ProviderNotFoundError:
            return NotThere(what="session")
        except ProviderRefusedError as error:
            return Refused(failure=error.failure())
        except ProviderUnreachableError as error:
            return NotSent(failure=error.failure())
        except ProviderError as error:
            return await self._wait_until_stored(error.message)
        return await self._wait_until_stored("The provider took the prompt.")

    async def _wait_until_stored(self, sent: str) -> SubmitReport:
        pause = FIRST_PAUSE_SECONDS
        doubt = ""
        try:
            async with asyncio.timeout(STORED_SECONDS):
                while True:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                    try:
                        if await self._stored():
                            return Accepted()
                    except ProviderError as error:
                        doubt = f" {error.message}"
        except TimeoutError:
            return PerhapsSent(detail=f"{sent} It was not seen in the message list within {STORED_SECONDS:g} s.{doubt}")

    async def _stored(self) -> bool:
        try:
            await self._client.message(self._request.session_id, self._request.message_id)
        except ProviderNotFoundError:
            return False
        return True
