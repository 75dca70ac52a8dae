"""TLS, client certificates and API keys to Temporal: each works, and each mistake is one line that gives nothing away.

A proxy takes TLS off in front of the real dev server; its certificates are made here.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from tests.certificates import DAY, ELSEWHERE, Authority, Pair, server_context, tls_before
from tests.security.grpc_keeper import keeping
from turnkeeper.connection import connect
from turnkeeper.dev.temporal_server import TemporalServer
from turnkeeper.errors import ServiceUnavailableError
from turnkeeper.search_attributes import ALL

HTTP2: Final = "h2"
API_KEY: Final = "k3y-of-Ada"
WORKER: Final = (sys.executable, str(Path(__file__).parents[2] / "worker.py"))
COMMAND: Final = (sys.executable, "-c", "from turnkeeper.cli import main; main()")
ENDS_WITHIN: Final = 60.0  # seconds; a start costs 1.5 s alone


@dataclass(frozen=True)
class Doors:
    """Proxies in front of one Temporal, by what is wrong with them, and what a client may have."""

    plain: str
    addresses: Mapping[str, str]
    ca: Path
    other_ca: Path
    client: Pair
    strange_client: Pair

    def trusting(self, door: str, **settings: str) -> dict[str, str]:
        """The standard variables of a client that trusts our CA."""
        return {
            "TEMPORAL_ADDRESS": self.addresses[door],
            "TEMPORAL_CONFIG_FILE": os.devnull,
            "TEMPORAL_TLS": "true",
            "TEMPORAL_TLS_SERVER_CA_CERT_PATH": str(self.ca),
            **settings,
        }

    def known(self, door: str, pair: Pair | None = None) -> dict[str, str]:
        """The same with a client certificate."""
        shown = pair or self.client
        return self.trusting(
            door,
            TEMPORAL_TLS_CLIENT_CERT_PATH=str(shown.certificate),
            TEMPORAL_TLS_CLIENT_KEY_PATH=str(shown.key),
        )


@pytest.fixture(scope="module")
async def doors(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Doors]:
    folder = tmp_path_factory.mktemp("tls")
    ours, theirs = Authority(folder, "ours"), Authority(folder, "theirs")
    good = ours.issue()
    contexts = {
        "good": server_context(good, protocol=HTTP2),
        "expired": server_context(ours.issue(ends=-timedelta(hours=1), begins=-DAY), protocol=HTTP2),
        "too early": server_context(ours.issue(begins=timedelta(hours=1)), protocol=HTTP2),
        "another name": server_context(ours.issue(ELSEWHERE), protocol=HTTP2),
        "wants a certificate": server_context(good, wants=ours.certificate, protocol=HTTP2),
    }
    names = tuple(key.name for key in ALL)
    async with AsyncExitStack() as stack:
        log = folder / "temporal.log"
        server = await stack.enter_async_context(TemporalServer(log=log, search_attributes=names, ui=False))
        ports = {
            door: await stack.enter_async_context(tls_before(server.port, context))
            for door, context in contexts.items()
        }
        addresses = {door: f"localhost:{port}" for door, port in ports.items()}
        yield Doors(
            server.address, addresses, ours.certificate, theirs.certificate, ours.issue(ELSEWHERE), theirs.issue()
        )


async def refused(environ: Mapping[str, str]) -> str:
    with pytest.raises(ServiceUnavailableError) as unavailable:
        await connect(environ)
    assert unavailable.value.__cause__ is None
    assert unavailable.value.__suppress_context__ or unavailable.value.__context__ is None
    said = str(unavailable.value)
    assert len(said.splitlines()) == 1
    assert environ["TEMPORAL_ADDRESS"] not in said
    return said


# --- TLS ------------------------------------------------------------------------------------------------------------


async def test_tls_with_a_ca_of_our_own(doors: Doors) -> None:
    assert (await connect(doors.trusting("good"))).namespace == "default"


async def test_the_ca_may_stand_in_the_variable_itself(doors: Doors) -> None:
    trusting = doors.trusting("good", TEMPORAL_TLS_SERVER_CA_CERT_DATA=doors.ca.read_text())
    del trusting["TEMPORAL_TLS_SERVER_CA_CERT_PATH"]
    await connect(trusting)


async def test_a_profile_says_the_same(doors: Doors, tmp_path: Path) -> None:
    profile = tmp_path / "temporal.toml"
    profile.write_text(
        f'[profile.own]\naddress = "{doors.addresses["wants a certificate"]}"\n'
        f'[profile.own.tls]\nserver_ca_cert_path = "{doors.ca}"\n'
        f'client_cert_path = "{doors.client.certificate}"\nclient_key_path = "{doors.client.key}"\n'
    )
    await connect({"TEMPORAL_CONFIG_FILE": str(profile), "TEMPORAL_PROFILE": "own"})


async def test_another_name_can_be_agreed_on(doors: Doors) -> None:
    await connect(doors.trusting("another name", TEMPORAL_TLS_SERVER_NAME="elsewhere.invalid"))


@pytest.mark.parametrize(
    ("door", "why"),
    [
        ("expired", "its certificate has expired. Whoever runs it has to renew it."),
        ("too early", "its certificate is not valid yet. Check the clocks."),
        ("another name", "its certificate is for another name. Check TEMPORAL_ADDRESS and TEMPORAL_TLS_SERVER_NAME"),
        ("wants a certificate", "it may want a client certificate. Check TEMPORAL_TLS_CLIENT_CERT_PATH and"),
    ],
)
async def test_what_is_not_trusted_is_said(doors: Doors, door: str, why: str) -> None:
    assert why in await refused(doors.trusting(door))


async def test_another_ca_is_not_trusted_nor_ours_without_being_named(doors: Doors) -> None:
    other = doors.trusting("good", TEMPORAL_TLS_SERVER_CA_CERT_PATH=str(doors.other_ca))
    assert "of a CA that is not trusted here. Check TEMPORAL_TLS_SERVER_CA_CERT_PATH." in await refused(other)
    none = {"TEMPORAL_ADDRESS": doors.addresses["good"], "TEMPORAL_TLS": "true"}
    assert "of a CA that is not trusted here" in await refused(none)


async def test_tls_where_there_is_none_and_none_where_there_is_tls(doors: Doors) -> None:
    assert "it does not speak TLS" in await refused(doors.trusting("good") | {"TEMPORAL_ADDRESS": doors.plain})
    assert "or wants TLS" in await refused({"TEMPORAL_ADDRESS": doors.addresses["good"]})


# --- client certificates ----------------------------------------------------------------------------------------------


async def test_a_client_certificate_lets_in(doors: Doors) -> None:
    await connect(doors.known("wants a certificate"))


async def test_a_client_certificate_of_another_ca_does_not(doors: Doors) -> None:
    said = await refused(doors.known("wants a certificate", doors.strange_client))
    assert "it may not accept the client certificate. Check TEMPORAL_TLS_CLIENT_CERT_PATH" in said


async def test_key_and_certificate_belong_together(doors: Doors) -> None:
    said = await refused(doors.known("wants a certificate", Pair(doors.client.certificate, doors.strange_client.key)))
    assert "the client's key is not that of the client's certificate" in said


async def test_half_a_certificate_is_refused(doors: Doors) -> None:
    half = doors.trusting("good", TEMPORAL_TLS_CLIENT_CERT_PATH=str(doors.client.certificate))
    assert "Only half of the client certificate is set." in await refused(half)


async def test_a_key_that_is_none_is_not_shown(doors: Doors, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("s3cr3t, and no key")
    said = await refused(doors.known("good", Pair(doors.client.certificate, key)))
    assert "the client's key is no private key as PEM" in said
    assert "s3cr3t" not in said


async def test_a_file_that_is_not_there_is_named(doors: Doors) -> None:
    said = await refused(doors.known("good", Pair(doors.client.certificate, Path("/nowhere/key"))))
    assert "cannot be read: /nowhere/key (FileNotFoundError)" in said


async def test_a_key_in_the_place_of_its_path_is_not_shown(doors: Doors) -> None:
    given = doors.known("good") | {"TEMPORAL_TLS_CLIENT_KEY_PATH": doors.client.key.read_text()}
    said = await refused(given)
    assert "cannot be read: a file (" in said
    assert doors.client.key.read_text().splitlines()[1] not in said


# --- API keys ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Pair]:
    authority = Authority(tmp_path_factory.mktemp("api-key"), "ours")
    return authority, authority.issue()


async def test_an_api_key_reaches_the_server_inside_tls(good_pair: tuple[Authority, Pair]) -> None:
    authority, pair = good_pair
    async with keeping(API_KEY, server_context(pair, protocol=HTTP2)) as keeper:
        await connect(
            {
                "TEMPORAL_ADDRESS": f"localhost:{keeper.port}",
                "TEMPORAL_CONFIG_FILE": os.devnull,
                "TEMPORAL_API_KEY": API_KEY,
                "TEMPORAL_TLS_SERVER_CA_CERT_PATH": str(authority.certificate),
            }
        )
    assert set(keeper.seen) == {f"Bearer {API_KEY}"}


async def test_a_wrong_api_key_is_one_line_without_it(good_pair: tuple[Authority, Pair]) -> None:
    authority, pair = good_pair
    async with keeping("another", server_context(pair, protocol=HTTP2)) as keeper:
        said = await refused(
            {
                "TEMPORAL_ADDRESS": f"localhost:{keeper.port}",
                "TEMPORAL_CONFIG_FILE": os.devnull,
                "TEMPORAL_API_KEY": API_KEY,
                "TEMPORAL_TLS_SERVER_CA_CERT_PATH": str(authority.certificate),
            }
        )
    assert "Check TEMPORAL_API_KEY" in said
    assert API_KEY not in said


async def test_an_api_key_switches_tls_on_by_itself() -> None:
    async with keeping(API_KEY, None) as keeper:
        said = await refused({"TEMPORAL_ADDRESS": f"localhost:{keeper.port}", "TEMPORAL_API_KEY": API_KEY})
    assert "it does not speak TLS" in said
    assert keeper.seen == []


@pytest.mark.parametrize("variable", ["TEMPORAL_API_KEY", "TEMPORAL_GRPC_META_AUTHORIZATION"])
async def test_an_api_key_goes_to_no_other_machine_in_clear(variable: str) -> None:
    said = await refused({"TEMPORAL_ADDRESS": "198.51.100.7:7233", "TEMPORAL_TLS": "false", variable: API_KEY})
    assert said.startswith("An API key would travel to Temporal in clear. Unset TEMPORAL_TLS")


async def test_on_this_machine_it_may() -> None:
    async with keeping(API_KEY, None) as keeper:
        await connect(
            {"TEMPORAL_ADDRESS": f"127.0.0.1:{keeper.port}", "TEMPORAL_TLS": "false", "TEMPORAL_API_KEY": API_KEY}
        )
    assert set(keeper.seen) == {f"Bearer {API_KEY}"}


async def test_a_key_with_a_line_break_is_refused_rather_than_left_out() -> None:
    """The SDK would leave the header out without a word."""
    said = await refused({"TEMPORAL_ADDRESS": "127.0.0.1:1", "TEMPORAL_API_KEY": f"{API_KEY}\n"})
    assert "a line break" in said
    assert API_KEY not in said


@pytest.mark.parametrize("line", ["api_key = s3cr3t", 'api_key = ["s3cr3t"]', 'api_key = "s3cr3t'])
async def test_a_profile_that_is_wrong_is_not_quoted(line: str, tmp_path: Path) -> None:
    """The SDK's own error shows the line that is wrong."""
    profile = tmp_path / "temporal.toml"
    profile.write_text(f'[profile.default]\naddress = "127.0.0.1:9"\n{line}\n')
    said = await refused({"TEMPORAL_CONFIG_FILE": str(profile), "TEMPORAL_ADDRESS": "127.0.0.1:9"})
    assert "the profile file is not TOML as Temporal wants it (line 3, column" in said
    assert "s3cr3t" not in said


