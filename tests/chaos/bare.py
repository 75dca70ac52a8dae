"""What people do in OpenCode itself, with nothing of Turnkeeper in between, while OpenCode may come and go."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Final

import httpx

from tests.e2e.bare_session import BareSession

AGAIN: Final = 0.3
"""Seconds before a person tries again."""

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
        except httpx.HTTPError:
            if session is not None and await _perhaps_stored(session):
                return session.id
        await asyncio.sleep(AGAIN)


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
        except httpx.HTTPError:
            await asyncio.sleep(AGAIN)


async def is_sound(client: httpx.AsyncClient, directory: Path, *, within: float) -> bool:
    """Does OpenCode answer a prompt there?"""
    try:
        async with asyncio.timeout(within):
            session = await BareSession.create(client, directory, title="are you well?")
            await session.run("say hello")
    except (httpx.HTTPError, TimeoutError, AssertionError):
        return False
    return True


async def abort_all(client: httpx.AsyncClient, sessions: frozenset[str]) -> None:
    """Once each; what OpenCode makes of it is for the caller to see."""
    for session in sessions:
        await client.post(f"/session/{session}/abort")
