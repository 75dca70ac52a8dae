"""The endpoints that a worker is configured for, and how activities live while they call them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from temporalio import activity

from activities.confinement import refuse_outside
from turnkeeper.errors import RefusedError, TurnkeeperError
from turnkeeper.failures import to_application_error
from turnkeeper.observations import Refused
from turnkeeper.opencode.client import OpenCodeClient
from turnkeeper.opencode.driver import OpenCodeDriver
from turnkeeper.settings import EndpointSettings

HEARTBEAT_INTERVAL: Final = 1.0
"""Seconds between heartbeats of a short call: a killed worker is noticed within the 4 s that workflows allow."""


class Endpoints:
    """One driver an endpoint, shared by all activities of the process: one connection pool each."""

    def __init__(self, settings: Mapping[str, EndpointSettings]) -> None:
        """Prepare the drivers; nothing is connected before the first call."""
        self._settings = dict(settings)
        self._clients = {name: OpenCodeClient(endpoint, name) for name, endpoint in settings.items()}
        self._drivers = {name: OpenCodeDriver(client) for name, client in self._clients.items()}

    def driver(self, name: str) -> OpenCodeDriver:
        """The endpoint's driver.

        Raises:
            RefusedError: this worker knows no such endpoint.

        """
        self.settings(name)
        return self._drivers[name]

    def client(self, name: str) -> OpenCodeClient:
        """The endpoint's connection, for what is no verb of a turn; raises as `driver` does."""
        self.settings(name)
        return self._clients[name]

    def settings(self, name: str) -> EndpointSettings:
        """The endpoint's configuration; raises as `driver` does."""
        if name not in self._settings:
            known = ", ".join(sorted(self._settings))
            raise RefusedError(
                f"There is no endpoint {name!r}.", code="unknown_endpoint", next_step=f"Configured here: {known}."
            )
        return self._settings[name]

    @asynccontextmanager
    async def calling(self, name: str) -> AsyncIterator[OpenCodeDriver]:
        """The endpoint's driver for one provider call, with heartbeats; an unknown endpoint is an application error."""
        with as_application_errors():
            driver = self.driver(name)
        async with heartbeats():
            yield driver

    async def refuse_outside(self, name: str, directory: str) -> Refused | None:
        """A refusal if the directory is not inside the endpoint's roots. Unknown endpoints are refused by the call."""
        settings = self._settings.get(name)
        return await asyncio.to_thread(refuse_outside, directory, settings) if settings is not None else None

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(client.close() for client in self._clients.values()))


@asynccontextmanager
async def heartbeats() -> AsyncIterator[None]:
    """Heartbeat while the body runs; the body's own error always wins. A local activity has none to give."""
    if activity.info().is_local:
        yield
        return

    async def beat() -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_INTERVAL)  # first: most calls end before their first heartbeat
            activity.heartbeat()

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()


@contextmanager
def as_application_errors() -> Iterator[None]:
    """Our errors as Temporal's, so that a workflow reads a code instead of a Python type."""
    try:
        yield
    except TurnkeeperError as error:
        raise to_application_error(error) from error
