"""An endpoint that is no OpenCode: web pages, halves of JSON, errors, silence. A clear outcome, and nothing hangs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.e2e.turns.deployment import Deployment, assert_ended, deployed
from tests.e2e.turns.gate import http_answer
from tests.e2e.turns.prompts import short
from tests.listening import listening
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.dev.ports import LOOPBACK
from turnkeeper.vocabulary import EvidenceKind, Fault, Reason, TurnState

PAGE = b"<!doctype html><title>Welcome</title>"
NONSENSE: dict[str, tuple[bytes, str]] = {
    "a web page": (http_answer(PAGE, content_type="text/html"), "text/html instead of JSON"),
    "a web page called JSON": (http_answer(PAGE), "not what OpenCode"),
    "half a JSON": (http_answer(b'{"data": {"id": "ses_'), "not what OpenCode"),
    "another JSON": (http_answer(b'{"hello": "world"}'), "not what OpenCode"),
    "a server error": (http_answer(b"oops", status="500 Internal Server Error"), "500"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", "connection"),
    "a closed door": (b"", "connection"),
}


async def test_nonsense_is_an_unreachable_provider(
    temporal_client: Client, opencode: OpenCodeServer, workspace: Path, root: Path
) -> None:
    async def one(response: bytes, word: str) -> None:
        async with (
            _answering(response) as url,
            deployed(temporal_client, opencode, directory=workspace, root=root, url=url) as deployment,
        ):
            await _gives_up(deployment, word)

    await asyncio.gather(*(one(response, word) for response, word in NONSENSE.values()))


async def test_a_server_that_never_answers(
    temporal_client: Client, opencode: OpenCodeServer, workspace: Path, root: Path
) -> None:
    async with (
        _answering(None) as url,
        deployed(temporal_client, opencode, directory=workspace, root=root, url=url, request_timeout=1) as deployment,
    ):
        # A stop does not wait for the call that hangs.
        hanging = await deployment.start("hello", limits=short(unreachable_timeout=60))
        async with asyncio.timeout(5):
            answer = await deployment.keeper.interrupt(hanging.thread_id)
        assert answer.outcome is not None
        assert_ended(answer.outcome, TurnState.INTERRUPTED, Reason.STOPPED, kind=EvidenceKind.COMMAND, woken_by=(None,))
        await _gives_up(deployment, "did not answer")


async def test_a_wrong_password(
    temporal_client: Client, opencode: OpenCodeServer, workspace: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opencode, "password", "wrong")
    async with deployed(temporal_client, opencode, directory=workspace, root=root) as deployment:
        started = await deployment.start("hello", limits=short(unreachable_timeout=3))
        result = await deployment.keeper.wait(started)
    assert result.outcome.state is TurnState.ERROR
    assert result.outcome.failure is not None
    assert result.outcome.failure.fault is Fault.OPERATOR, result.outcome
    assert "wrong" not in result.model_dump_json()


async def _gives_up(deployment: Deployment, word: str) -> None:
    started = await deployment.start("hello", limits=short(unreachable_timeout=2))
    async with asyncio.timeout(40):
        result = await deployment.keeper.wait(started)
    assert_ended(
        result.outcome, TurnState.ERROR, Reason.PROVIDER_UNREACHABLE, kind=EvidenceKind.TIMER, woken_by=(None,)
    )
    failure = result.outcome.failure
    assert failure is not None
    assert (failure.fault, failure.retryable) == (Fault.PROVIDER, True), failure
    assert word in failure.message, failure
    assert LOOPBACK not in result.model_dump_json()


@asynccontextmanager
async def _answering(response: bytes | None) -> AsyncIterator[str]:
    """A server that says this to everything; None: it takes the request and is silent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if response is None:
            await asyncio.Event().wait()
        else:
            writer.write(response)
            await writer.drain()

    async with listening(serve) as port:
        yield f"http://{LOOPBACK}:{port}"
