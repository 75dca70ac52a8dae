"""Secrets and addresses are nowhere: one run of what can end, fail and be said, then all that was written is read.

Read are all histories, descriptions and visibility records, as they are kept and opened with the keys; the worker's log
at DEBUG; and what the command line printed with tracebacks on.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest, ListWorkflowExecutionsRequest
from temporalio.client import Client

from tests.certificates import tls_before
from tests.e2e.turns.deployment import Deployment, deployed, new_thread
from tests.e2e.turns.gate import Gate, Lie, http_answer
from tests.e2e.turns.prompts import DONE, bash, plan, short, slow_text
from tests.e2e.turns.worker_process import worker_process
from tests.e2e.waiting import until, until_true
from tests.encryption import KEYS as KEY_BYTES
from tests.encryption import OLD, all_that_is_kept, client_of, line, ring
from turnkeeper.client import StartedTurn
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.dev.temporal_server import TemporalServer
from turnkeeper.encryption_keys import KEYS, KeyRing
from turnkeeper.messages import TurnResult
from turnkeeper.search_attributes import ALL
from turnkeeper.vocabulary import OnBusy, PermissionReply, Reason

PROMPT: Final = "Prompt-of-Ada"
STEER: Final = "Steer-of-Ada"
WHY: Final = "Why-of-Ada"
ANSWER: Final = "Answer-to-Ada"
NO: Final = "No-of-Ada"
ASKED: Final = "Asked-of-Ada"
SAID: Final = (PROMPT, STEER, WHY, ANSWER, NO, ASKED)

HOST: Final = "127.93.41.7"
"""An address of loopback that nothing else has."""
WRONG: Final = "wr0ng-password-of-Ada"
API_KEY: Final = "temporal-api-k3y-of-Ada"
UNRELATED: Final = "unrelated-s3cret-of-Ada"
MODEL_KEY: Final = "sk-m0delkeyofAda00000000"
NAME: Final = "turnkeeper"
"""Of the endpoint and of its queue: the command line's own."""

COMMAND: Final = (sys.executable, "-c", "from turnkeeper.cli import main; main()")
ENDS_WITHIN: Final = 90.0  # seconds for one command on a machine that does other things

pytestmark = pytest.mark.timeout(300)


