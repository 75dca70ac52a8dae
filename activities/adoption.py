"""`adopt_session`: may the thread have this session? If so, mark it, and say what runs in it."""

from __future__ import annotations

import asyncio
from typing import NoReturn

from temporalio import activity

from activities.admission import admitted_limits
from activities.confinement import admitted_directory
from activities.endpoints import Endpoints, as_application_errors, heartbeats
from turnkeeper.adoption import session_refusal
from turnkeeper.errors import RefusedError, ServiceUnavailableError
from turnkeeper.findings import AdoptElsewhere, Adoption, AdoptRequest, SessionFound, SessionReadRequest, SessionTaken
from turnkeeper.observations import Failure, Refused, SessionMissing, Unreachable
from turnkeeper.settings import EndpointSettings


class AdoptionActivities:
    """Checks first, and changes nothing before all of them passed."""

    def __init__(self, endpoints: Endpoints) -> None:
        """Use the worker's endpoints."""
        self._endpoints = endpoints

    @activity.defn(name="adopt_session")
    async def adopt_session(self, request: AdoptRequest) -> Adoption | AdoptElsewhere:
        """The adoption, a refusal that says what to change, or who has to be asked.

        Asked inside a workflow task, it is a worker of the workflows' queue that answers; the endpoint may be one that
        only workers of its own queue reach.
        """
        info = activity.info()
        with as_application_errors():
            settings = self._endpoints.settings(request.endpoint)
            if info.is_local and settings.task_queue != info.task_queue:
                return AdoptElsewhere(ask_at=settings.task_queue)
            async with heartbeats():
                return await self._adopt(request, settings)

    async def _adopt(self, request: AdoptRequest, settings: EndpointSettings) -> Adoption:
        limits = admitted_limits(request.limits, settings)
        driver = self._endpoints.driver(request.endpoint)
        found = await driver.read_session(SessionReadRequest(endpoint=request.endpoint, session_id=request.session_id))
        if not isinstance(found, SessionFound):
            _refuse(request.session_id, found)
        if (error := session_refusal(found, request)) is not None:
            raise error
        directory = await asyncio.to_thread(_own_directory, found, settings)
        taken = await driver.take_session(request, directory)
        if not isinstance(taken, SessionTaken):
            _refuse(request.session_id, taken)
        return Adoption(
            session_id=found.session_id,
            directory=directory,
            task_queue=settings.task_queue,
            limits=limits,
            live=taken.live,
            max_running_turns=settings.max_running_turns,
        )


def _own_directory(found: SessionFound, settings: EndpointSettings) -> str:
    directory = admitted_directory(found.directory, settings)
    if directory != found.directory:
        # OpenCode asks for status by the very words that the session was made with; ours would never match them.
        raise RefusedError(
            f"Session {found.session_id} works in {found.directory}, which leads to {directory} by a link.",
            code="linked_directory",
            next_step="Begin a session in the directory itself.",
        )
    return directory


def _refuse(session_id: str, report: SessionMissing | Refused | Unreachable) -> NoReturn:
    match report:
        case SessionMissing():
            raise RefusedError(
                f"There is no session {session_id} at this endpoint.",
                code="no_session",
                next_step="See `opencode session list`, or name another endpoint.",
            )
        case Refused(failure=failure):
            raise RefusedError(failure.message, code=failure.code, next_step=failure.next_step)
        case Unreachable(failure=failure):
            raise _not_asked(failure)


def _not_asked(failure: Failure) -> ServiceUnavailableError:
    return ServiceUnavailableError(
        f"The session could not be read: {failure.message}",
        code=failure.code,
        next_step="Try again: it cannot be adopted twice.",
    )
