"""What `doctor` makes of Temporal's answers, and what signals mean to the other commands."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from temporalio.api.enums.v1 import IndexedValueType, PendingActivityState
from temporalio.api.operatorservice.v1 import ListSearchAttributesResponse
from temporalio.api.taskqueue.v1 import PollerInfo
from temporalio.api.workflowservice.v1 import DescribeTaskQueueResponse
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from tests.unit.cli_stand_ins import ScriptedKeeper
from turnkeeper.cli import app
from turnkeeper.cli import doctor as doctors
from turnkeeper.cli.endings import Exit
from turnkeeper.cli.presses import Press, asked_to_end, ctrl_c
from turnkeeper.cli.service import Connector, Service
from turnkeeper.messages import EndpointSnapshot
from turnkeeper.search_attributes import ALL

KEYWORD = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
TEXT = IndexedValueType.INDEXED_VALUE_TYPE_TEXT
ALL_THERE = dict.fromkeys((key.name for key in ALL), KEYWORD)
WITHIN = 5.0  # seconds for a signal to arrive
DENIED = RPCError("no", RPCStatusCode.PERMISSION_DENIED, b"")

Answer = Callable[..., object]


class Frozen(ScriptedKeeper):
    """Its worker polled a moment ago and takes nothing any more: dead, or stopped."""

    async def endpoint(self, name: str) -> EndpointSnapshot:
        await asyncio.Event().wait()
        raise AssertionError(name)


def temporal(
    *,
    attributes: dict[str, IndexedValueType.ValueType] | RPCError = ALL_THERE,
    poller_age: timedelta | None = timedelta(0),
    endpoints: tuple[str, ...] = ("local",),
    keeper: ScriptedKeeper | None = None,
    relay: PendingActivityState.ValueType = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED,
) -> Connector:
    """Temporal as its answers."""

    async def listed(_: object) -> ListSearchAttributesResponse:
        if isinstance(attributes, RPCError):
            raise attributes
        return ListSearchAttributesResponse(custom_attributes=attributes)

    async def described(_: object) -> DescribeTaskQueueResponse:
        poller = PollerInfo()
        if poller_age is not None:
            poller.last_access_time.FromDatetime(datetime.now(UTC) - poller_age)
        return DescribeTaskQueueResponse(pollers=[] if poller_age is None else [poller])

    async def workflows(_: str) -> AsyncIterator[SimpleNamespace]:
        for name in endpoints:
            yield SimpleNamespace(id=f"endpoint:{name}")

    async def describe() -> SimpleNamespace:
        return SimpleNamespace(raw_description=SimpleNamespace(pending_activities=[SimpleNamespace(state=relay)]))

    client = SimpleNamespace(
        get_workflow_handle=lambda _: SimpleNamespace(describe=describe),
        namespace="default",
        operator_service=SimpleNamespace(list_search_attributes=listed),
        workflow_service=SimpleNamespace(describe_task_queue=described),
        list_workflows=workflows,
    )

    async def connect(_: Path) -> Service:
        return Service(keeper or ScriptedKeeper(), cast("Client", client), "a stand-in")

    return connect


def test_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.execute(["doctor"], temporal()) == Exit.OK
    lines = capsys.readouterr().out.splitlines()
    assert [line[:3] for line in lines] == ["ok "] * 5
    assert "reached a stand-in, namespace 'default'" in lines[0]


@pytest.mark.parametrize(
    ("connector", "words"),
    [
        (temporal(attributes={}), "missing: TurnkeeperThread, TurnkeeperState"),
        (temporal(attributes=ALL_THERE | {"TurnkeeperState": TEXT}), "not of type Keyword: TurnkeeperState"),
        (temporal(attributes=DENIED), "cannot be read: Temporal answered PERMISSION_DENIED"),
        (temporal(poller_age=None), "none on task queue 'turnkeeper'; start `python worker.py`"),
        (temporal(poller_age=timedelta(minutes=3)), "the last was seen 3 min 00 s ago"),
        (temporal(endpoints=()), "none is served; start a worker"),
        (
            temporal(relay=PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED),
            "endpoint local: no worker runs its relay right now",
        ),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(
    connector: Connector, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.execute(["doctor"], connector) == Exit.ENDED_OTHERWISE
    bad = [line for line in capsys.readouterr().out.splitlines() if line.startswith("BAD")]
    assert any(words in line for line in bad)


def test_a_worker_that_was_seen_a_moment_ago_and_does_not_answer_is_not_ok(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctors, "ANSWER", 0.01)
    assert app.execute(["doctor"], temporal(keeper=Frozen())) == Exit.ENDED_OTHERWISE
    _, _, workflows, activities, endpoint = capsys.readouterr().out.splitlines()
    for line in (workflows, activities):
        assert line.startswith("BAD  worker for")
        assert "last seen 0.0 s ago, and none answers: it died just now, or hangs" in line
    assert endpoint == "BAD  endpoint local: not known: no worker answered within 0.01 s"


async def test_a_worker_of_the_embedded_stack_is_not_to_be_started_by_hand(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = temporal(poller_age=None)

    async def embedded(state: Path) -> Service:
        return replace(await plain(state), embedded=True)

    await doctors.doctor(embedded, Path("/x"), as_json=False)
    said = capsys.readouterr().out
    assert "`turnkeeper dev` starts it again; see its terminal" in said
    assert "worker.py" not in said


def test_programs_read_one_check_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    app.execute(["doctor", "--json"], temporal(endpoints=()))
    checks = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert checks[0] == {
        "event": "check", "check": "temporal", "ok": True, "text": "reached a stand-in, namespace 'default'",
    }  # fmt: skip
    assert checks[-1]["ok"] is False


@pytest.mark.parametrize(
    ("number", "press"),
    [(signal.SIGINT, Press.CTRL_C), (signal.SIGTERM, Press.LEAVE), (signal.SIGHUP, Press.LEAVE)],
)
async def test_signals_are_presses(number: signal.Signals, press: Press) -> None:
    with ctrl_c() as queue:
        signal.raise_signal(number)
        async with asyncio.timeout(WITHIN):
            assert await queue.get() is press
        assert queue.empty()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_signals_ask_a_stack_to_end(number: signal.Signals) -> None:
    with asked_to_end() as asked:
        signal.raise_signal(number)
        async with asyncio.timeout(WITHIN):
            await asked.once.wait()
        assert not asked.again.is_set()
        signal.raise_signal(number)
        async with asyncio.timeout(WITHIN):
            await asked.again.wait()
