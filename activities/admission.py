"""`admit`: is a start acceptable? Asked at the door, before anything of it exists."""

from __future__ import annotations

import asyncio

from pydantic import ValidationError
from temporalio import activity

from activities.confinement import admitted_directory
from activities.endpoints import Endpoints, as_application_errors, heartbeats
from turnkeeper.errors import RefusedError
from turnkeeper.limits import TurnLimits
from turnkeeper.observations import (
    Admission,
    AdmitRequest,
    SessionOpened,
    SessionReport,
    SessionRequest,
    Unreachable,
)
from turnkeeper.opencode.driver import OpenCodeDriver
from turnkeeper.settings import EndpointSettings


class AdmissionActivities:
    """Checks against configuration, the file system and what the provider offers."""

    def __init__(self, endpoints: Endpoints) -> None:
        """Use the worker's endpoints."""
        self._endpoints = endpoints

    @activity.defn(name="admit")
    async def admit(self, request: AdmitRequest) -> Admission:
        """The admission, or a refusal that says what to change. A provider that is away refuses nothing."""
        with as_application_errors():
            settings = self._endpoints.settings(request.endpoint)
            limits = admitted_limits(request.limits, settings)
            directory = await asyncio.to_thread(admitted_directory, request.directory, settings)
            request = request.model_copy(update={"directory": directory})
            driver = self._endpoints.driver(request.endpoint)
            async with heartbeats():
                await driver.check_start(request)
                opened = await _open_session(driver, request.session, directory)
        return Admission(
            task_queue=settings.task_queue,
            directory=directory,
            limits=limits,
            session_id=opened.session_id if isinstance(opened, SessionOpened) else None,
            # Whatever else came of it, the turn finds out; but it must not create a second one beside a lost answer.
            creation_key=request.session.creation_key if request.session and isinstance(opened, Unreachable) else None,
            max_running_turns=settings.max_running_turns,
        )


async def _open_session(driver: OpenCodeDriver, request: SessionRequest | None, directory: str) -> SessionReport | None:
    if request is None:
        return None
    return await driver.open_session(request.model_copy(update={"directory": directory}))


def admitted_limits(wanted: TurnLimits | None, settings: EndpointSettings) -> TurnLimits:
    """The endpoint's limits with those that the start sets.

    Raises:
        RefusedError: together they contradict each other.

    """
    try:
        return settings.limits.overridden_by(wanted)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise RefusedError(f"The limits do not fit the endpoint's: {problem['msg']}.", code="bad_limits") from None
