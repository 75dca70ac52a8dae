"""The scripted model as a supervised child, so that its streams do not share a thread with the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import httpx

from turnkeeper.dev.ports import LOOPBACK, choose_port
from turnkeeper.dev.processes import SupervisedProcess

START_DEADLINE: Final = 20.0
"""Seconds until it answers: 0.3 s alone, it only has to import pydantic."""
PROBE_TIMEOUT: Final = 1.0
"""Seconds for one readiness question."""


class ModelProcess:
    """`python -m turnkeeper.dev.model` on a loopback port."""

    def __init__(self, *, log: Path, directory: Path, port: int = 0, script: Path | None = None) -> None:
        self.port = choose_port(port, program="the scripted model", setting="model port")
        command = [sys.executable, "-m", "turnkeeper.dev.model", "--port", str(self.port)]
        command += ["--script", str(script.resolve())] if script else []
        self.process = SupervisedProcess(
            "The scripted model",
            command,
            log=log,
            ready=self._answers,
            start_deadline=START_DEADLINE,
            directory=directory,
        )

    @property
    def base_url(self) -> str:
        """What an OpenAI client is given as its base URL."""
        return f"http://{LOOPBACK}:{self.port}/v1"

    async def start(self) -> None:
        await self.process.start()

    async def stop(self) -> None:
        await self.process.stop()

    async def _answers(self) -> bool:
        try:
            async with httpx.AsyncClient(timeout=PROBE_TIMEOUT, trust_env=False) as client:
                answer = await client.get(f"http://{LOOPBACK}:{self.port}/healthz")
        except httpx.HTTPError:
            return False
        return answer.is_success
