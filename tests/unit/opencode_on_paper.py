"""An OpenCode that answers from a table: routes to answers, every request kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from turnkeeper.opencode.client import OpenCodeClient
from turnkeeper.opencode.driver import OpenCodeDriver
from turnkeeper.settings import EndpointSettings

HOST: Final = "opencode.internal.example"
PASSWORD: Final = "a-very-secret-password"  # noqa: S105 - the point is that it never shows up
SECRETS: Final = (HOST, PASSWORD)
DIRECTORY: Final = "/workspace"
SESSION: Final = "ses_dfdcbef56ffe5SeriyNDXwJH4G"
MESSAGE: Final = "msg_2023411db001AuKVkzq8SsSkBN"

Answer = httpx.Response | Exception
Route = Answer | Callable[[httpx.Request], Answer]


def as_json(body: object, status: int = 200, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.Response(
        status, content=json.dumps(body), headers={"content-type": "application/json", **(headers or {})}
    )


def not_found(what: str = "Message") -> httpx.Response:
    return as_json({"name": "NotFoundError", "data": {"message": f"{what} not found: x"}}, 404)


def web_page() -> httpx.Response:
    return httpx.Response(200, text="<!doctype html><html></html>", headers={"content-type": "text/html"})


def no_content() -> httpx.Response:
    return httpx.Response(204)


def in_turn(*answers: Route) -> Route:
    """Each answer once; the last one for ever."""
    left: Iterator[Route] = iter(answers)
    current: list[Route] = [answers[-1]]

    def answer(request: httpx.Request) -> Answer:
        current[0] = next(left, answers[-1])
        return current[0](request) if callable(current[0]) else current[0]

    return answer


@dataclass
class PaperOpenCode(httpx.AsyncBaseTransport):
    """Routes are `METHOD path`; a path without a route gives the web page, as OpenCode does."""

    routes: Mapping[str, Route]
    requests: list[httpx.Request] = field(default_factory=list)
    delay: float = 0.0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        await request.aread()
        if self.delay:
            await asyncio.sleep(self.delay)
        route = self.routes.get(f"{request.method} {request.url.path}", web_page())
        answer = route(request) if callable(route) else route
        if isinstance(answer, Exception):
            raise answer
        # A response is read once: every request gets its own.
        return httpx.Response(answer.status_code, headers=answer.headers, stream=_Body(answer))

    def calls(self) -> list[str]:
        return [f"{request.method} {request.url.path}" for request in self.requests]

    def bodies(self, call: str) -> list[Any]:
        return [json.loads(r.content) for r in self.requests if f"{r.method} {r.url.path}" == call]


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: httpx.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if isinstance(self._answer.stream, httpx.AsyncByteStream) and not isinstance(
            self._answer.stream, httpx.ByteStream
        ):
            async for chunk in self._answer.stream:
                yield chunk
        else:
            yield self._answer.content


def settings(**changes: Any) -> EndpointSettings:  # noqa: ANN401 - any setting
    given: dict[str, Any] = {"url": f"http://{HOST}:4096", "password": PASSWORD, "roots": ["/"], **changes}
    return EndpointSettings.model_validate(given)


def client_of(paper: httpx.AsyncBaseTransport, **changes: Any) -> OpenCodeClient:  # noqa: ANN401 - any setting
    return OpenCodeClient(settings(**changes), "paper", transport=paper)


def session(directory: str = DIRECTORY, **fields: object) -> dict[str, Any]:
    return {"id": SESSION, "directory": directory, "title": "t", "time": {"created": 1, "updated": 1}, **fields}


def prompt(message_id: str = MESSAGE, created: int = 1) -> dict[str, Any]:
    info = {"id": message_id, "sessionID": SESSION, "role": "user", "time": {"created": created}}
    return {"info": info, "parts": [{"id": "prt_1", "type": "text", "text": "go"}]}


def reply(message_id: str, *, parts: list[Any] | None = None, **fields: object) -> dict[str, Any]:
    info = {
        "id": message_id,
        "sessionID": SESSION,
        "role": "assistant",
        "parentID": MESSAGE,
        "time": {"created": 1, "completed": 2},
        **fields,
    }
    return {"info": info, "parts": [{"id": "prt_2", "type": "text", "text": "done"}] if parts is None else parts}


def driver_of(routes: Mapping[str, Route], **changes: object) -> tuple[OpenCodeDriver, PaperOpenCode]:
    """A driver on paper that knows one model (`stub/stub`) and one agent (`build`)."""
    models = as_json({"providers": [{"id": "stub", "models": {"stub": {}}}]})
    known = {"GET /config/providers": models, "GET /agent": as_json([{"name": "build"}])}
    paper = PaperOpenCode({**known, **routes})
    return OpenCodeDriver(client_of(paper, **changes)), paper
