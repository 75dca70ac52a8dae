"""Delivering a prompt at most once: look for it, send it if absent.

OpenCode's 204 means that it took the request; the message can be read 0 to 1.25 s later (measured on 1.18.33), and
looking for it is left to the turn, which looks anyway. A repeated post of the same id is harmless only while its turn
is the newest and did not fail: otherwise it *runs again*. So a prompt that left us is never sent again here, whatever
its answer was.

A prompt may be stored and never run: one that was meant for a running turn and dropped there, one whose connection or
whose OpenCode died while its directory was started. Every later model call would see it. It is withdrawn first: an idle
session deletes a message and nothing else, a busy one refuses (409; measured on 1.18.33). It is then sent under the id
that it had, so that an old post of it, however late, is the same; and a run that ended between the last reading and the
deletion is not repeated, because OpenCode finds its answer to be the newer message (measured on 1.18.33).
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final

from turnkeeper.errors import (
    DeliveryUnknownError,
    ProviderError,
    ProviderNotFoundError,
    ProviderRefusedError,
    ProviderUnreachableError,
)
from turnkeeper.observations import (
    Accepted,
    NotSent,
    NotThere,
    PerhapsSent,
    PromptRequest,
    Refused,
    SessionBusy,
    SubmitReport,
)
from turnkeeper.opencode.client import OpenCodeClient
from turnkeeper.opencode.family import was_taken_up
from turnkeeper.opencode.window import read_turn

SUBMIT_SECONDS: Final = 12.0
"""Usual bound of the whole delivery."""

_BUSY: Final = f"provider_{HTTPStatus.CONFLICT.value}"


async def submit(client: OpenCodeClient, request: PromptRequest, seconds: float) -> SubmitReport:
    """Deliver the prompt; see `OpenCodeDriver.submit`."""
    delivery = _Delivery(client, request)
    try:
        async with asyncio.timeout(seconds):
            return await delivery.run()
    except TimeoutError:
        return delivery.out_of_time(seconds)


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
            for left in self._request.withdraw:
                if not await self._withdrawn(left):
                    return SessionBusy(session_id=self._request.session_id)
            if await self._stored():
                return Accepted()
        except ProviderRefusedError as error:
            if error.detail_code == _BUSY:
                return SessionBusy(session_id=self._request.session_id)
            return Refused(failure=error.failure())
        except ProviderError as error:
            return NotSent(failure=error.failure())
        return await self._send()

    def out_of_time(self, seconds: float) -> SubmitReport:
        if self._left_us:
            return PerhapsSent(detail=f"The provider did not say within {seconds:g} s whether it took the prompt.")
        slow = DeliveryUnknownError(f"The provider did not answer within {seconds:g} s; nothing was sent.")
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
            return PerhapsSent(detail=error.message)
        return PerhapsSent(taken=True)

    async def _withdrawn(self, message_id: str) -> bool:
        """Out of the session, unless it was answered after all: then it is left, and followed if it is ours.

        False while the session works on something, which may be this very prompt.
        """
        request = self._request
        status = (await self._client.statuses(request.directory)).get(request.session_id)
        try:
            messages = await read_turn(self._client, request.session_id, message_id)
        except ProviderNotFoundError:
            return True  # there is no session: sending says so
        if not messages or was_taken_up(messages, message_id):
            return True
        if status is not None and status.active:
            return False
        await self._client.delete_message(request.session_id, message_id)
        return True

    async def _stored(self) -> bool:
        try:
            await self._client.message(self._request.session_id, self._request.message_id)
        except ProviderNotFoundError:
            return False
        return True
