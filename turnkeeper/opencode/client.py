"""The OpenCode calls that Turnkeeper uses, one method each, all on its v1 surface.

Every method raises `turnkeeper.errors.ProviderError` children and nothing else. `directory` is passed wherever
OpenCode decides by it: status, permissions and questions asked with another directory answer "nothing" about a
session that works (measured on 1.18.33).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter

from turnkeeper.errors import ProviderContractError
from turnkeeper.opencode import identifiers, wire
from turnkeeper.opencode.connection import Connection
from turnkeeper.settings import EndpointSettings

SUPPORTED_MAJOR: Final = "1."
CURSOR_HEADER: Final = "x-next-cursor"

_HEALTH: Final = TypeAdapter(wire.Health)
_PROVIDERS: Final = TypeAdapter(wire.Providers)
_AGENTS: Final = TypeAdapter(wire.Many[wire.Agent])
_SESSION: Final = TypeAdapter(wire.Session)
_SESSIONS: Final = TypeAdapter(wire.Many[wire.Session])
_MESSAGE: Final = TypeAdapter(wire.Message)
_MESSAGES: Final = TypeAdapter(wire.Many[wire.Message])
_STATUSES: Final = TypeAdapter(wire.Table[wire.StatusEntry])
_PERMISSIONS: Final = TypeAdapter(wire.Many[wire.PermissionRequest])
_QUESTIONS: Final = TypeAdapter(wire.Many[wire.QuestionRequest])
_TRUE: Final = TypeAdapter(bool)

MAX_VERSION: Final = 20
"""Characters kept of a version."""

MAX_TITLED: Final = 100
"""Sessions of one title in a directory that are looked through: one a turn whose session had to be created anew."""


class Page(NamedTuple):
    """Messages, oldest first."""

    messages: tuple[wire.Message, ...]
    older: str | None
    """The cursor of the page before; None: nothing older exists."""
    size: int
    """Bytes of the answer."""


def _refuse_another(what: str, asked: str, *found: str) -> None:
    """An answer about something else, as a proxy's cache may give, is no fact: what it names would get our next call.

    Raises:
        ProviderContractError: it names another one. One that names none is let pass.

    """
    if any(name not in {asked, ""} for name in found):
        raise ProviderContractError(
            f"{what}: the answer is about another one.",
            next_step="Check what stands before OpenCode: a proxy, a cache.",
        )


class OpenCodeClient:
    """One OpenCode server. Safe for many calls at once; close it when done."""

    def __init__(
        self, settings: EndpointSettings, name: str, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """`transport` replaces the network in tests."""
        self.name = name
        self.connection = Connection(settings, name, transport)

    def __repr__(self) -> str:
        return f"OpenCodeClient({self.name!r})"

    async def close(self) -> None:
        await self.connection.close()

    async def health(self) -> str:
        """The server's version, if it is one that this adapter speaks to.

        OpenCode 2.x answers unknown paths with its web page, so this call "works" there (public reports, not run).
        """
        answer, _ = await self.connection.get("asking for health", "/global/health", _HEALTH)
        if not answer.version.startswith(SUPPORTED_MAJOR):
            raise ProviderContractError(
                f"asking for health: endpoint {self.name} runs OpenCode {answer.version[:MAX_VERSION]}.",
                next_step="This version of Turnkeeper drives OpenCode 1.x (measured on 1.18.33).",
                code="provider_version",
            )
        return answer.version[:MAX_VERSION]

    async def models(self, directory: str) -> frozenset[str]:
        """`provider/model` of every model that the server can use there."""
        answer, _ = await self.connection.get(
            "listing the models", "/config/providers", _PROVIDERS, {"directory": directory}
        )
        return frozenset(f"{provider.id}/{model}" for provider in answer.providers for model in provider.models)

    async def agents(self, directory: str) -> frozenset[str]:
        """Names of the agents that a prompt may ask for; OpenCode's own hidden ones are left out."""
        answer, _ = await self.connection.get("listing the agents", "/agent", _AGENTS, {"directory": directory})
        return frozenset(agent.name for agent in answer if not agent.hidden)

    async def session(self, session_id: str) -> wire.Session:
        """The session, wherever its directory is."""
        what = "reading the session"
        answer, _ = await self.connection.get(what, _session(session_id), _SESSION)
        _refuse_another(what, session_id, answer.id)
        return answer

    async def create_session(self, directory: str, title: str, metadata: dict[str, Any]) -> wire.Session:
        """Create one under an id that the server chooses. Not repeatable: look with `sessions_titled` first.

        `POST /api/session` takes an id of ours and could be repeated, but it and the `PATCH` that it then needs cost
        OpenCode's one thread 93 ms of CPU, this 26 ms (measured on 1.18.33).
        """
        body = {"title": title, "metadata": metadata}
        query = {"directory": directory}
        return await self.connection.send("creating the session", "POST", "/session", _SESSION, body=body, query=query)

    async def sessions_titled(self, directory: str, title: str) -> tuple[wire.Session, ...]:
        """The directory's newest sessions whose title contains `title`, at most `MAX_TITLED`."""
        query: dict[str, str | int] = {"directory": directory, "search": title, "limit": MAX_TITLED}
        answer, _ = await self.connection.get("looking for the session", "/session", _SESSIONS, query)
        return answer

    async def describe_session(self, session_id: str, title: str | None, metadata: dict[str, Any]) -> wire.Session:
        """Set title and metadata. The metadata given replaces all that was there (measured on 1.18.33)."""
        body = {"metadata": metadata} if title is None else {"title": title, "metadata": metadata}
        what = "naming the session"
        answer = await self.connection.send(what, "PATCH", _session(session_id), _SESSION, body=body)
        _refuse_another(what, session_id, answer.id)
        return answer

    async def delete_session(self, session_id: str) -> None:
        """Delete it. A running turn goes on until its next write fails: abort and confirm first."""
        await self.connection.send("deleting the session", "DELETE", _session(session_id), _TRUE)

    async def children(self, session_id: str) -> tuple[wire.Session, ...]:
        """The sessions that `task` tools of this session opened, old ones included."""
        path = f"{_session(session_id)}/children"
        answer, _ = await self.connection.get("listing child sessions", path, _SESSIONS)
        return answer

    async def statuses(self, directory: str) -> dict[str, wire.StatusEntry]:
        """What every session of the directory works on. Absent: idle, not begun, unknown or restarted alike."""
        answer, _ = await self.connection.get(
            "reading the status", "/session/status", _STATUSES, {"directory": directory}
        )
        return answer

    async def message(self, session_id: str, message_id: str) -> wire.Message:
        """One message. In a session that does not exist, too, it is the *message* that is not found."""
        path = f"{_session(session_id)}/message/{quote(message_id, safe='')}"
        what = "reading the message"
        answer, _ = await self.connection.get(what, path, _MESSAGE)
        _refuse_another(what, message_id, answer.info.id)
        return answer

    async def delete_message(self, session_id: str, message_id: str) -> None:
        """Take one message out. While the session works: refused (409). One that is not there: no error."""
        path = f"{_session(session_id)}/message/{quote(message_id, safe='')}"
        await self.connection.send("withdrawing the prompt", "DELETE", path, _TRUE)

    async def messages(self, session_id: str, limit: int, before: str | None = None) -> Page:
        """The newest `limit` messages. A page of exactly the rest has no cursor either (measured on 1.18.33)."""
        query: dict[str, str | int] = {"limit": limit} if before is None else {"limit": limit, "before": before}
        path = f"{_session(session_id)}/message"
        what = "reading the messages"
        messages, answer = await self.connection.get(what, path, _MESSAGES, query)
        _refuse_another(what, session_id, *(message.info.session_id for message in messages))
        return Page(messages, answer.headers.get(CURSOR_HEADER), len(answer.content))

    async def prompt(
        self, session_id: str, directory: str, message_id: str, text: str, *, model: str | None, agent: str | None
    ) -> None:
        """Hand over a prompt. Returning means only that OpenCode took the request: nothing is stored yet."""
        part = {"type": "text", "text": text, "id": identifiers.part_id(message_id)}
        body: dict[str, Any] = {"messageID": message_id, "parts": [part]}
        if model is not None:
            provider, _, name = model.partition("/")
            body["model"] = {"providerID": provider, "modelID": name}
        if agent is not None:
            body["agent"] = agent
        path = f"{_session(session_id)}/prompt_async"
        await self.connection.post_without_answer("sending the prompt", path, {"directory": directory}, body)

    async def permissions(self, directory: str) -> tuple[wire.PermissionRequest, ...]:
        """Permissions asked for in the directory, stale ones of aborted turns included."""
        answer, _ = await self.connection.get(
            "listing permissions", "/permission", _PERMISSIONS, {"directory": directory}
        )
        return answer

    async def questions(self, directory: str) -> tuple[wire.QuestionRequest, ...]:
        """Questions asked in the directory, stale ones of aborted turns included."""
        answer, _ = await self.connection.get("listing questions", "/question", _QUESTIONS, {"directory": directory})
        return answer

    async def reply_permission(self, directory: str, request_id: str, answer: str, message: str) -> None:
        """`once`, `always` or `reject`. A request that is not open (any more) is not found."""
        body = {"reply": answer, "message": message} if message else {"reply": answer}
        path = f"/permission/{quote(request_id, safe='')}/reply"
        await self._reply("answering the permission", path, directory, body)

    async def reply_question(self, directory: str, request_id: str, answers: Sequence[Sequence[str]]) -> None:
        """For each question its answers, in order."""
        body = {"answers": [list(choices) for choices in answers]}
        path = f"/question/{quote(request_id, safe='')}/reply"
        await self._reply("answering the question", path, directory, body)

    async def reject_question(self, directory: str, request_id: str) -> None:
        """Dismiss all of it."""
        path = f"/question/{quote(request_id, safe='')}/reject"
        await self._reply("rejecting the question", path, directory, {})

    async def _reply(self, what: str, path: str, directory: str, body: dict[str, Any]) -> None:
        await self.connection.send(what, "POST", path, _TRUE, body=body, query={"directory": directory})

    async def abort(self, session_id: str) -> None:
        """Ask for an abort. The answer is the same for a running, an idle and an unknown session."""
        await self.connection.send("aborting", "POST", f"{_session(session_id)}/abort", _TRUE, body={})


def _session(session_id: str) -> str:
    return f"/session/{quote(session_id, safe='')}"
