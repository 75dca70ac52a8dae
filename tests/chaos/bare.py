"""What people do in OpenCode itself, with nothing of Turnkeeper in between, while OpenCode may come and go."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Final

import httpx

from tests.e2e.bare_session import BareSession

AGAIN: Final = 0.3
"""Seconds before a person tries again."""

PROBE_TITLE: Final = "are you well?"
"""Of a session that only asked whether OpenCode answers."""

STORED_WITHIN: Final = 5.0
"""Seconds in which a prompt that OpenCode took is stored: 1.25 s at worst when it is well."""


async def begin_in_opencode(client: httpx.AsyncClient, directory: Path, prompt: str) -> str:
    """A session of its own with this prompt, stored once. The session's id.

    The prompt has an id, so that giving it again cannot double it; it is given again only while it is not stored.
    """
    session = None
    message, part = f"msg_{uuid.uuid4().hex[:26]}", f"prt_{uuid.uuid4().hex[:26]}"
    while True:
        try:
            if session is None:
                session = await BareSession.create(client, directory, title="typed by a person")
            body = {"messageID": message, "parts": [{"id": part, "type": "text", "text": prompt}]}
            (await client.post(f"/session/{session.id}/prompt_async", json=body)).raise_for_status()
            if await _stored(session):
                return session.id
        except httpx.HTTPError as error:
            if _is_unknown(error):
                session = None  # it was never stored
            elif session is not None and await _perhaps_stored(session):
                return session.id
        await asyncio.sleep(AGAIN)


def _is_unknown(error: httpx.HTTPError) -> bool:
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code == httpx.codes.NOT_FOUND


async def _stored(session: BareSession) -> bool:
    for _ in range(round(STORED_WITHIN / AGAIN)):
        if await session.messages():
            return True
        await asyncio.sleep(AGAIN)
    return False


async def _perhaps_stored(session: BareSession) -> bool:
    """Asked until OpenCode answers."""
    while True:
        try:
            return await _stored(session)
        except httpx.HTTPError as error:
            if _is_unknown(error):
                return False
            await asyncio.sleep(AGAIN)


async def is_sound(client: httpx.AsyncClient, directory: Path, failed: Collection[str], *, within: float) -> bool:
    """Does OpenCode answer a prompt there? `failed`: the sessions, now and later, that it told an error of."""
    try:
        async with asyncio.timeout(within):
            session = await BareSession.create(client, directory, title=PROBE_TITLE)
            await session.prompt("say hello")
            while session.id not in failed:
                messages = await session.messages()
                if len(messages) > 1 and "completed" in messages[-1]["info"]["time"]:
                    return True
                await asyncio.sleep(AGAIN)
    except (httpx.HTTPError, TimeoutError):
        pass
    return False


async def abort_all(client: httpx.AsyncClient, sessions: frozenset[str]) -> None:
    """Once each; what OpenCode makes of it is for the caller to see."""
    for session in sessions:
        await client.post(f"/session/{session}/abort")
