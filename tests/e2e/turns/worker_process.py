"""A worker as its own process, started as an operator would: `python worker.py`, configured by the environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.e2e.turns.deployment import Deployment
from turnkeeper.dev.opencode_server import OpenCodeServer
from turnkeeper.dev.processes import SupervisedProcess
from turnkeeper.settings import WORKER_PREFIX, WORKER_READY

PROGRAM: Final = Path(__file__).parents[3] / "worker.py"
START_DEADLINE: Final = 60.0
"""Seconds until it polls: 1.5 s alone, many times that beside a build."""


def worker_process(  # noqa: PLR0913 - the parts of a process, by keyword
    deployment: Deployment,
    opencode: OpenCodeServer,
    root: Path,
    log: Path,
    *,
    url: str | None = None,
    temporal: str | None = None,
    own_queue: bool = False,
    settings: Mapping[str, str] | None = None,
) -> SupervisedProcess:
    """Not yet started. Serves the deployment's queue and endpoint; `url` and `temporal` may lead it over a proxy.

    `own_queue`: the endpoint has one beside the workflows'. `settings`: of the worker, by their names in the
    environment without the prefix.
    """
    endpoint = f"TURNKEEPER_ENDPOINT_{deployment.endpoint.upper().replace('-', '_')}"
    environment = os.environ | {
        "TEMPORAL_ADDRESS": temporal or deployment.keeper.temporal.service_client.config.target_host,
        "TURNKEEPER_WORKER_TASK_QUEUE": deployment.endpoint,
        "TURNKEEPER_WORKER_GRACEFUL_SHUTDOWN": "5",
        f"{endpoint}_URL": url or opencode.base_url,
        f"{endpoint}_USERNAME": opencode.username,
        f"{endpoint}_PASSWORD": opencode.password,
        f"{endpoint}_ROOTS": str(root),
        f"{endpoint}_TASK_QUEUE": f"{deployment.endpoint}-provider" if own_queue else deployment.endpoint,
        **{f"{WORKER_PREFIX}{name}": value for name, value in (settings or {}).items()},
    }

    said = 0

    async def ready() -> bool:
        """Once more than before: a log goes on over starts."""
        nonlocal said
        before, said = said, _times_ready(log)
        return said > before

    return SupervisedProcess(
        "the worker",
        (sys.executable, str(PROGRAM)),
        log=log,
        ready=ready,
        start_deadline=START_DEADLINE,
        environment=environment,
    )


def _times_ready(log: Path) -> int:
    return log.read_text().count(WORKER_READY) if log.exists() else 0
