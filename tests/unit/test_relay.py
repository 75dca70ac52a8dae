"""What the relay tells a turn: every event, and with the end of a run what it read then."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Self, cast

import httpx
import pytest
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from activities.endpoints import Endpoints
from activities.relay import RelayActivities
from tests.unit.opencode_on_paper import (
    DIRECTORY,
    MESSAGE,
    SESSION,
    PaperOpenCode,
    Route,
    as_json,
    client_of,
    prompt,
    reply,
    session,
    settings,
)
from tests.unit.test_opencode_stream import CONNECTED, streaming
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import turn_workflow_id
from turnkeeper.observations import ProviderEvents, RelayRequest
from turnkeeper.opencode.driver import OpenCodeDriver
from turnkeeper.opencode.translate import INTERRUPTED
from turnkeeper.vocabulary import EventKind, Standing

NAME: Final = "paper"
CHILD: Final = "ses_child"
STATUS: Final = "GET /session/status"
LIST: Final = f"GET /session/{SESSION}/message"
FOR_EVER: Final = 3600.0
MARK: Final = {"turnkeeper": {"thread": "ada", "namespace": "default"}}


def frame(kind: str, **properties: object) -> bytes:
    payload = {"id": "evt_1", "type": kind, "properties": properties}
    return b"data: " + json.dumps({"directory": DIRECTORY, "payload": payload}).encode() + b"\n\n"


SESSIONS: Final = frame("session.updated", info=session(metadata=MARK)) + frame(
    "session.updated", info=session() | {"id": CHILD, "parentID": SESSION}
)
IDLE: Final = frame("session.status", sessionID=SESSION, status={"type": "idle"})
CHILD_IDLE: Final = frame("session.status", sessionID=CHILD, status={"type": "idle"})
CUT_OFF: Final = frame(
    "session.error", sessionID=SESSION, error={"name": "UnknownError", "data": {"message": INTERRUPTED}}
)
FAILED: Final = frame("session.error", sessionID=SESSION, error={"name": "APIError", "data": {"message": "no"}})
RETRYING: Final = frame(
    "session.status", sessionID=SESSION, status={"type": "retry", "attempt": 1, "message": "", "next": 1}
)
OVER: Final[Mapping[str, Route]] = {STATUS: as_json({}), LIST: as_json([prompt(), reply("msg_2", finish="stop")])}


class PaperEndpoints(Endpoints):
    """One endpoint, which says `frames` once."""

    def __init__(self, frames: bytes, routes: Mapping[str, Route]) -> None:
        super().__init__({NAME: settings()})
        health = as_json({"healthy": True, "version": "1.18.33"})
        stream = streaming(CONNECTED, SESSIONS, frames, FOR_EVER)
        self.paper = PaperOpenCode({"GET /global/event": stream, "GET /global/health": health, **routes})
        self._clients = {NAME: client_of(self.paper)}
        self._drivers = {NAME: OpenCodeDriver(self._clients[NAME])}


class PaperTemporal:
    """Keeps the signals of turns; none is listed as running."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[tuple[str, ProviderEvents]] = asyncio.Queue()
        self._workflow_id = ""

    def get_workflow_handle(self, workflow_id: str) -> Self:
        self._workflow_id = workflow_id
        return self

    async def signal(self, name: str, message: Any) -> None:  # noqa: ANN401 - one of two
        if name == "provider_events":
            self.told.put_nowait((self._workflow_id, message))

    async def list_workflows(self, *_: object, **__: object) -> AsyncIterator[Any]:
        nothing: tuple[Any, ...] = ()
        for running in nothing:
            yield running


async def told(frames: bytes, routes: Mapping[str, Route] = OVER) -> tuple[ProviderEvents, list[str]]:
    """The first thing that the session's turn is told, and what the provider was asked for until then."""
    endpoints, temporal, environment = PaperEndpoints(frames, routes), PaperTemporal(), ActivityEnvironment()
    relay = RelayActivities(endpoints, cast("Client", temporal)).relay
    running = asyncio.create_task(environment.run(relay, RelayRequest(endpoint=NAME, namespace="default")))
    try:
        async with asyncio.timeout(5):
            turn, message = await temporal.told.get()
    finally:
        environment.cancel()
        await asyncio.wait({running})
        await endpoints.close()
    assert turn == turn_workflow_id("ada")
    return message, endpoints.paper.calls()


async def test_the_end_of_a_run_is_told_with_what_was_read_then() -> None:
    said, calls = await told(IDLE)
    assert [event.kind for event in said.events] == [EventKind.IDLE]
    assert said.reading is not None
    assert (said.reading.session_id, said.reading.message_id) == (SESSION, MESSAGE)
    assert (said.reading.seen.standing, said.reading.seen.text) == (Standing.SUCCEEDED, "done")
    assert said.reading.text_limit == TurnLimits().text_limit, "as a turn of this endpoint would ask for"
    assert calls.count(STATUS) == 1


@pytest.mark.parametrize(
    ("frames", "kind"),
    [
        (CHILD_IDLE, EventKind.IDLE),
        (CUT_OFF, EventKind.IDLE),
        (FAILED, EventKind.SESSION_ERROR),
        (RETRYING, EventKind.RETRYING),
        (IDLE + RETRYING, EventKind.RETRYING),
    ],
    ids=["of a child", "of a run that was cut off", "an error", "a retry", "not the last word"],
)
async def test_other_events_are_told_without_a_reading(frames: bytes, kind: EventKind) -> None:
    said, calls = await told(frames)
    assert said.events[-1].kind is kind
    assert said.reading is None
    assert STATUS not in calls, "nobody reads for nothing"


@pytest.mark.parametrize(
    "routes",
    [
        {STATUS: httpx.ConnectError("away")},
        {STATUS: streaming(FOR_EVER)},
        {LIST: httpx.Response(500)},
        {STATUS: as_json({SESSION: {"type": "busy"}})},
    ],
    ids=["away", "silent", "broken", "at work"],
)
async def test_a_provider_that_cannot_be_read_keeps_no_event_back(
    monkeypatch: pytest.MonkeyPatch, routes: Mapping[str, Route]
) -> None:
    monkeypatch.setattr("turnkeeper.opencode.driver.READ_SECONDS", 0.2)
    said, _ = await told(IDLE, {**OVER, **routes})
    assert ([event.kind for event in said.events], said.reading) == ([EventKind.IDLE], None)
