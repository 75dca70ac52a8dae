"""Recorded OpenCode 1.18.33 traffic, as final states and as the sequence of states that led there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from turnkeeper.opencode.assess import ChildSession, Snapshot
from turnkeeper.opencode.wire import Message, PermissionRequest, QuestionRequest, StatusEntry

FIXTURES = Path(__file__).parents[1] / "fixtures" / "opencode"
NOT_TURNS = {"http_exchanges"}


@dataclass(frozen=True)
class Case:
    """One recorded case: what was posted, and what the server showed afterwards."""

    name: str
    session_id: str
    prompts: tuple[str, ...]
    listed: bool  # the message list could be read
    final: Snapshot


def v1_cases() -> list[str]:
    names = (path.stem for path in FIXTURES.glob("*.json"))
    return sorted(name for name in names if not name.startswith("v2_") and name not in NOT_TURNS)


@cache
def load(name: str) -> Case:
    record = json.loads((FIXTURES / f"{name}.json").read_text())
    final, session_id = record["final"], record["sessionID"]
    listing = final["GET /session/{id}/message"]
    listed = listing["http_status"] == 200
    statuses = final["GET /session/status"]
    entry = statuses.get(session_id)
    snapshot = Snapshot(
        status=StatusEntry.model_validate(entry) if entry else None,
        messages=_messages(listing["body"]) if listed else (),
        requests=_requests(final["GET /permission"], final["GET /question"]),
        children=tuple(
            ChildSession(child["id"], active=child["id"] in statuses) for child in _children(final["children"])
        ),
    )
    return Case(name, session_id, _prompts(record, snapshot), listed, snapshot)


def _children(found: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - as recorded
    return [child["session"] for child in found] if isinstance(found, list) else []


def _messages(body: list[Any]) -> tuple[Message, ...]:
    return tuple(Message.model_validate(entry) for entry in body)


def _requests(permissions: list[Any], questions: list[Any]) -> tuple[PermissionRequest | QuestionRequest, ...]:
    return (
        *(PermissionRequest.model_validate(entry) for entry in permissions),
        *(QuestionRequest.model_validate(entry) for entry in questions),
    )


def _prompts(record: dict[str, Any], final: Snapshot) -> tuple[str, ...]:
    """The ids that the client posted, in order, each once; without any (a shell call), the first user message."""
    posted = [line.split("messageID=")[1].split()[0] for line in record["timeline"] if "messageID=" in line]
    return tuple(dict.fromkeys(posted)) or (final.messages[0].info.id,)


def frames(name: str) -> Iterator[tuple[float, bytes]]:
    """(seconds since the stream was opened, data) of every frame of a recording."""
    at = 0.0
    for line in (FIXTURES / f"{name}.sse").read_bytes().splitlines():
        if line.startswith(b": t=+"):
            at = float(line.removeprefix(b": t=+").removesuffix(b"s"))
        elif line.startswith(b"data:"):
            yield at, line.removeprefix(b"data:").strip()


@dataclass
class Replay:
    """What the server's lists showed, rebuilt from its events: text deltas are not stored, so they change nothing."""

    session_id: str
    infos: dict[str, dict[str, Any]] = field(default_factory=dict)
    parts: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    statuses: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: dict[str, PermissionRequest | QuestionRequest] = field(default_factory=dict)
    children: set[str] = field(default_factory=set)
    deleted: bool = False

    def apply(self, kind: str, properties: dict[str, Any]) -> bool:
        """Apply one event; true when a reader of the lists could notice."""
        match kind:
            case "message.updated":
                self.infos[properties["info"]["id"]] = properties["info"]
            case "message.part.updated":
                part = properties["part"]
                self.parts.setdefault(part["messageID"], {})[part["id"]] = part
            case "message.removed":
                self.infos.pop(properties["messageID"], None)
            case "message.part.removed":
                self.parts.get(properties["messageID"], {}).pop(properties["partID"], None)
            case "session.status":
                self._status(properties["sessionID"], properties["status"])
            case "session.created" if properties["info"].get("parentID"):
                self.children.add(properties["info"]["id"])
            case "session.deleted":
                self.deleted = True
            case "permission.asked":
                self.requests[properties["id"]] = PermissionRequest.model_validate(properties)
            case "question.asked":
                self.requests[properties["id"]] = QuestionRequest.model_validate(properties)
            case "permission.replied" | "question.replied" | "question.rejected":
                self.requests.pop(properties["requestID"], None)
            case _:
                return False
        return True

    def _status(self, session_id: str, status: dict[str, Any]) -> None:
        if status["type"] == "idle":
            self.statuses.pop(session_id, None)
        else:
            self.statuses[session_id] = status

    def messages(self) -> tuple[Message, ...]:
        own = [info for info in self.infos.values() if info["sessionID"] == self.session_id]
        # In the order of first storing: a repeated post moves `time.created`, not the place in the list.
        return _messages([{"info": info, "parts": list(self.parts.get(info["id"], {}).values())} for info in own])

    def snapshot(self) -> Snapshot:
        entry = self.statuses.get(self.session_id)
        return Snapshot(
            status=StatusEntry.model_validate(entry) if entry else None,
            messages=self.messages(),
            requests=tuple(self.requests.values()),
            children=tuple(ChildSession(child, active=child in self.statuses) for child in sorted(self.children)),
        )


def states(name: str) -> Iterator[tuple[float, Snapshot]]:
    """Every state that the server's lists went through, until the session was deleted."""
    replay = Replay(load(name).session_id)
    for at, frame in frames(name):
        payload = json.loads(frame)["payload"]
        if payload["type"] == "sync" or not replay.apply(payload["type"], payload["properties"]):
            continue
        if replay.deleted:
            return
        yield at, replay.snapshot()
