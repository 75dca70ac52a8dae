"""OpenCode behind TLS: a CA of one's own, client certificates, and whose fault it is when they do not fit."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives import serialization

from tests.certificates import CHUNK, DAY, ELSEWHERE, Authority, Pair, server_context
from tests.listening import listening
from turnkeeper.dev.ports import LOOPBACK
from turnkeeper.errors import (
    ConfigurationError,
    ProviderCredentialsError,
    ProviderError,
    ProviderHandshakeError,
    ProviderUnreachableError,
    ProviderWantsCertificateError,
)
from turnkeeper.opencode.client import OpenCodeClient
from turnkeeper.settings import EndpointSettings
from turnkeeper.vocabulary import Fault

PASSWORD: Final = "pa55word-of-Ada"  # noqa: S105 - the point is that it never shows up
HEALTHY: Final = b'{"healthy": true, "version": "1.18.33"}'


@asynccontextmanager
async def opencode(context: ssl.SSLContext | None, status: str = "200 OK") -> AsyncIterator[int]:
    """Says that it is healthy, or the status given."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (reader.readuntil(b"\r\n\r\n") if context else reader.read(CHUNK))
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(HEALTHY)}\r\n"
        writer.write(f"{head}connection: close\r\n\r\n".encode() + HEALTHY)
        await writer.drain()

    async with listening(serve, context=context) as port:
        yield port


def settings_of(port: int, **given: Any) -> EndpointSettings:  # noqa: ANN401 - whatever the settings take
    fields = {"url": f"https://localhost:{port}", "password": PASSWORD, "roots": ("/work",)}
    return EndpointSettings.model_validate(fields | given)


async def health(settings: EndpointSettings) -> str:
    client = OpenCodeClient(settings, "box")
    try:
        return await client.health()
    finally:
        await client.close()


async def failed(settings: EndpointSettings) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await health(settings)
    error = caught.value
    assert (error.__cause__, error.__context__) == (None, None)
    assert len(str(error).splitlines()) == 1
    for hidden in ("localhost", LOOPBACK, PASSWORD, "elsewhere"):
        assert hidden not in str(error)
    return error


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "ours")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "theirs")


async def test_a_ca_of_ones_own(ours: Authority) -> None:
    async with opencode(server_context(ours.issue())) as port:
        assert await health(settings_of(port, ca_file=ours.certificate)) == "1.18.33"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"ends": -timedelta(hours=1), "begins": -DAY}, "its certificate has expired"),
        ({"begins": timedelta(hours=1)}, "its certificate is not valid yet"),
        ({"names": ELSEWHERE}, "its certificate is for another name"),
    ],
)
async def test_a_certificate_that_does_not_fit_is_the_operators(
    ours: Authority, wrong: dict[str, Any], why: str
) -> None:
    async with opencode(server_context(ours.issue(**wrong))) as port:
        error = await failed(settings_of(port, ca_file=ours.certificate))
    assert isinstance(error, ProviderHandshakeError)
    assert isinstance(error, ProviderUnreachableError), "nothing was delivered: a retry is safe"
    assert why in str(error)
    assert "Check url and ca_file of endpoint box" in str(error)
    assert error.fault is Fault.OPERATOR


async def test_another_ca_is_not_trusted_and_with_one_of_ones_own_no_other_is(
    ours: Authority, theirs: Authority
) -> None:
    async with opencode(server_context(theirs.issue())) as port:
        for given in ({}, {"ca_file": ours.certificate}):
            error = await failed(settings_of(port, **given))
            assert isinstance(error, ProviderHandshakeError)
            assert "its certificate is of a CA that is not trusted here" in str(error)


async def test_a_client_certificate_lets_in(ours: Authority) -> None:
    async with opencode(server_context(ours.issue(), wants=ours.certificate)) as port:
        trusting = settings_of(port, ca_file=ours.certificate)
        assert await health(trusting.model_copy(update=_pair(ours.issue()))) == "1.18.33"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("shows", ["none", "one of another CA"])
