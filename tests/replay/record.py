"""Record the histories that `test_replay` replays: `python -m tests.replay.record`, from the root of the checkout.

It plays the scenes, or those whose names follow, on a server of its own, a few seconds each, and writes what must be
kept and nothing of the machine: no identities, no stack traces. What is recorded already is left as it is: it stands
for runs of then, which may still be under way (docs/changing-workflows.md).
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pydantic import JsonValue
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from tests.replay.scenes import SCENES
from tests.replay.takes import Scene, Take
from tests.workflow.stage import Stage
from turnkeeper.dev.temporal_server import TemporalServer
from turnkeeper.messages import WORKFLOW_TASK_QUEUE
from turnkeeper.search_attributes import ALL

HISTORIES: Final = Path(__file__).resolve().parents[1] / "fixtures" / "histories"

IDENTITY: Final = "recorder"
"""In place of process and host names, which no replay reads."""

MACHINE: Final = frozenset({"stackTrace", "workerInstanceKey", "binaryChecksum"})
"""Fields that describe a machine and that no replay reads."""


def scrubbed(value: JsonValue) -> JsonValue:
    """`value` without what only says where it was recorded."""
    match value:
        case dict():
            return {
                key: IDENTITY if key == "identity" else scrubbed(inner)
                for key, inner in value.items()
                if key not in MACHINE
            }
        case list():
            return [scrubbed(inner) for inner in value]
        case _:
            return value


async def keep(client: Client, take: Take, folder: Path) -> None:
    """Write one run's history, unless it was recorded before."""
    path = folder / f"{take.name}.json"
    if path.exists():
        return
    history = await client.get_workflow_handle(take.workflow_id, run_id=take.run_id).fetch_history()
    text = json.dumps(scrubbed(json.loads(history.to_json())), indent=1)
    if socket.gethostname() in text:
        raise ValueError(f"{take.name} names this machine; scrub the field that does")
    path.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(f"{take.name}\n")


async def record(folder: Path, scenes: Iterable[Scene]) -> None:
    """Play the scenes and keep their takes."""
    with tempfile.TemporaryDirectory() as scratch:
        server = TemporalServer(
            log=Path(scratch) / "temporal.log", search_attributes=[key.name for key in ALL], ui=False
        )
        async with server:
            client = await Client.connect(server.address, data_converter=pydantic_data_converter, identity=IDENTITY)
            for scene in scenes:
                stage = Stage(client, WORKFLOW_TASK_QUEUE)
                async with stage.worker_up():
                    takes = await scene(stage)
                for take in takes:
                    await keep(client, take, folder)


if __name__ == "__main__":
    named = sys.argv[1:]
    known = {scene.__name__: scene for scene in SCENES}
    asyncio.run(record(HISTORIES, [known[name] for name in named or known]))
