"""An OpenCode in memory as a process of its own: thousands of sessions that are busy, at no cost.

python -m bench.busy_provider --port N

The conformance suite's OpenCode behind a socket. A prompt that is `AT_ONCE` is answered with its arrival; any other is
worked on for ever. It says no events. `GET /bench` tells how often the messages of each session were read.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from tests.conformance.opencode import OpenCode
from tests.unit.opencode_on_paper import as_json
from turnkeeper.dev.loopback_http import Connection, LoopbackServer, Request
from turnkeeper.dev.ports import LOOPBACK

AT_ONCE: Final = "at once"
READY: Final = "the busy provider listens"


@dataclass
class BusyProvider(OpenCode):
    """Keeps its table of sessions at work by directory, as OpenCode does, and counts looks."""

    looks: Counter[str] = field(default_factory=Counter)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The conformance suite's answer, but where a directory matters."""
        directory = request.url.params.get("directory")
        match request.method, request.url.path:
            case "GET", "/bench":
                return as_json(self.looks)
            case "GET", "/session/status":
                return as_json(self.statuses_of(directory))
            case "POST", "/session":
                return as_json(self.new_session({**_body(request), "directory": directory}))
        answer = await super().handle_async_request(request)
        call = self.calls.pop()
        if call.verb == "session.messages":
            self.looks[call.target] += 1
        return answer

    def statuses_of(self, directory: str | None) -> dict[str, Any]:
        """Those of one directory."""
        return {name: entry for name, entry in self.statuses.items() if self.sessions[name]["directory"] == directory}

    def answer_at_once(self, session_id: str) -> None:
        """End the run of a prompt that asks for it."""
        if self.messages[session_id][-2]["parts"][0]["text"] == AT_ONCE:
            self.finish_run(session_id)


def _body(request: httpx.Request) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(request.content)
    return body


async def serve(port: int) -> None:
    """Until killed."""
    provider = BusyProvider()
    provider.on_prompt = provider.answer_at_once

    async def handle(request: Request, connection: Connection) -> None:
        url = f"http://{LOOPBACK}{request.path}?{request.query}"
        answer = await provider.handle_async_request(httpx.Request(request.method, url, content=request.body))
        await connection.answer(answer.status_code, json.loads(answer.content or b"null"))

    await LoopbackServer(handle).start(LOOPBACK, port)
    sys.stderr.write(f"{READY}\n")
    await asyncio.Event().wait()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