@dataclass
class Run:
    """The world under test, and what its terminals showed."""

    deployment: Deployment
    gate: Gate
    log: Path
    environment: Mapping[str, str]
    said: list[str] = field(default_factory=list)

    async def command(self, *arguments: str) -> str:
        """What a terminal shows of one command, both streams."""
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *arguments,
            env=dict(self.environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(ENDS_WITHIN):
            out, _ = await process.communicate()
        self.said.append(out.decode())
        return self.said[-1]

    async def ended(self, prompt: str, reason: Reason, **limits: float) -> TurnResult:
        """A turn of its own thread, shown on a terminal afterwards."""
        result = await self.over(await self.deployment.start(prompt, limits=short(**limits)))
        assert result.outcome.reason is reason, result
        return result

    async def over(self, started: StartedTurn) -> TurnResult:
        async with asyncio.timeout(ENDS_WITHIN):
            result = await self.deployment.keeper.wait(started)
        self.said.append(result.model_dump_json())
        return result


@asynccontextmanager
async def running(
    temporal: Client,
    opencode: OpenCodeServer,
    root: Path,
    directory: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Run]:
    async with AsyncExitStack() as stack:
        gate = await stack.enter_async_context(Gate.before(opencode.port))
        port = await stack.enter_async_context(tls_before(gate.port, None, HOST))
        url = f"http://{HOST}:{port}"
        config = folder / "turnkeeper.toml"
        (folder / "wrong").write_text(WRONG)
        locked = {"url": url, "password_file": str(folder / "wrong"), "roots": [str(root)]}
        gone = {"url": f"http://{HOST}:9/{UNRELATED}", "password_env": "ADA_UNRELATED", "roots": [str(root)]}
        config.write_text("".join(_toml(name, about) for name, about in {"locked": locked, "gone": gone}.items()))
        monkeypatch.setenv("TURNKEEPER_CONFIG", str(config))
        monkeypatch.setenv("ADA_UNRELATED", UNRELATED)
        monkeypatch.setenv("TEMPORAL_API_KEY", API_KEY)
        monkeypatch.setenv("TEMPORAL_TLS", "false")  # allowed to loopback alone
        monkeypatch.setenv("TEMPORAL_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("TURNKEEPER_WORKER_LOG_LEVEL", "DEBUG")
        monkeypatch.setenv("TURNKEEPER_DEBUG", "1")
        deployment = await stack.enter_async_context(
            deployed(temporal, opencode, directory=directory, root=root, name=NAME, run_worker=False)
        )
        worker = worker_process(deployment, opencode, root, folder / "worker.log", url=url)
        await worker.start()
        stack.push_async_callback(worker.stop)
        address = temporal.service_client.config.target_host
        yield Run(deployment, gate, worker.log.path, {**os.environ, "TEMPORAL_ADDRESS": address})


def _toml(name: str, fields: Mapping[str, object]) -> str:
    quick = "limits = { unreachable_timeout = 3, accept_budget = 3 }\n"
    queue = f"task_queue = {json.dumps(NAME)}\n"
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items())
    return f"[endpoints.{name}]\n{lines}{queue}{quick}"


def echo(opencode: OpenCodeServer, status: str) -> bytes:
    """An error that quotes the whole request, as careless servers and proxies do."""
    token = base64.b64encode(f"{opencode.username}:{opencode.password}".encode()).decode()
    text = (
        f"Mishap-of-Ada: POST http://{HOST}:4096/session Host: {HOST}:4096 Authorization: Basic {token} "
        f"password={opencode.password} and {opencode.password} alone"
    )
    return http_answer(json.dumps({"name": "Oops", "data": {"message": text}}).encode(), status=status)


async def everything(run: Run, opencode: OpenCodeServer) -> None:
    """What can end, fail, or be said; side by side where nothing is in another's way."""
    await completed(run)  # the directory is warm then
    await asyncio.gather(model_failed(run), asked_and_steered(run), stopped(run), adopted(run))
    await quoted(run, opencode)
    await asyncio.gather(*(impossible(run, endpoint) for endpoint in ("locked", "gone")), stream_lost(run))


async def completed(run: Run) -> None:
    place = ("--endpoint", NAME, "--dir", str(run.deployment.directory))
    shown = await run.command("run", *place, "--thread", "ada", f"{PROMPT} {plan({'kind': 'text', 'say': ANSWER})}")
    assert ANSWER in shown


async def model_failed(run: Run) -> None:
    """In the prompt, which holds what the model is to say, secrets are spelt so that they are not themselves."""
    words = f"Mishap-of-Ada: Incorrect API key provided: {MODEL_KEY} at http://{HOST}/v1, Bearer {MODEL_KEY}"
    refused = plan({"kind": "http", "status": 401, "message": words})
    spelt = refused.replace(HOST, HOST.replace(".", r"\u002e")).replace(MODEL_KEY, rf"\u0073{MODEL_KEY[1:]}")
    await run.ended(f"{PROMPT} {spelt}", Reason.PROVIDER_ERROR)


async def asked_and_steered(run: Run) -> None:
    """A permission that is answered with a no and a word, and what steers beside it."""
    keeper = run.deployment.keeper
    asking = await run.deployment.start(f"{PROMPT} {plan(bash(f'echo ask {ASKED}'), DONE)}")
    turn = await run.deployment.until_turn(asking, lambda turn: turn.open_requests, deadline=60)
    await keeper.start_turn(asking.thread_id, f"{STEER} {plan(DONE)}", on_busy=OnBusy.STEER)
    await run.command("show", asking.thread_id)
    (request,) = turn.open_requests
    await keeper.answer(asking.thread_id, request.request_id, permission=PermissionReply.REJECT, message=NO)
    await run.over(asking)


async def stopped(run: Run) -> None:
    slow = await run.deployment.start(f"{PROMPT} {plan(slow_text(30))}")
    await run.deployment.until_running(slow)
    await run.deployment.keeper.interrupt(slow.thread_id, why=WHY)
    await run.over(slow)


async def adopted(run: Run) -> None:
    await run.command("adopt", "ses_nothere", "--endpoint", NAME)


async def quoted(run: Run, opencode: OpenCodeServer) -> None:
    """Errors that quote the request."""
    gate = run.gate
    gate.answer("/prompt_async", echo(opencode, "400 Bad Request"))
    rejected = await run.ended(f"{PROMPT} {plan(DONE)}", Reason.PROMPT_REJECTED)
    assert "Mishap-of-Ada" in rejected.model_dump_json()
    gate.let_pass()
    broken = Lie(lambda _: echo(opencode, "500 Internal Server Error"), asked=False)
    gate.lie = lambda line: broken if "/session/status" in line else None
    await run.ended(f"{PROMPT} {plan(slow_text(2))}", Reason.PROVIDER_UNREACHABLE, unreachable_timeout=2)
    gate.let_pass()


async def impossible(run: Run, endpoint: str) -> None:
    """A wrong password, or nobody there, on a terminal with tracebacks."""
    place = ("--endpoint", endpoint, "--dir", str(run.deployment.directory))
    await run.command("run", *place, "--thread", new_thread(), f"{PROMPT} hello")


async def stream_lost(run: Run) -> None:
    run.gate.cut("/global/event")
    await until_true(lambda: f"endpoint {NAME}: event stream lost" in run.log.read_text(), deadline=60)
    await run.command("doctor")
    run.gate.let_pass()


async def opened_payloads(client: Client) -> bytes:
    """Every payload of every history, opened with the client's keys."""
    service, namespace, codec = client.workflow_service, client.namespace, client.data_converter.payload_codec
    listed = await service.list_workflow_executions(ListWorkflowExecutionsRequest(namespace=namespace))
    payloads: list[Payload] = []
    for found in listed.executions:
        run = WorkflowExecution(workflow_id=found.execution.workflow_id, run_id=found.execution.run_id)
        answer = await service.get_workflow_execution_history(
            GetWorkflowExecutionHistoryRequest(namespace=namespace, execution=run)
        )
        assert not answer.next_page_token, "short histories"
        payloads += _payloads(answer.history)
    if codec is not None:
        payloads = list(await codec.decode(payloads))
    return b"\0".join(payload.data for payload in payloads)


def _payloads(message: object) -> list[Payload]:
    """All payloads in a protobuf message, at any depth."""
    if isinstance(message, Payload):
        return [message]
    found: list[Payload] = []
    for descriptor, value in getattr(message, "ListFields", list)():
        if descriptor.message_type is None:
            continue
        if descriptor.message_type.GetOptions().map_entry:
            inner = list(value.values())
        else:
            inner = list(value) if descriptor.is_repeated else [value]
        found += [payload for one in inner for payload in _payloads(one)]
    return found


def secrets_of(opencode: OpenCodeServer, keys: KeyRing | None, addresses: list[str]) -> dict[str, bytes]:
    """What must be nowhere, by name."""
    token = base64.b64encode(f"{opencode.username}:{opencode.password}".encode()).decode()
    wrong = base64.b64encode(f"opencode:{WRONG}".encode()).decode()
    texts = {
        "the password": opencode.password,
        "the password as a header": token,
        "the wrong password": WRONG,
        "the wrong password as a header": wrong,
        "the endpoint's host": HOST,
        "an environment variable": UNRELATED,
        "the API key of Temporal": API_KEY,
        "the key of a model provider": MODEL_KEY,
        **{f"address {n}": address for n, address in enumerate(addresses)},
    }
    found = {name: text.encode() for name, text in texts.items()}
    if keys is not None:
        found |= {"an encryption key": KEY_BYTES[OLD], "an encryption key as text": base64.b64encode(KEY_BYTES[OLD])}
    return found


@pytest.mark.parametrize("keys", [None, ring()], ids=["plain", "encrypted"])
async def test_no_secret_and_no_address_is_kept_logged_or_shown(
    opencode: OpenCodeServer,
    root: Path,
    workspace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keys: KeyRing | None,
) -> None:
    if keys is not None:
        monkeypatch.setenv(KEYS, line(OLD))
    # A Temporal of its own: what another run kept there in clear would be found.
    names = tuple(key.name for key in ALL)
    async with TemporalServer(log=tmp_path / "temporal.log", search_attributes=names, ui=False) as server:
        client = await client_of(await Client.connect(server.address), keys)
        await searched(client, opencode, root, workspace, tmp_path, monkeypatch, keys)


async def searched(
    client: Client,
    opencode: OpenCodeServer,
    root: Path,
    workspace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keys: KeyRing | None,
) -> None:
    """Run everything, then search everything."""
    async with running(client, opencode, root, workspace, tmp_path, monkeypatch) as run:
        await everything(run, opencode)
        threads = [found.thread_id async for found in run.deployment.keeper.threads(None)]
        assert len(threads) >= 8
        kept = await until(
            lambda: all_that_is_kept(client, ""), lambda kept: all(name.encode() in kept for name in threads)
        )
        opened = await opened_payloads(client)
    log, terminals = run.log.read_bytes(), "\n".join(run.said).encode()
    places = {"kept": kept, "opened": opened, "the worker's log": log, "terminals": terminals}
    secrets = secrets_of(opencode, keys, [opencode.base_url, f"127.0.0.1:{opencode.port}"])
    leaks = [(name, place) for place, text in places.items() for name, secret in secrets.items() if secret in text]
    assert leaks == []
    assert [text for text in SAID if text.encode() in log] == [], "the log holds no word of what was said"
    # So that the reading above can fail: what was said is where it belongs, and errors were quoted.
    assert [text for text in SAID if text.encode() not in opened] == []
    assert b"Mishap-of-Ada" in opened
    assert b"(secret)" in opened
    assert b"(address)" in opened
    assert b"DEBUG" in log
    assert b"event stream lost" in log
    if keys is None:
        return
    assert [text for text in (*SAID, "Mishap-of-Ada") if text.encode() in kept] == []
