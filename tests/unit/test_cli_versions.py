"""What `versions` and `doctor` say of the builds of the worker."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from temporalio.api.deployment.v1 import WorkerDeploymentOptions, WorkerDeploymentVersion
from temporalio.api.enums.v1 import WorkerVersioningMode
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueueVersioningInfo
from temporalio.api.workflowservice.v1 import DescribeTaskQueueResponse, SetWorkerDeploymentCurrentVersionRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from tests.unit.cli_stand_ins import ScriptedKeeper
from turnkeeper.builds import FRESH, Builds
from turnkeeper.cli import app
from turnkeeper.cli.endings import Exit
from turnkeeper.cli.service import Connector, Service

NOT_READY = RPCError("no pollers of a task queue", RPCStatusCode.FAILED_PRECONDITION, b"")


def poller(build: str | None, age: timedelta = timedelta(0)) -> PollerInfo:
    modes = WorkerVersioningMode
    mode = modes.WORKER_VERSIONING_MODE_VERSIONED if build else modes.WORKER_VERSIONING_MODE_UNVERSIONED
    info = PollerInfo(
        deployment_options=WorkerDeploymentOptions(
            deployment_name="keeper", build_id=build or "", worker_versioning_mode=mode
        )
    )
    info.last_access_time.FromDatetime(datetime.now(UTC) - age)
    return info


def temporal(
    *pollers: PollerInfo,
    current: str | None = None,
    turns: int = 0,
    promotes: list[str] | None = None,
    refuses: RPCError | None = None,
) -> Connector:
    async def described(_: object) -> DescribeTaskQueueResponse:
        version = WorkerDeploymentVersion(deployment_name="keeper" if current else "", build_id=current or "")
        info = TaskQueueVersioningInfo(current_deployment_version=version)
        return DescribeTaskQueueResponse(pollers=pollers, versioning_info=info)

    async def made_current(request: SetWorkerDeploymentCurrentVersionRequest) -> None:
        if refuses is not None:
            raise refuses
        assert promotes is not None, "nothing was to be promoted"
        promotes.append(f"{request.deployment_name}/{request.build_id}")

    async def counted(_: str) -> SimpleNamespace:
        return SimpleNamespace(count=turns)

    client = SimpleNamespace(
        namespace="default",
        identity="me",
        count_workflows=counted,
        workflow_service=SimpleNamespace(
            describe_task_queue=described, set_worker_deployment_current_version=made_current
        ),
    )

    async def connect(_: Path) -> Service:
        return Service(ScriptedKeeper(), cast("Client", client), "a stand-in")

    return connect


def test_the_builds_their_workers_and_their_turns(capsys: pytest.CaptureFixture[str]) -> None:
    connector = temporal(poller("b1"), poller("b2"), poller("b2"), poller(None), current="b2", turns=3)
    assert app.execute(["versions"], connector) == Exit.OK
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:3] == [["b1", "1", "3", "ends", "its", "turns"], ["b2", "2", "3", "current"]]
    assert lines[3][-3:] == ["gets", "nothing", "new"]


def test_workers_of_an_old_build_may_go_when_it_has_no_turns(capsys: pytest.CaptureFixture[str]) -> None:
    app.execute(["versions"], temporal(poller("b1"), poller("b2"), current="b2"))
    assert "its workers may go" in capsys.readouterr().out


def test_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.execute(["versions", "--json"], temporal(poller("b1"), current="b1", turns=2)) == Exit.OK
    line = json.loads(capsys.readouterr().out)
    found = {key: line[key] for key in ("event", "build", "workers", "turns", "current")}
    assert found == {"event": "build", "build": "b1", "workers": 1, "turns": 2, "current": True}


def test_nothing_runs_until_a_build_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.execute(["versions"], temporal(poller("b1"))) == Exit.ENDED_OTHERWISE
    assert "nothing runs" in capsys.readouterr().out
    promoted: list[str] = []
    assert app.execute(["versions", "--promote", "b1"], temporal(poller("b1"), promotes=promoted)) == Exit.OK
    assert promoted == ["keeper/b1"]
    assert "current" in capsys.readouterr().out


def test_what_temporal_would_not_make_current(capsys: pytest.CaptureFixture[str]) -> None:
    connector = temporal(poller("b1"), current="b1", refuses=NOT_READY)
    assert app.execute(["versions", "--promote", "b2"], connector) == Exit.NOT_FOLLOWED
    said = capsys.readouterr().err
    assert "b2" in said
    assert "Start its workers first" in said


def test_without_versioned_workers_there_is_nothing_to_promote(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.execute(["versions", "--promote", "b1"], temporal(poller(None))) == Exit.NOT_FOLLOWED
    assert "No versioned worker" in capsys.readouterr().err
    assert app.execute(["versions"], temporal()) == Exit.OK
    assert capsys.readouterr().out == "No worker is up.\n"


def test_a_worker_that_is_gone_does_not_count(capsys: pytest.CaptureFixture[str]) -> None:
    gone = poller("b2", age=FRESH + timedelta(seconds=5))
    assert app.execute(["versions"], temporal(poller("b1"), gone, current="b2")) == Exit.ENDED_OTHERWISE
    assert "build b2 is current and has no worker (up: b1)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("builds", "words"),
    [
        (Builds(), None),
        (Builds(unversioned=1), None),
        (Builds(polling=(("b1", 1),), unversioned=1), None),
        (Builds(current="b1", polling=(("b1", 1),)), None),
        (Builds(polling=(("b1", 1),)), "versions --promote b1"),
        (Builds(current="b2", polling=(("b1", 1),)), "b2 is current and has no worker"),
        (Builds(current="b2", unversioned=1), "without a version"),
    ],
)
def test_what_is_wrong_with_the_builds(builds: Builds, words: str | None) -> None:
    assert (builds.trouble is None) if words is None else (words in (builds.trouble or ""))