# --- as processes -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    code: int | None
    out: str
    errors: str


async def ran(command: tuple[str, ...], environ: Mapping[str, str]) -> Ended:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TEMPORAL_", "TURNKEEPER_"))}
    process = await asyncio.create_subprocess_exec(
        *command,
        env=kept | dict(environ),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(ENDS_WITHIN):
        out, errors = await process.communicate()
    return Ended(process.returncode, out.decode(), errors.decode())


async def test_worker_command_line_and_doctor_say_it_in_one_line(doors: Doors, tmp_path: Path) -> None:
    endpoint = {
        "TURNKEEPER_ENDPOINT_BOX_URL": "http://127.0.0.1:9",
        "TURNKEEPER_ENDPOINT_BOX_ROOTS": str(tmp_path),
    }
    stranger = doors.known("wants a certificate", doors.strange_client)
    expired = doors.trusting("expired")
    worker, threads, doctor = await asyncio.gather(
        ran(WORKER, stranger | endpoint), ran((*COMMAND, "threads"), expired), ran((*COMMAND, "doctor"), expired)
    )
    assert (worker.code, worker.out) == (2, "")
    (line,) = worker.errors.splitlines()
    assert "turnkeeper worker: The Temporal server does not answer: it closed the connection; it may not" in line
    assert (threads.code, threads.out) == (2, "")
    (line,) = threads.errors.splitlines()
    assert "its certificate has expired" in line
    assert (doctor.code, doctor.errors) == (1, "")
    (line,) = doctor.out.splitlines()
    assert line.startswith("BAD  temporal: The Temporal server does not answer: its certificate has expired")


async def test_doctor_is_let_in_with_a_client_certificate(doors: Doors) -> None:
    doctor = await ran((*COMMAND, "doctor"), doors.known("wants a certificate"))
    assert "ok   temporal: reached by TEMPORAL_ADDRESS, TEMPORAL_CONFIG_FILE, namespace 'default'" in doctor.out
    assert "ok   search attributes: all" in doctor.out
