"""What `dev` and `demo` tell people, the worker and other terminals; and where the state is. Without starting any."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from temporalio.client import Client

from tests.unit.cli_stand_ins import T0, ScriptedKeeper, service_of
from turnkeeper.cli import app
from turnkeeper.cli.dev import StackOrder, addresses, choose_model, name_running_turns
from turnkeeper.cli.doctor import judge
from turnkeeper.cli.service import EMBEDDED_ENDPOINT, Service, default_state_dir, find_service
from turnkeeper.cli.worker_process import READY, forget_other_services, worker_environment, worker_hook
from turnkeeper.dev.opencode_setup import UserSetup
from turnkeeper.dev.stack_state import Ports, StackLock, StackState
from turnkeeper.errors import RefusedError, ServiceUnavailableError
from turnkeeper.messages import EndpointSnapshot
from turnkeeper.observations import Failure, RelayStatus
from turnkeeper.place_messages import PlacesShown
from turnkeeper.settings import load_settings
from turnkeeper.vocabulary import Fault

SECRET = "s3cret-of-this-stack"  # noqa: S105 - made up, to be looked for in what is printed


def state(tmp_path: Path) -> StackState:
    return StackState(
        pid=1,
        started_at=0.0,
        model_source="scripted",
        temporal_address="127.0.0.1:7233",
        temporal_ui="http://127.0.0.1:8233",
        namespace="default",
        opencode_url="http://127.0.0.1:4096",
        opencode_username="opencode",
        opencode_password=SECRET,
        opencode_version="1.18.33",
        opencode_boot_id=None,
        model_url=None,
        pids={},
        logs=tmp_path / "logs",
    )


def test_the_addresses_hold_no_password(tmp_path: Path) -> None:
    order = StackOrder(tmp_path, (tmp_path,), Ports())
    said = "\n".join(addresses(state(tmp_path), order, choose_model(None, UserSetup(()))))
    for words in ("http://127.0.0.1:8233", "127.0.0.1:7233, namespace default", "http://127.0.0.1:4096", str(tmp_path)):
        assert words in said
    assert SECRET not in said


@pytest.mark.parametrize(
    ("asked", "found", "source", "words"),
    [
        (None, (), "scripted", "no OpenCode login, configuration or API key was found"),
        (None, ("login for anthropic",), "user", "your own OpenCode setup (login for anthropic)"),
        ("scripted", ("login for anthropic",), "scripted", "you asked for it"),
        ("user", (), "user", "none was found, so turns may fail"),
    ],
)
def test_who_plays_the_model_is_said_plainly(
    asked: str | None, found: tuple[str, ...], source: str, words: str
) -> None:
    model = choose_model(asked, UserSetup(found))  # type: ignore[arg-type]  # the table's words are the literal's
    assert model.source == source
    assert words in " ".join(model.words)


def test_the_worker_reads_its_environment_as_one_endpoint(tmp_path: Path) -> None:
    other = tmp_path / "other"
    environment = worker_environment(state(tmp_path), [tmp_path, other])
    settings = load_settings(environment)
    endpoint = settings.endpoints[EMBEDDED_ENDPOINT]
    assert list(settings.endpoints) == [EMBEDDED_ENDPOINT]
    assert (endpoint.roots, endpoint.secret()) == ((tmp_path, other), SECRET)
    assert environment["TEMPORAL_ADDRESS"] == "127.0.0.1:7233"


def test_the_worker_of_the_stack_hears_of_no_other_service() -> None:
    environ = {"TEMPORAL_TLS": "true", "TURNKEEPER_CONFIG": "x", "TURNKEEPER_ENDPOINT_A_URL": "y", "PATH": "/bin"}
    forget_other_services(environ)
    assert environ == {"PATH": "/bin"}


async def test_the_worker_is_ready_when_this_start_says_so(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "worker.log"
    log.parent.mkdir()
    log.write_bytes(READY + b" of an earlier start\n")
    ready = worker_hook(tmp_path, [tmp_path]).ready
    assert ready is not None
    assert not await ready()
    with log.open("ab") as file:
        file.write(b"12:00 INFO " + READY + b": endpoints local\n")
    assert await ready()


async def test_a_worker_without_a_log_is_not_ready(tmp_path: Path) -> None:
    ready = worker_hook(tmp_path, [tmp_path]).ready
    assert ready is not None
    assert not await ready()


def test_a_workspace_that_would_be_two_is_refused(tmp_path: Path) -> None:
    odd = tmp_path / "a:b"
    odd.mkdir()
    with pytest.raises(RefusedError, match="in its path"):
        worker_hook(tmp_path, [odd])


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"TURNKEEPER_STATE_DIR": "/a/b"}, Path("/a/b")),
        ({"XDG_STATE_HOME": "/x"}, Path("/x/turnkeeper")),
        ({"XDG_STATE_HOME": "relative"}, Path.home() / ".local/state/turnkeeper"),
        ({}, Path.home() / ".local/state/turnkeeper"),
    ],
)
def test_the_state_directory_follows_the_standard(environ: dict[str, str], place: Path) -> None:
    assert default_state_dir(environ) == place


async def test_a_killed_stack_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text(json.dumps(state(tmp_path).model_dump(mode="json")))
    with pytest.raises(ServiceUnavailableError, match="ended without cleaning up"):
        await find_service(tmp_path, {})


async def test_a_place_without_a_stack_is_told_how_to_start_one_there(tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailableError, match=rf"Start one with: turnkeeper dev --state-dir {tmp_path}\."):
        await find_service(tmp_path, {})


async def test_an_address_of_the_ui_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="TURNKEEPER_UI_URL is no address of a web page"):
        await find_service(tmp_path, {"TURNKEEPER_UI_URL": "nonsense"})


def test_a_second_stack_on_a_directory_says_nothing_of_starting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = StackLock(tmp_path).take()
    try:
        code = app.execute(["dev", "--scripted", "--state-dir", str(tmp_path), "--workspace", str(tmp_path)])
    finally:
        lock.release()
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert "A stack already runs on" in said.err
    assert "choose another directory with --state-dir" in said.err


async def test_a_stop_names_the_turns_that_it_cuts_off(capsys: pytest.CaptureFixture[str]) -> None:
    async def running(_: str) -> AsyncIterator[SimpleNamespace]:
        for number in range(22):
            yield SimpleNamespace(id=f"turn:shop-{number}", start_time=T0 + timedelta(minutes=number))

    async def connect(_: Path) -> Service:
        return replace(service_of(ScriptedKeeper()), temporal=cast("Client", SimpleNamespace(list_workflows=running)))

    await name_running_turns(connect, Path("/x"))
    first, oldest, *_, more, becomes, waits = capsys.readouterr().out.splitlines()
    assert first == "22 turns run:"
    assert oldest.startswith("  shop-0, since 03:04:05 UTC (")
    assert more == "  and 2 more"
    assert "At the next start" in becomes
    assert "provider_lost_turn" in becomes
    assert waits == "and prompts that wait begin."


async def test_a_stop_says_nothing_when_nothing_runs_or_nobody_can_tell(capsys: pytest.CaptureFixture[str]) -> None:
    async def none(_: str) -> AsyncIterator[SimpleNamespace]:
        for _ in ():
            yield SimpleNamespace()

    async def idle(_: Path) -> Service:
        return replace(service_of(ScriptedKeeper()), temporal=cast("Client", SimpleNamespace(list_workflows=none)))

    async def away(_: Path) -> Service:
        raise ServiceUnavailableError("The Temporal server does not answer.")

    for connector in (idle, away):
        await name_running_turns(connector, Path("/x"))
    assert not capsys.readouterr().out


def test_links_are_made_for_odd_names() -> None:
    assert service_of(ScriptedKeeper()).link("a.b", "r/1") == (
        "http://ui.test/namespaces/default/workflows/turn%3Aa.b/r%2F1/history"
    )


@pytest.mark.parametrize(
    ("relay", "ok", "words"),
    [
        (RelayStatus(attached=True, at=T0, version="1.18.33"), True, "attached to OpenCode 1.18.33, 1 min 00 s ago"),
        (None, False, "has said nothing for 1 min 00 s"),
        (
            RelayStatus(
                attached=False,
                at=T0,
                attempt=3,
                failure=Failure(code="x", fault=Fault.PROVIDER, message="Refused.", next_step="Start it."),
            ),
            False,
            "lost 1 min 00 s ago, attempt 3; check the provider server. Refused. Start it.",
        ),
    ],
)
def test_doctor_judges_an_endpoint_by_its_relay(relay: RelayStatus | None, words: str, *, ok: bool) -> None:
    found = judge(
        "endpoint local", EndpointSnapshot(endpoint="local", relay=relay, since=T0), T0 + timedelta(minutes=1)
    )
    assert found.ok is ok
    assert words in found.text


def test_doctor_says_how_many_places_are_taken() -> None:
    relay = RelayStatus(attached=True, at=T0, version="1.18.33")
    places = PlacesShown(limit=8, held=8, waiting=12)
    snapshot = EndpointSnapshot(endpoint="local", relay=relay, since=T0, places=places)
    assert "; 8 of 8 places taken, 12 threads wait for one" in judge("endpoint local", snapshot, T0).text
