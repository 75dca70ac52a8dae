"""A provider that answers at once: what a turn needs of OpenCode's HTTP surface, in memory, with no model behind it.

python -m bench.instant_provider --port N --directory PATH; `bench.throughput` starts it. A prompt is stored and
answered before its 204 leaves; the events of a run, those that decide and one of each other kind, follow at once. Not
for tests: it knows no failure, no abort and no question.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

from turnkeeper.dev.loopback_http import Connection, LoopbackServer, Request
from turnkeeper.dev.ports import LOOPBACK

HEARTBEAT: Final = 10.0
"""Seconds of silence before the stream says that it lives, as OpenCode's does."""

VERSION: Final = "1.18.33"
"""The OpenCode whose answers these are; a relay asks for it."""

ANSWER: Final = "done"


class InstantProvider:
    """Sessions and messages by id, and the streams that are attached."""

    def __init__(self, directory: str) -> None:
        """Of every session the `directory`."""
        self._directory = directory
        self._sessions: dict[str, dict[str, Any]] = {}
        self._messages: dict[str, list[dict[str, Any]]] = {}
        self._streams: set[asyncio.Queue[bytes]] = set()
        self._events = 0

    async def handle(self, request: Request, connection: Connection) -> None:
        """Answer one request."""
        match request.method, request.path.strip("/").split("/"):
            case "GET", ["global", "health"]:
                await connection.answer(200, {"healthy": True, "version": VERSION})
            case "GET", ["global", "event"]:
                await self._stream(connection)
            case "POST", ["session"]:
                await connection.answer(200, self._create(json.loads(request.body)))
            case "GET", ["session", "status"]:
                await connection.answer(200, {})  # a session that works would be here: none ever does
            case "GET", ["session", session_id] if session_id in self._sessions:
                await connection.answer(200, self._sessions[session_id])
            case "GET", ["session", session_id, "message"] if session_id in self._sessions:
                await connection.answer(200, self._messages[session_id])
            case "POST", ["session", session_id, "prompt_async"] if session_id in self._sessions:
                events = self._run(session_id, json.loads(request.body))
                await connection.answer(HTTPStatus.NO_CONTENT, None)
                self._tell(events)
            case _:
                await connection.answer(404, {"name": "NotFoundError", "data": {"message": request.path}})

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        session_id = f"ses_{len(self._sessions):026}"
        session = {
            "id": session_id,
            "directory": self._directory,
            "time": {"created": _now(), "updated": _now()},
        } | body
        self._sessions[session_id] = session
        self._messages[session_id] = []
        self._tell([("session.created", {"sessionID": session_id, "info": session})])
        return session

    def _run(self, session_id: str, body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """Store the prompt and its answer; the events that say so."""
        prompt_id, now = body["messageID"], _now()
        common = {"sessionID": session_id}
        prompt = {"id": prompt_id, "role": "user", "time": {"created": now}} | common
        answer = {
            "id": f"{prompt_id}a",
            "role": "assistant",
            "parentID": prompt_id,
            "finish": "stop",
            "time": {"created": now, "completed": now},
            "cost": 0,
            "tokens": {"input": 10, "output": 1, "reasoning": 0, "cache": {"read": 0, "write": 0}},
        } | common
        part = {"id": f"prt_{prompt_id}", "messageID": answer["id"], "type": "text", "text": ANSWER} | common
        self._messages[session_id] += [{"info": prompt, "parts": body["parts"]}, {"info": answer, "parts": [part]}]
        return [
            ("message.updated", common | {"info": prompt}),
            ("session.status", common | {"status": {"type": "busy"}}),
            ("message.part.updated", common | {"part": part}),
            ("message.updated", common | {"info": answer}),
            ("session.status", common | {"status": {"type": "idle"}}),
            ("session.idle", common),
        ]

    def _tell(self, events: list[tuple[str, dict[str, Any]]]) -> None:
        data = b"".join(self._frames(events))
        for stream in self._streams:
            stream.put_nowait(data)

    def _frames(self, events: list[tuple[str, dict[str, Any]]]) -> Iterator[bytes]:
        for kind, properties in events:
            self._events += 1
            payload = {"id": f"evt_{self._events:026}", "type": kind, "properties": properties}
            event = {"directory": self._directory, "project": "global", "payload": payload}
            yield b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"

    async def _stream(self, connection: Connection) -> None:
        """Until the client goes away, which cancels this."""
        waiting: asyncio.Queue[bytes] = asyncio.Queue()
        self._streams.add(waiting)
        try:
            connection.begin_stream()
            await connection.stream(b"".join(self._frames([("server.connected", {})])))
            while True:
                try:
                    data = await asyncio.wait_for(waiting.get(), HEARTBEAT)
                except TimeoutError:
                    data = b"".join(self._frames([("server.heartbeat", {})]))
                await connection.stream(data)
        finally:
            self._streams.discard(waiting)


def _now() -> float:
    return time.time() * 1000


async def run(port: int, directory: str) -> None:
    """Serve until killed."""
    await LoopbackServer(InstantProvider(directory).handle).start(LOOPBACK, port)
    print("listening", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--directory", required=True)
    options = parser.parse_args()
    asyncio.run(run(options.port, options.directory))
