"""The adapter on a real OpenCode: every verb, the first second of a prompt, and a list longer than a page."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

import pytest
from pydantic import JsonValue, SecretStr

from tests.e2e.waiting import DEADLINE, until
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.errors import ProviderRefusedError, ProviderUnreachableError
from turnkeeper.observations import (
    AbortRequest,
    Accepted,
    AdmitRequest,
    LookRequest,
    NotThere,
    Observation,
    PerhapsSent,
    PromptRequest,
    Refused,
    Seen,
    SessionMissing,
    SessionOpened,
    SessionReport,
    SessionRequest,
    SubmitReport,
    Unreachable,
)
from turnkeeper.opencode import identifiers
from turnkeeper.opencode.client import OpenCodeClient
from turnkeeper.opencode.driver import OpenCodeDriver
from turnkeeper.opencode.stream import EventStream, open_stream
from turnkeeper.opencode.translate import Translated
from turnkeeper.settings import EndpointSettings
from turnkeeper.vocabulary import EventKind, Standing

MODEL: Final = "scripted/scripted"
CONCLUSIVE: Final = frozenset(Standing) - {Standing.UNSTARTED, Standing.RUNNING, Standing.WAITING, Standing.HALTED}
STORED_LIMIT: Final = 100
LONG_TURN: Final = 30  # messages of the turn that is paged back to
LONG_TURN_DEADLINE: Final = 90.0  # seconds; a step takes 0.1 s, and ten times that on a busy machine

DONE: Final[dict[str, JsonValue]] = {"kind": "text", "say": "all done"}
SLOW: Final[dict[str, JsonValue]] = {"kind": "text", "tokens": 1000, "interval": 0.02}


def plan(*steps: dict[str, JsonValue]) -> str:
    return f"go <<<{json.dumps(steps)}>>>"


def bash(command: str) -> dict[str, JsonValue]:
    return {"kind": "tool", "name": "bash", "arguments": {"command": command, "description": "scripted"}}


@dataclass
class Conversation:
    """One session and its prompts, driven the way the activities drive it."""

    driver: OpenCodeDriver
    directory: str
    session_id: str = ""
    chance: Random = field(default_factory=Random)
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    async def open(self, *, resume: bool = False, **changes: object) -> SessionReport:
        given = {
            "endpoint": "e2e",
            "thread_id": "t1",
            "namespace": "default",
            "directory": self.directory,
            "session_id": self.session_id if resume else None,
            "creation_key": self.key,
            **changes,
        }
        report = await self.driver.open_session(SessionRequest.model_validate(given))
        if isinstance(report, SessionOpened):
            self.session_id = report.session_id
        return report

    async def submit(self, text: str, message_id: str = "", model: str = MODEL, agent: str = "build") -> SubmitReport:
        return await self.driver.submit(
            PromptRequest(
                endpoint="e2e",
                directory=self.directory,
                session_id=self.session_id,
                message_id=message_id,
                prompt=text,
                model=model,
                agent=agent,
            )
        )

    async def begin(self, text: str) -> str:
        """Deliver a prompt; its id."""
        message_id = identifiers.message_id(int(time.time() * 1000), self.chance)
        assert await self.submit(text, message_id) == PerhapsSent(taken=True)
        return message_id

    async def look(self, message_id: str) -> Observation:
        return await self.driver.look(
            LookRequest(
                endpoint="e2e",
                directory=self.directory,
                session_id=self.session_id,
                message_id=message_id,
                text_limit=STORED_LIMIT,
            )
        )

    async def seen(self, message_id: str) -> Seen:
        found = await self.look(message_id)
        assert isinstance(found, Seen), found
        return found

    async def reaches(self, message_id: str, *standings: Standing) -> Seen:
        return await self._when(message_id, standings)

    async def ends(self, message_id: str, deadline: float = DEADLINE) -> Seen:
        return await self._when(message_id, tuple(CONCLUSIVE), deadline)

    async def _when(self, message_id: str, standings: tuple[Standing, ...], deadline: float = DEADLINE) -> Seen:
        found = await until(
            lambda: self.look(message_id),
            lambda found: isinstance(found, Seen) and found.standing in standings,
            deadline=deadline,
        )
        assert isinstance(found, Seen)
        return found

    async def abort(self) -> bool:
        request = AbortRequest(endpoint="e2e", directory=self.directory, session_id=self.session_id)
        return (await self.driver.abort(request)).sent


@pytest.fixture
async def client(opencode: OpenCodeServer, workspace: Path) -> AsyncIterator[OpenCodeClient]:
    client = OpenCodeClient(settings_of(opencode, workspace), "e2e")
    yield client
    await client.close()


def settings_of(server: OpenCodeServer, root: Path, **changes: object) -> EndpointSettings:
    given = {"url": server.base_url, "username": server.username, "password": server.password, "roots": [root]}
    return EndpointSettings.model_validate({**given, **changes})


def conversation_of(client: OpenCodeClient, directory: Path) -> Conversation:
    return Conversation(OpenCodeDriver(client), str(directory))


@pytest.fixture
async def conversation(client: OpenCodeClient, workspace: Path) -> Conversation:
    conversation = conversation_of(client, workspace)
    assert isinstance(await conversation.open(), SessionOpened)
    return conversation


async def test_a_plain_turn(conversation: Conversation) -> None:
    found = await conversation.ends(await conversation.begin(plan(DONE)))
    assert (found.standing, found.text, found.tool_calls) == (Standing.SUCCEEDED, "all done", 0)
    assert (found.usage.model_calls, found.usage.input_tokens) == (1, 10)


async def test_no_reading_of_the_first_second_settles_a_turn(client: OpenCodeClient, cold_workspace: Path) -> None:
    """In a cold directory a taken prompt is stored up to 0.8 s later and runs later still."""
    conversation = conversation_of(client, cold_workspace)
    await conversation.open()
    began = asyncio.create_task(conversation.submit(plan(DONE), "msg_2023411db001AuKVkzq8SsSkBN"))
    readings: list[Observation] = []

    def over(reading: Observation) -> bool:
        readings.append(reading)
        return isinstance(reading, Seen) and reading.standing in CONCLUSIVE

    await until(lambda: conversation.look("msg_2023411db001AuKVkzq8SsSkBN"), over)
    assert await began == PerhapsSent(taken=True)
    for reading in readings[:-1]:
        assert isinstance(reading, Seen) or reading in (
            NotThere(what="prompt", busy=False),
            NotThere(what="prompt", busy=True),
        )
    assert isinstance(readings[-1], Seen)
    assert readings[-1].text == "all done"


async def test_a_tool_that_writes_a_file(conversation: Conversation, workspace: Path) -> None:
    write: dict[str, JsonValue] = {
        "kind": "tool",
        "name": "write",
        "arguments": {"filePath": str(workspace / "adapter.txt"), "content": "written"},
    }
    found = await conversation.ends(await conversation.begin(plan(write, DONE)))
    assert (workspace / "adapter.txt").read_text() == "written"
    assert [(tool.name, tool.status) for tool in found.tools] == [("write", "completed")]
    assert (found.standing, found.usage.model_calls) == (Standing.SUCCEEDED, 2)


async def test_progress_of_a_running_command_moves_the_fingerprint(conversation: Conversation, workspace: Path) -> None:
    """It says its next word only once the last one was noticed; starting up moves the fingerprint twice at most."""
    words = [f"progress-{number}" for number in range(5)]
    command = "; ".join(f"echo {word}; until [ -e {word} ]; do sleep 0.05; done" for word in words)
    message_id = await conversation.begin(plan(bash(command), DONE))
    noticed: set[str] = set()

    def moved(found: Observation) -> bool:
        return isinstance(found, Seen) and found.open_tools > 0 and found.fingerprint not in noticed

    for word in words:
        found = await until(lambda: conversation.look(message_id), moved)
        assert isinstance(found, Seen)
        noticed.add(found.fingerprint)
        (workspace / word).touch()
    assert (await conversation.ends(message_id)).standing is Standing.SUCCEEDED


async def test_a_failing_model_provider(conversation: Conversation) -> None:
    found = await conversation.ends(await conversation.begin(plan({"kind": "http", "status": 401, "times": "always"})))
    assert found.standing is Standing.FAILED
    assert found.failure is not None
    assert (found.failure.code, found.failure.retryable) == ("APIError", False)
    assert "API key" in found.failure.next_step


async def test_a_retry_says_until_when(conversation: Conversation) -> None:
    failing: dict[str, JsonValue] = {"kind": "http", "status": 429, "retry_after": 2}
    message_id = await conversation.begin(plan(failing, DONE))
    waiting = await until(lambda: conversation.seen(message_id), lambda found: found.retry_at)
    assert waiting.standing is Standing.RUNNING
    assert (await conversation.ends(message_id)).standing is Standing.SUCCEEDED


async def test_an_abort_in_mid_stream(conversation: Conversation) -> None:
    message_id = await conversation.begin(plan(SLOW))
    await conversation.reaches(message_id, Standing.RUNNING)

    async def abort_again() -> Seen:
        # An abort of the first second can be lost: only the list proves it.
        assert await conversation.abort()
        return await conversation.seen(message_id)

    found = await until(abort_again, lambda seen: seen.standing in CONCLUSIVE)
    assert found.standing is Standing.ABORTED


async def test_an_open_permission(conversation: Conversation) -> None:
    message_id = await conversation.begin(plan(bash("echo ask me"), DONE))
    found = await conversation.reaches(message_id, Standing.WAITING)
    (request,) = found.open_requests
    assert (request.kind, request.title, found.open_tools) == ("permission", "bash: echo ask me", 1)
    assert await conversation.abort()
    assert (await conversation.ends(message_id)).open_requests == ()


async def test_an_open_permission_of_a_child_session(conversation: Conversation) -> None:
    child = plan(bash("echo ask child"), DONE)
    task: dict[str, JsonValue] = {
        "kind": "tool",
        "name": "task",
        "arguments": {"description": "sub", "prompt": child, "subagent_type": "general"},
    }
    # OpenCode aborts the child first, and the parent may begin another model call before its own abort comes, 0.3 s
    # later. A quick model would finish the turn in between.
    message_id = await conversation.begin(plan(task, SLOW))
    found = await conversation.reaches(message_id, Standing.WAITING)
    assert found.open_requests[0].session_id != conversation.session_id
    assert await conversation.abort()
    assert (await conversation.ends(message_id)).standing is Standing.ABORTED


async def test_the_same_delivery_twice_runs_once(conversation: Conversation, client: OpenCodeClient) -> None:
    message_id = await conversation.begin(plan(DONE))
    await conversation.ends(message_id)
    assert await conversation.submit(plan(DONE), message_id) == Accepted()
    messages = (await client.messages(conversation.session_id, 10)).messages
    assert [message.info.role for message in messages] == ["user", "assistant"]


async def test_a_list_longer_than_a_page(conversation: Conversation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnkeeper.opencode.window.FIRST_PAGE", 5)
    monkeypatch.setattr("turnkeeper.opencode.window.NEXT_PAGE", 10)
    first = await conversation.begin(plan(DONE))
    await conversation.ends(first)
    steps = [bash("true")] * (LONG_TURN - 1)
    last = await conversation.begin(plan(*steps, DONE))
    found = await conversation.ends(last, LONG_TURN_DEADLINE)
    assert (found.standing, found.tool_calls, found.usage.model_calls) == (Standing.SUCCEEDED, LONG_TURN - 1, LONG_TURN)
    assert len(found.tools) == 8
    early = await conversation.seen(first)
    assert (early.standing, early.text, early.usage.model_calls) == (Standing.SUCCEEDED, "all done", 1)
    assert await conversation.look("msg_absent") == NotThere(what="prompt")


async def test_a_page_ends_where_the_next_begins(conversation: Conversation, client: OpenCodeClient) -> None:
    for _ in range(3):
        await conversation.ends(await conversation.begin(plan(DONE)))
    whole, nothing_older, _ = await client.messages(conversation.session_id, 6)
    newest, cursor, _ = await client.messages(conversation.session_id, 4)
    older, end, _ = await client.messages(conversation.session_id, 4, before=cursor)
    assert (nothing_older, end) == (None, None)
    assert [m.info.id for m in older + newest] == [m.info.id for m in whole]


async def test_resuming(conversation: Conversation) -> None:
    assert await conversation.open(resume=True) == SessionOpened(session_id=conversation.session_id)
    await conversation.ends(await conversation.begin(plan(DONE)))
    assert await conversation.open(resume=True) == SessionOpened(session_id=conversation.session_id)


async def test_a_try_whose_answer_was_lost_is_not_repeated(
    conversation: Conversation, client: OpenCodeClient, workspace: Path
) -> None:
    first = conversation.session_id
    again = await conversation.open(perhaps_created=True)
    assert again == SessionOpened(session_id=first)
    session = await client.session(first)
    assert session.metadata == {"turnkeeper": {"thread": "t1", "namespace": "default", "creation": conversation.key}}
    assert len([s for s in await client.sessions_titled(str(workspace), "Thread t1") if s.id == first]) == 1


async def test_a_deleted_session(conversation: Conversation, client: OpenCodeClient) -> None:
    message_id = await conversation.begin(plan(DONE))
    await conversation.ends(message_id)
    await client.delete_session(conversation.session_id)
    assert await conversation.look(message_id) == NotThere(what="session")
    assert await conversation.submit("again", "msg_2023411db001AuKVkzq8SsSkBN") == NotThere(what="session")
    assert await conversation.open(resume=True) == SessionMissing()


async def test_another_directory(conversation: Conversation, cold_workspace: Path) -> None:
    report = await conversation.open(resume=True, directory=str(cold_workspace))
    assert isinstance(report, Refused)
    assert report.failure.code == "foreign_directory"


async def test_unknown_names(conversation: Conversation) -> None:
    for report in (await conversation.open(model="scripted/absent"), await conversation.open(agent="absent")):
        assert isinstance(report, Refused)
        assert report.failure.code in {"unknown_model", "unknown_agent"}
    known = AdmitRequest(endpoint="e2e", directory=conversation.directory, model=MODEL, agent="build")
    await conversation.driver.check_start(known)


async def test_a_bad_model_that_slips_through_never_runs(conversation: Conversation) -> None:
    message_id = "msg_2023411db001AuKVkzq8SsSkBM"
    assert await conversation.submit("go", message_id, model="scripted/absent") == PerhapsSent(taken=True)
    found = await conversation.reaches(message_id, Standing.UNSTARTED)
    assert found.usage.model_calls == 0


async def test_health_models_and_agents(client: OpenCodeClient, workspace: Path) -> None:
    assert (await client.health()).startswith("1.18.")
    assert MODEL in await client.models(str(workspace))
    agents = await client.agents(str(workspace))
    assert {"build", "plan"} <= agents
    assert "title" not in agents


async def test_wrong_credentials_and_a_dead_port(opencode: OpenCodeServer, workspace: Path) -> None:
    stranger = OpenCodeClient(settings_of(opencode, workspace, password=SecretStr("wrong")), "stranger")
    with pytest.raises(ProviderRefusedError, match="credentials"):
        await stranger.health()
    await stranger.close()
    nobody = OpenCodeClient(settings_of(opencode, workspace, url="http://127.0.0.1:9"), "nobody")
    with pytest.raises(ProviderUnreachableError):
        await nobody.health()
    assert isinstance(await conversation_of(nobody, workspace).look("msg_1"), Unreachable)
    await nobody.close()


async def read_until_idle(stream: EventStream, session_id: str) -> list[Translated]:
    said: list[Translated] = []
    async with asyncio.timeout(20):
        async for batch in stream:
            said += batch
            if any(
                one.event and one.event.kind is EventKind.IDLE and one.event.session_id == session_id for one in batch
            ):
                return said
    raise AssertionError("a stream ends by raising")


async def test_the_stream_tells_a_turn_and_where_it_belongs(client: OpenCodeClient, workspace: Path) -> None:
    conversation = conversation_of(client, workspace)
    async with open_stream(client) as stream:
        await conversation.open()
        reading = asyncio.create_task(read_until_idle(stream, conversation.session_id))
        await conversation.begin(plan(DONE))
        said = await reading
    ours = [one for one in said if one.event and one.event.session_id == conversation.session_id]
    kinds = {one.event.kind for one in ours if one.event}
    assert kinds >= {EventKind.PROGRESS, EventKind.BUSY, EventKind.IDLE}
    facts = [one.session for one in said if one.session and one.session.session_id == conversation.session_id]
    assert (facts[-1].thread, facts[-1].namespace, facts[-1].directory) == ("t1", "default", str(workspace))
    assert (stream.tally.malformed, stream.tally.unknown) == (0, 0), stream.tally
