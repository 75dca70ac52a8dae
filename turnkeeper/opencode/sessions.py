"""Opening the provider session of a thread: created once, or resumed, and marked as ours.

The mark is `metadata.turnkeeper` with thread, namespace and the creation's key, by which a session is found again
whose creation was not answered. It is what routes an event to its turn without any
registry, so a session that we resume without it gets it.
"""

from __future__ import annotations

import posixpath
from typing import Final

from turnkeeper.errors import ProviderError, ProviderNotFoundError, ProviderRefusedError, RefusedError, bounded
from turnkeeper.observations import (
    Refused,
    SessionBusy,
    SessionMissing,
    SessionOpened,
    SessionReport,
    SessionRequest,
    Unreachable,
)
from turnkeeper.opencode.catalogue import Catalogue
from turnkeeper.opencode.client import OpenCodeClient
from turnkeeper.opencode.identifiers import SESSION_PREFIX
from turnkeeper.opencode.marks import METADATA_KEY, facts_of_session, mark
from turnkeeper.opencode.wire import Session

MAX_TITLE: Final = 100
"""Characters of a session's title: a line in OpenCode's own lists."""


async def open_session(client: OpenCodeClient, catalogue: Catalogue, request: SessionRequest) -> SessionReport:
    """Create or resume; see `OpenCodeDriver.open_session`."""
    try:
        await catalogue.check(request.directory, request.model, request.agent)
        if request.session_id is None:
            return await _create(client, request)
        return await _resume(client, request, request.session_id)
    except (RefusedError, ProviderRefusedError) as error:
        return Refused(failure=error.failure())
    except ProviderError as error:
        return Unreachable(failure=error.failure())


async def _create(client: OpenCodeClient, request: SessionRequest) -> SessionReport:
    # Without a title of ours, the first prompt costs one more model call, whose stall nobody would see.
    title = bounded(request.title, MAX_TITLE) or f"Thread {request.thread_id}"
    ours = mark(request.thread_id, request.namespace, request.creation_key)
    if request.perhaps_created:
        for session in await client.sessions_titled(request.directory, title):
            if session.metadata.get(METADATA_KEY) == ours:
                return SessionOpened(session_id=session.id)
    session = await client.create_session(request.directory, title, {METADATA_KEY: ours})
    _check_same(session.directory, request.directory, session.id)
    return SessionOpened(session_id=session.id, created=True)


async def _resume(client: OpenCodeClient, request: SessionRequest, session_id: str) -> SessionReport:
    check_form(session_id)
    try:
        session = await client.session(session_id)
    except ProviderNotFoundError:
        return SessionMissing()
    _check_same(session.directory, request.directory, session_id)
    facts = facts_of_session(session)
    if (facts.thread, facts.namespace) != (request.thread_id, request.namespace):
        await add_mark(client, session, mark(request.thread_id, request.namespace, request.creation_key))
    status = (await client.statuses(request.directory)).get(session_id)
    if status is not None and status.active:
        return SessionBusy(session_id=session_id)
    return SessionOpened(session_id=session_id)


async def add_mark(client: OpenCodeClient, session: Session, ours: dict[str, str]) -> None:
    """Mark the session as ours. Setting metadata replaces all of it: what others wrote there is kept."""
    await client.describe_session(session.id, None, {**session.metadata, METADATA_KEY: ours})


def check_form(session_id: str) -> None:
    """Refuse what can be no session's id."""
    # OpenCode answers a malformed id with 500 (measured on 1.18.33), which would look like trouble that passes.
    if not session_id.startswith(SESSION_PREFIX):
        raise RefusedError(
            f"{session_id[:60]!r} is not the id of an OpenCode session.",
            next_step=f"OpenCode's begin with {SESSION_PREFIX}.",
            code="malformed_session",
        )


def _check_same(found: str, wanted: str, session_id: str) -> None:
    # OpenCode keeps a directory as it was given, and asks for status by the same string: no links are followed here.
    if posixpath.normpath(found) != posixpath.normpath(wanted):
        raise RefusedError(
            f"Session {session_id} belongs to directory {found}, not to {wanted}.",
            next_step="Start the thread in that directory, or without the session.",
            code="foreign_directory",
        )
