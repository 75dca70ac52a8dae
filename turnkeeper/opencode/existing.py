"""A session that is there already: read as it is found, or marked as a thread's."""

from __future__ import annotations

from typing import Final

from turnkeeper.errors import ProviderError, ProviderNotFoundError, ProviderRefusedError, RefusedError, bounded
from turnkeeper.findings import AdoptRequest, SessionFound, SessionReading, SessionReadRequest
from turnkeeper.observations import Observation, Refused, Seen, SessionMissing, Unreachable
from turnkeeper.opencode.client import OpenCodeClient
from turnkeeper.opencode.marks import METADATA_KEY, facts_of_session, mark
from turnkeeper.opencode.sessions import add_mark, check_form
from turnkeeper.opencode.wire import Message
from turnkeeper.vocabulary import Standing

ADOPTED: Final = "adopted"
"""In the mark, instead of the key of a creation of ours."""

MAX_WORDS: Final = 200
"""Characters kept of a prompt that somebody else sent: more than any list shows."""


async def read_session(client: OpenCodeClient, request: SessionReadRequest) -> SessionReading:
    """See `OpenCodeDriver.read_session`."""
    try:
        check_form(request.session_id)
        session = await client.session(request.session_id)
        # Asked with another directory than its own, the status says nothing of a session that works.
        statuses = await client.statuses(session.directory)
    except ProviderNotFoundError:
        return SessionMissing()
    except (RefusedError, ProviderRefusedError) as error:
        return Refused(failure=error.failure())
    except ProviderError as error:
        return Unreachable(failure=error.failure())
    entry, facts = statuses.get(session.id), facts_of_session(session)
    return SessionFound(
        session_id=session.id,
        directory=session.directory,
        busy=entry is not None and entry.active,
        parent_id=facts.parent_id,
        thread_id=facts.thread,
        namespace=facts.namespace,
    )


async def mark_session(client: OpenCodeClient, request: AdoptRequest) -> None:
    """Make it the thread's: from here on its events go there. What others wrote into the metadata stays."""
    session = await client.session(request.session_id)
    ours = mark(request.thread_id, request.namespace, ADOPTED)
    if session.metadata.get(METADATA_KEY) != ours:
        await add_mark(client, session, ours)


def is_live(reading: Observation) -> bool:
    """Does the newest prompt run, or may it begin to? One that never begins is settled as dropped, truly."""
    live = {Standing.RUNNING, Standing.WAITING, Standing.UNSTARTED}
    return isinstance(reading, Seen) and reading.standing in live


def words_of(prompt: Message) -> str:
    """The beginning of what was asked."""
    return bounded(" ".join(part.text for part in prompt.parts if not part.synthetic), MAX_WORDS)
