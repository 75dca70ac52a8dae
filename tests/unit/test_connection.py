"""A Temporal that cannot be reached: one line that says why and which setting it is, never the address."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from turnkeeper.connection import connect
from turnkeeper.errors import ServiceUnavailableError

ADDRESS = "TEMPORAL_ADDRESS"


@pytest.fixture(autouse=True)
def _no_temporal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the environment nor a profile of whoever runs the tests."""
    for name in (ADDRESS, "TEMPORAL_NAMESPACE", "TEMPORAL_PROFILE", "TEMPORAL_TLS", "TEMPORAL_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "none.toml"))


async def refused(environ: Mapping[str, str] | None = None, within: float = 5.0) -> str:
    with pytest.raises(ServiceUnavailableError) as unavailable:
        await connect(environ, within=within)
    return str(unavailable.value)


async def test_without_an_address_it_says_which_variable_to_set() -> None:
    said = await refused()
    assert said.startswith("No Temporal server is named. Set TEMPORAL_ADDRESS (host:port)")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1:9", "nothing listens at its address"),
        ("nosuch.invalid:7233", "nobody knows the name of its host"),
        ("not an address", "its address is not of the form host:port"),
        ("localhost:99999", "its address is not of the form host:port"),
    ],
)
async def test_why_it_does_not_answer_is_said_without_the_address(
    address: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ADDRESS, address)
    said = await refused()
    assert f"does not answer: {why}. Check TEMPORAL_ADDRESS" in said
    assert address not in said


async def test_a_server_that_never_says_anything_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv(ADDRESS, f"127.0.0.1:{silent.getsockname()[1]}")
        assert "there was no answer within 0.5 s" in await refused(within=0.5)


async def test_a_stack_that_does_not_answer_is_not_looked_for_in_the_environment() -> None:
    said = await refused({ADDRESS: "127.0.0.1:9"})
    assert "nothing listens at its address. Its address is the one that the stack wrote down" in said


async def test_a_profile_that_does_not_exist_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_PROFILE", "foo")
    assert "'foo' not found. Check the TEMPORAL_* variables" in await refused()
