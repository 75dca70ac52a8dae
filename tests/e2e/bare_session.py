"""One OpenCode session driven by bare httpx over its v1 routes, with nothing of Turnkeeper in between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import httpx

from tests.e2e.waiting import until

Message = dict[str, Any]


class BareSession:
    """A session with a title, so that no title call is made, unless `title` is empty."""

    def __init__(self, client: httpx.AsyncClient, directory: Path, identity: str) -> None:
        self._client = client
        self._place = {"directory": str(directory)}
        self.id = identity

    @classmethod
    async def create(cls, client: httpx.AsyncClient, directory: Path, *, title: str = "a test") -> Self:
        body = {"title": title} if title else {}
        answer = await client.post("/session", params={"directory": str(directory)}, json=body)
        return cls(client, directory, answer.raise_for_status().json()["id"])

    async def prompt(self, text: str) -> None:
        """Send; 204 means no more than that it was received."""
        body = {"parts": [{"type": "text", "text": text}]}
        (await self._client.post(f"/session/{self.id}/prompt_async", json=body)).raise_for_status()

    async def run(self, text: str) -> Message:
        """Send and wait until the last assistant message is final and the session is idle."""
        before = len(await self.messages())
        await self.prompt(text)
        await self.until(lambda messages: len(messages) > before and _is_final(messages[-1]))
        await self.until_idle()
        return (await self.messages())[-1]

    async def messages(self) -> list[Message]:
        answer = await self._client.get(f"/session/{self.id}/message")
        found: list[Message] = answer.raise_for_status().json()
        return found

    async def status(self) -> str:
        answer = await self._client.get("/session/status", params=self._place)
        entry = answer.raise_for_status().json().get(self.id, {})
        return str(entry.get("type", "none"))

    async def children(self) -> list[dict[str, Any]]:
        answer = await self._client.get(f"/session/{self.id}/children")
        found: list[dict[str, Any]] = answer.raise_for_status().json()
        return found

    async def pending(self, kind: str) -> list[dict[str, Any]]:
        """Open requests of this session: `permission` or `question`."""
        answer = await self._client.get(f"/{kind}", params=self._place)
        return [entry for entry in answer.raise_for_status().json() if entry["sessionID"] == self.id]

    async def until_pending(self, kind: str) -> dict[str, Any]:
        return (await until(lambda: self.pending(kind)))[0]

    async def reply(self, kind: str, request: str, body: dict[str, Any]) -> None:
        answer = await self._client.post(f"/{kind}/{request}/reply", params=self._place, json=body)
        answer.raise_for_status()

    async def abort(self) -> None:
        (await self._client.post(f"/session/{self.id}/abort")).raise_for_status()

    async def until(self, condition: Callable[[list[Message]], bool]) -> list[Message]:
        """Wait for a condition on the message list."""
        return await until(self.messages, condition)

    async def until_idle(self) -> None:
        await until(self.status, lambda status: status == "none")


def answer_text(message: Message) -> str:
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


def tools(message: Message) -> list[dict[str, Any]]:
    return [part for part in message["parts"] if part["type"] == "tool"]


def error_name(message: Message) -> str | None:
    name: str | None = message["info"].get("error", {}).get("name")
    return name


def _is_final(message: Message) -> bool:
    info = message["info"]
    completed = "completed" in info["time"] and info["role"] == "assistant"
    return completed and info.get("finish") not in {"tool-calls", "unknown"}
