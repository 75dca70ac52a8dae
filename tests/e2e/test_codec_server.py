"""The codec server as a process, over real HTTP: who gets in, what is refused, what the Temporal CLI makes of it."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload
from temporalio.client import Client

from tests.encryption import KEYS, NEW, OLD, client_of, line, ring
from turnkeeper.codec import EncryptionCodec
from turnkeeper.dev.temporal_server import TemporalServer, find_temporal

PROGRAM: Final = (sys.executable, "-c", "from turnkeeper.cli import main; main()", "codec-server")
UI: Final = "http://127.0.0.1:8233"
TOKEN: Final = "t0ken" * 8
PROMPT: Final = "Prompt-of-Ada"
PLAIN: Final = Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(PROMPT).encode())
MAX_BODY: Final = 200_000
BEARER: Final = {"authorization": f"Bearer {TOKEN}", "x-namespace": "default"}
SETTINGS: Final = {
    "TURNKEEPER_ENCRYPTION_KEYS": f"{line(NEW)},{line(OLD)}",
    "TURNKEEPER_CODEC_SERVER_UI_ORIGIN": UI,
    "TURNKEEPER_CODEC_SERVER_TOKEN": TOKEN,
    "TURNKEEPER_CODEC_SERVER_PORT": "0",
    "TURNKEEPER_CODEC_SERVER_MAX_BODY_BYTES": str(MAX_BODY),
}


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Nothing of whoever runs the tests leads elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TEMPORAL_", "TURNKEEPER_"))}
    return kept | dict(settings)


@dataclass
class Server:
    process: subprocess.Popen[str]
    url: str
    log: Path

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=20, trust_env=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("codec-server") / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(  # noqa: S603 - our own program
            PROGRAM, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment(SETTINGS)
        )
    assert process.stdout is not None
    first = process.stdout.readline()
    found = re.match(
        r"codec server on (http://127\.0\.0\.1:\d+) for http://127\.0\.0\.1:8233, namespace default$", first
    )
    assert found is not None, first + log.read_text()
    yield Server(process, found.group(1), log)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    with process.stdout as rest:
        assert rest.read() == "stopped\n"
    for secret in (PROMPT, TOKEN, base64.b64encode(PLAIN.data).decode()):
        assert secret not in log.read_text()


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def body(*payloads: Payload) -> dict[str, Any]:
    return {"payloads": [json_format.MessageToDict(payload) for payload in payloads]}


def payloads_of(answer: httpx.Response) -> list[Payload]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return [json_format.ParseDict(payload, Payload()) for payload in answer.json()["payloads"]]


def sealed(key_id: str = OLD) -> Payload:
    return EncryptionCodec(ring(key_id)).seal([PLAIN])[0]


def refused(answer: httpx.Response, status: int, words: str) -> None:
    assert answer.status_code == status, answer.text
    assert words in answer.json()["message"]
    assert PROMPT not in answer.text


def test_what_any_key_of_the_ring_sealed_opens_and_plain_ones_pass(http: httpx.Client) -> None:
    answer = http.post("/decode", json=body(sealed(OLD), PLAIN, sealed(NEW)), headers=BEARER)
    assert payloads_of(answer) == [PLAIN] * 3


def test_it_seals_with_the_key_that_writes(http: httpx.Client) -> None:
    (payload,) = payloads_of(http.post("/encode", json=body(PLAIN), headers=BEARER))
    assert PROMPT.encode() not in payload.data
    assert EncryptionCodec(ring(NEW)).open([payload]) == [PLAIN]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": f"Bearer {TOKEN[:-1]}"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": TOKEN},
        {"cookie": f"turnkeeper_codec={TOKEN}", "origin": UI},
        {"cookie": "turnkeeper_codec=", "origin": UI},
    ],
)
@pytest.mark.parametrize("path", ["/decode", "/encode"])
def test_without_the_token_nothing_is_answered(http: httpx.Client, path: str, headers: dict[str, str]) -> None:
    answer = http.post(path, json=body(sealed()), headers={**headers, "x-namespace": "default"})
    refused(answer, 401, "Show the token")


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:8234", "https://127.0.0.1:8233", f"{UI}.evil.example", ""],
)
def test_another_origin_is_refused_whatever_it_shows(http: httpx.Client, origin: str) -> None:
    answer = http.post("/decode", json=body(sealed()), headers={**BEARER, "origin": origin})
    refused(answer, 403, "this origin")
    assert "access-control-allow-origin" not in answer.headers


def test_the_ui_is_told_that_it_may_ask(http: httpx.Client) -> None:
    wanted = {
        "origin": UI,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-namespace",
    }
    asked = http.options("/decode", headers=wanted)
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == UI
    assert asked.headers["access-control-allow-credentials"] == "true"
    answer = http.post("/decode", json=body(sealed()), headers={**BEARER, "origin": UI})
    assert payloads_of(answer) == [PLAIN]
    assert answer.headers["access-control-allow-origin"] == UI
    elsewhere = http.options("/decode", headers={**wanted, "origin": "http://evil.example"})
    assert elsewhere.status_code == 400
    assert "access-control-allow-origin" not in elsewhere.headers


def test_who_signed_in_reads_in_the_ui_and_nowhere_else(http: httpx.Client, server: Server) -> None:
    assert "<form" in http.get("/").text
    wrong = http.post("/sign-in", data={"token": "wrong"})
    assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
    foreign = http.post("/sign-in", data={"token": TOKEN}, headers={"origin": "http://evil.example"})
    refused(foreign, 403, "from itself")
    right = http.post("/sign-in", data={"token": TOKEN}, headers={"origin": server.url})
    assert right.status_code == 303
    cookie = right.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in cookie
    namespace = {"x-namespace": "default"}
    assert payloads_of(http.post("/decode", json=body(sealed()), headers={**namespace, "origin": UI})) == [PLAIN]
    refused(http.post("/decode", json=body(sealed()), headers=namespace), 401, "Show the token")
    foreign = http.post("/decode", json=body(sealed()), headers={**namespace, "origin": "http://evil.example"})
    refused(foreign, 403, "this origin")


@pytest.mark.parametrize("namespace", [None, "", "other", "Default"])
def test_another_namespace_is_refused(http: httpx.Client, namespace: str | None) -> None:
    headers = {"authorization": BEARER["authorization"]} | ({} if namespace is None else {"x-namespace": namespace})
    refused(http.post("/decode", json=body(sealed()), headers=headers), 403, "X-Namespace")


def test_a_body_that_is_too_big_is_refused_whether_or_not_it_says_so(http: httpx.Client) -> None:
    refused(http.post("/decode", content=b"x" * (MAX_BODY + 1), headers=BEARER), 413, str(MAX_BODY))

    def without_length() -> Iterator[bytes]:
        for _ in range(MAX_BODY // 1000 + 1):
            yield b"x" * 1000

    refused(http.post("/decode", content=without_length(), headers=BEARER), 413, str(MAX_BODY))
    assert http.post("/sign-in", content=b"token=" + b"x" * 5000).status_code == 413


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"\xff",
        b'{"payloads": 1}',
        b'{"payloads": [1]}',
        b'{"payloads": [{"data": "Prompt-of-Ada!"}]}',
        b"[" * 100_000,
        b'{"payloads":' * 10_000,
    ],
)
def test_what_is_no_list_of_payloads_is_refused_without_repeating_it(http: httpx.Client, content: bytes) -> None:
    refused(http.post("/decode", content=content, headers=BEARER), 400, "Not of the form")


def test_an_unknown_key_and_a_changed_payload_are_named(http: httpx.Client) -> None:
    stranger = sealed()
    stranger.metadata["encryption-key-id"] = b"2019-01"
    refused(
        http.post("/decode", json=body(stranger), headers=BEARER), 422, "the key '2019-01', and this process does not"
    )
    changed = sealed()
    changed.data = changed.data[:-1] + bytes([changed.data[-1] ^ 1])
    refused(http.post("/decode", json=body(changed), headers=BEARER), 422, "it was changed after it was written")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/decode", 405), ("POST", "/", 405), ("GET", "/x", 404)]
)
def test_nothing_else_is_there(http: httpx.Client, method: str, path: str, status: int) -> None:
    assert http.request(method, path, headers=BEARER).status_code == status


# At start.


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"TURNKEEPER_ENCRYPTION_KEYS": None}, "TURNKEEPER_ENCRYPTION_KEYS_FILE: found nothing"),
        ({"TURNKEEPER_CODEC_SERVER_UI_ORIGIN": None}, "TURNKEEPER_CODEC_SERVER_UI_ORIGIN: found nothing"),
        ({"TURNKEEPER_CODEC_SERVER_TOKEN": None}, "one of TURNKEEPER_CODEC_SERVER_TOKEN_FILE and"),
        ({"TURNKEEPER_CODEC_SERVER_TOKEN": "hush"}, "TURNKEEPER_CODEC_SERVER_TOKEN: found 4 characters"),
        ({"TURNKEEPER_CODEC_SERVER_TOKEN_FILE": "/x"}, "one of TURNKEEPER_CODEC_SERVER_TOKEN_FILE and"),
        ({"TURNKEEPER_CODEC_SERVER_UI_ORIGIN": "*"}, "an origin is scheme://host[:port]"),
        ({"TURNKEEPER_CODEC_SERVER_UI_ORIGIN": f"{UI}/"}, "an origin is scheme://host[:port]"),
        ({"TURNKEEPER_CODEC_SERVER_ORIGIN": UI}, "TURNKEEPER_CODEC_SERVER_ORIGIN: found an unknown setting"),
        ({"TURNKEEPER_CODEC_SERVER_HOST": "203.0.113.1"}, "TURNKEEPER_CODEC_SERVER_PORT: found 203.0.113.1 port 0"),
    ],
)
def test_it_does_not_start_without_what_it_needs(change: dict[str, str | None], said: str) -> None:
    settings = {name: value for name, value in {**SETTINGS, **change}.items() if value is not None}
    ended = subprocess.run(  # noqa: S603 - our own program
        PROGRAM, capture_output=True, text=True, check=False, timeout=60, env=environment(settings)
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    for secret in (TOKEN, "hush", base64.b64encode(KEYS[NEW]).decode()):
        assert secret not in ended.stderr


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = SETTINGS | {"TURNKEEPER_CODEC_SERVER_PORT": str(taken.getsockname()[1])}
        ended = subprocess.run(  # noqa: S603 - our own program
            PROGRAM, capture_output=True, text=True, check=False, timeout=60, env=environment(settings)
        )
    assert ended.returncode == 2
    assert "Address already in use" in ended.stderr


# With Temporal's own command line.


async def test_the_temporal_command_line_reads_through_it(server: Server, temporal_server: TemporalServer) -> None:
    client = await client_of(await Client.connect(temporal_server.address), ring(NEW))
    await client.start_workflow("Nobody", PROMPT, id="sealed", task_queue="nobody", static_summary=PROMPT)
    in_clear = base64.b64encode(PLAIN.data).decode()
    assert in_clear not in _temporal(temporal_server)
    assert in_clear in _temporal(temporal_server, "--codec-endpoint", server.url, "--codec-auth", f"Bearer {TOKEN}")


def _temporal(server: TemporalServer, *options: str) -> str:
    command = [str(find_temporal()), "workflow", "show", "--workflow-id", "sealed", "--address", server.address]
    shown = subprocess.run(  # noqa: S603 - Temporal's own program
        [*command, "--output", "json", *options], capture_output=True, text=True, check=False, env=environment({})
    )
    return shown.stdout + shown.stderr
