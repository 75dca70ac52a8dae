"""An OpenCode in memory, at its HTTP surface: sessions, messages, runs. It says nothing by itself; a row makes it.

What it does is what OpenCode 1.18 was measured to do; what fails, hangs or is lost is set by the row.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from tests.unit.opencode_on_paper import as_json, no_content, not_found, web_page

DIRECTORY: Final = "/srv/shop"
BUSY: Final = {"type": "busy"}

Failure = httpx.Response | Exception


def _route(method: str, path: str) -> tuple[str, re.Pattern[str]]:
    return method, re.compile(path.replace("*", "([^/]+)"))


ROUTES: Final = {
    "models": _route("GET", "/config/providers"),
    "agents": _route("GET", "/agent"),
    "session.create": _route("POST", "/session"),
    "session.search": _route("GET", "/session"),
    "session.status": _route("GET", "/session/status"),
    "session.get": _route("GET", "/session/*"),
    "session.update": _route("PATCH", "/session/*"),
    "session.delete": _route("DELETE", "/session/*"),
    "session.children": _route("GET", "/session/*/children"),
    "session.messages": _route("GET", "/session/*/message"),
    "session.message": _route("GET", "/session/*/message/*"),
    "promptAsync": _route("POST", "/session/*/prompt_async"),
    "session.abort": _route("POST", "/session/*/abort"),
    "permission.list": _route("GET", "/permission"),
    "question.list": _route("GET", "/question"),
    "permission.reply": _route("POST", "/permission/*/reply"),
    "question.reply": _route("POST", "/question/*/reply"),
    "question.reject": _route("POST", "/question/*/reject"),
}
"""What each request is called in the rows and in this suite; the first that fits counts."""


@dataclass(frozen=True)
class Called:
    """One request: its verb as the rows name it, the session or request that it is about, and its body."""

    verb: str
    target: str
    body: Any = None


@dataclass
class OpenCode(httpx.AsyncBaseTransport):
    """`fails`: verbs that answer so. `held`: verbs that answer once their event is set."""

    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    messages: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    statuses: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    calls: list[Called] = field(default_factory=list)
    fails: dict[str, Failure] = field(default_factory=dict)
    held: dict[str, asyncio.Event] = field(default_factory=dict)
    on_prompt: Callable[[str], None] | None = None
    runs_prompts: bool = True
    confirms_aborts: bool = True

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        call = _called(request)
        self.calls.append(call)
        if (hold := self.held.get(call.verb)) is not None:
            await hold.wait()
        failure = self.fails.get(call.verb)
        if isinstance(failure, Exception):
            raise failure
        answer = failure if failure is not None else self._answer(call)
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    def _answer(self, call: Called) -> httpx.Response:  # noqa: C901, PLR0911, PLR0912 - one case a route
        target = call.target
        match call.verb:
            case "models":
                return as_json({"providers": [{"id": "stub", "models": {"stub": {}}}]})
            case "agents":
                return as_json([{"name": "build"}])
            case "session.create":
                return as_json(self.new_session(call.body))
            case "session.search":
                return as_json(list(self.sessions.values()))
            case "session.status":
                return as_json(self.statuses)
            case "permission.list" | "question.list":
                kind = call.verb.partition(".")[0]
                return as_json([entry for said, entry in self.requests.values() if said == kind])
            case "permission.reply" | "question.reply" | "question.reject":
                return as_json(True) if self.requests.pop(target, None) else not_found("Request")  # noqa: FBT003
            case "session.abort":
                if self.confirms_aborts:
                    self.abort_run(target)
                return as_json(True)  # noqa: FBT003 - OpenCode answers a bare true
            case _ if target not in self.sessions:
                return not_found("Session" if call.verb != "session.message" else "Message")
            case "session.get":
                return as_json(self.sessions[target])
            case "session.update":
                self.sessions[target] |= call.body
                return as_json(self.sessions[target])
            case "session.children":
                return as_json([one for one in self.sessions.values() if one.get("parentID") == target])
            case "session.messages":
                return as_json(self.messages[target])
            case "session.message":
                wanted = call.body
                found = next((one for one in self.messages[target] if one["info"]["id"] == wanted), None)
                return as_json(found) if found else not_found()
            case "promptAsync":
                self.take_prompt(target, call.body)
                return no_content()
            case _:
                return web_page()

    # What a row makes happen.

    def new_session(self, body: dict[str, Any], session_id: str = "", directory: str = DIRECTORY) -> dict[str, Any]:
        name = session_id or f"ses_{len(self.sessions) + 1:04}{id(self):x}"
        session = {"id": name, "directory": directory, "title": "t", "metadata": {}, "time": {"created": 1}, **body}
        self.sessions[name] = session
        self.messages.setdefault(name, [])
        return session

    def take_prompt(self, session_id: str, body: dict[str, Any]) -> None:
        """Store the prompt and begin to run it."""
        message_id = body["messageID"]
        listed = self.messages[session_id]
        if any(one["info"]["id"] == message_id for one in listed):
            return
        info = {"id": message_id, "sessionID": session_id, "role": "user", "time": {"created": time.time() * 1000}}
        listed.append({"info": info, "parts": body["parts"]})
        if self.runs_prompts:
            self.begin_run(session_id)
        if self.on_prompt is not None:
            self.on_prompt(session_id)

    def begin_run(self, session_id: str) -> None:
        """The newest prompt gets an assistant, and the session is busy."""
        listed = self.messages[session_id]
        prompt = next(one for one in reversed(listed) if one["info"]["role"] == "user")
        info = {
            "id": f"{prompt['info']['id']}_a{len(listed)}",
            "sessionID": session_id,
            "role": "assistant",
            "parentID": prompt["info"]["id"],
            "time": {"created": 1},
        }
        listed.append({"info": info, "parts": []})
        self.statuses[session_id] = BUSY

    def run_of(self, session_id: str) -> dict[str, Any] | None:
        """The assistant message that is not finished."""
        unfinished = (
            one
            for one in self.messages.get(session_id, [])
            if one["info"]["role"] == "assistant" and "completed" not in one["info"]["time"]
        )
        return next(unfinished, None)

    def finish_run(self, session_id: str, text: str = "done", finish: str = "stop") -> None:
        self._end(session_id, {"finish": finish}, [{"type": "text", "text": text, "id": "prt_t"}])

    def fail_run(self, session_id: str, message: str) -> None:
        self._end(session_id, {"error": {"name": "APIError", "data": {"message": message, "statusCode": 500}}}, [])

    def abort_run(self, session_id: str) -> None:
        self._end(session_id, {"error": {"name": "MessageAbortedError", "data": {"message": "aborted"}}}, [])

    def _end(self, session_id: str, how: dict[str, Any], parts: list[dict[str, Any]]) -> None:
        self.statuses.pop(session_id, None)
        if (run := self.run_of(session_id)) is not None:
            run["info"] |= {**how, "time": {"created": 1, "completed": 2}}
            run["parts"] += parts
            self.close_tools(session_id)

    def crash(self) -> None:
        """Killed and started again: nothing runs, and no message says so."""
        self.statuses.clear()
        self.requests.clear()

    def open_tool(self, session_id: str, tool: str, call_id: str = "c1") -> None:
        run = self.run_of(session_id)
        if run is not None:
            part = {"id": f"prt_{call_id}", "type": "tool", "tool": tool, "callID": call_id}
            run["parts"].append({**part, "state": {"status": "running", "title": tool, "metadata": {}}})

    def close_tools(self, session_id: str) -> None:
        for message in self.messages[session_id]:
            for part in message["parts"]:
                if part["type"] == "tool":
                    part["state"]["status"] = "completed"

    def ask(self, session_id: str, kind: str, request_id: str, what: str) -> None:
        """The run waits for a person, in an open tool."""
        self.open_tool(session_id, what, f"call-{request_id}")
        entry = {"id": request_id, "sessionID": session_id, "tool": {"callID": f"call-{request_id}"}}
        detail = {"permission": what, "patterns": []} if kind == "permission" else {"questions": [{"question": what}]}
        self.requests[request_id] = (kind, entry | detail)


def frame(kind: str, properties: dict[str, Any], directory: str = DIRECTORY) -> bytes:
    """An event as the global stream carries it."""
    payload = {"id": f"evt_{time.monotonic_ns()}", "type": kind, "properties": properties}
    return json.dumps({"directory": directory, "project": "p", "payload": payload}, separators=(",", ":")).encode()


def _called(request: httpx.Request) -> Called:
    """Name a request by its route."""
    body = json.loads(request.content) if request.content else None
    for verb, (method, pattern) in ROUTES.items():
        if request.method == method and (found := pattern.fullmatch(request.url.path)):
            parts = found.groups()
            return Called(verb, parts[0] if parts else "", parts[1] if len(parts) > 1 else body)
    return Called(f"{request.method} {request.url.path}", "", body)
