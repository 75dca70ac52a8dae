"""A session as it is found: does it exist, does it work on something? Changes nothing."""

from __future__ import annotations

from turnkeeper.errors import ProviderError, ProviderNotFoundError, ProviderRefusedError, RefusedError
from turnkeeper.findings import SessionFound, SessionReading, SessionReadRequest
from turnkeeper.observations import Refused, SessionMissing, Unreachable
from turnkeeper.opencode.client import OpenCodeClient
from turnkeeper.opencode.sessions import check_form


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
    entry = statuses.get(session.id)
    return SessionFound(session_id=session.id, directory=session.directory, busy=entry is not None and entry.active)