async def test_without_it_or_with_another_it_is_the_operators(
    ours: Authority, theirs: Authority, version: ssl.TLSVersion, shows: str
) -> None:
    context = server_context(ours.issue(), wants=ours.certificate)
    context.maximum_version = version
    given = {} if shows == "none" else _pair(theirs.issue())
    with socket.create_server((LOOPBACK, 0)) as listening:
        serving = asyncio.create_task(asyncio.to_thread(refuse_one, listening, context))
        error = await failed(settings_of(listening.getsockname()[1], ca_file=ours.certificate, **given))
        await serving
    # TLS 1.3 says no only after the handshake, when a request may have left.
    late = version is ssl.TLSVersion.TLSv1_3
    assert isinstance(error, ProviderWantsCertificateError if late else ProviderHandshakeError), error
    assert error.fault is Fault.OPERATOR
    assert "does not accept our client certificate, or wants one. Check client_cert_file and" in str(error)


def refuse_one(listening: socket.socket, context: ssl.SSLContext) -> None:
    """One handshake that fails, its reason sent: a server of asyncio would close without a word."""
    listening.settimeout(20)
    accepted, _ = listening.accept()
    with accepted.dup() as raw:
        accepted.settimeout(20)
        raw.settimeout(20)
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(accepted, server_side=True)
        # What the client still sends is read, or the reset would overtake the reason.
        raw.shutdown(socket.SHUT_WR)
        while raw.recv(CHUNK):
            pass


def _pair(pair: Pair) -> dict[str, Path]:
    return {"client_cert_file": pair.certificate, "client_key_file": pair.key}


async def test_no_tls_there_is_said(ours: Authority) -> None:
    async with opencode(None) as port:
        error = await failed(settings_of(port, ca_file=ours.certificate))
    assert isinstance(error, ProviderHandshakeError)
    assert "speaks no TLS, or breaks it off. Check that it is https there" in str(error)


async def test_a_wrong_password_over_tls_is_the_operators(ours: Authority) -> None:
    async with opencode(server_context(ours.issue()), status="401 Unauthorized") as port:
        error = await failed(settings_of(port, ca_file=ours.certificate))
    assert isinstance(error, ProviderCredentialsError)
    assert error.fault is Fault.OPERATOR


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["ca_file", "client_key_file"])
@pytest.mark.parametrize("content", [None, "s3cr3t", ""])
async def test_a_file_that_is_none_of_its_kind_is_named_and_not_shown(
    ours: Authority, tmp_path: Path, field: str, content: str | None
) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_text(content)
    given = {"ca_file": ours.certificate, **_pair(ours.issue())} | {field: file}
    with pytest.raises(ConfigurationError) as caught:
        OpenCodeClient(settings_of(1, **given), "box")
    said = str(caught.value)
    assert said.startswith(f"endpoints.box.{field}: found {file}")
    assert "s3cr3t" not in said
    assert caught.value.__cause__ is None


async def test_a_key_with_a_password_is_refused_without_asking_for_it(ours: Authority, tmp_path: Path) -> None:
    pair = ours.issue()
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    locked = tmp_path / "locked"
    form = serialization.BestAvailableEncryption(b"s3cr3t")
    locked.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, form))
    with pytest.raises(ConfigurationError, match="a private key as PEM without a password"):
        OpenCodeClient(settings_of(1, **_pair(Pair(pair.certificate, locked))), "box")


async def test_a_key_in_the_place_of_its_path_is_not_shown(ours: Authority) -> None:
    text = ours.issue().key.read_text()
    with pytest.raises(ConfigurationError) as caught:
        OpenCodeClient(settings_of(1, **_pair(Pair(ours.certificate, Path(text)))), "box")
    assert text.splitlines()[1] not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": "http://h", "ca_file": "/ca"}, "need an https address"),
        ({"client_cert_file": "/certificate"}, "both of client_cert_file and client_key_file"),
        ({"client_key_file": "/key"}, "both of client_cert_file and client_key_file"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(given: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        settings_of(1, **given)
