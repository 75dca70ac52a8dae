"""`turnkeeper versions`: which builds of the worker are up, and which one gets what begins now."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from temporalio.client import Client
from temporalio.service import RPCError

from turnkeeper.builds import Builds, count_turns, promote, read_builds
from turnkeeper.cli.endings import Exit
from turnkeeper.cli.json_lines import write_entry
from turnkeeper.cli.service import Connector
from turnkeeper.cli.table import columns
from turnkeeper.errors import RefusedError, ServiceUnavailableError


async def versions(connector: Connector, state_dir: Path, build: str | None, *, as_json: bool) -> Exit:
    """List the builds; with `build`, make that one current first. 0 when what begins now finds a worker, else 1.

    Raises:
        RefusedError: no versioned worker is up, or Temporal would not make the build current.
        ServiceUnavailableError: Temporal does not answer.

    """
    client = (await connector(state_dir)).temporal
    try:
        builds = await read_builds(client)
        if build is not None:
            if builds.deployment is None:
                raise RefusedError("No versioned worker is up.", next_step="Start one: see docs/versions.md.")
            await promote(client, builds.deployment, build)
            # What the queue says of it follows some moments later.
            builds = builds.promoted(build)
        turns = await _turns(client, builds)
    except RPCError as error:
        raise ServiceUnavailableError(f"Temporal answered {error.status.name}.") from error
    _print(builds, turns, as_json=as_json)
    return Exit.ENDED_OTHERWISE if builds.trouble else Exit.OK


async def _turns(client: Client, builds: Builds) -> dict[str, int]:
    if builds.deployment is None:
        return {}
    named = builds.named
    counts = await asyncio.gather(*(count_turns(client, builds.deployment, name) for name in named))
    return dict(zip(named, counts, strict=True))


def _print(builds: Builds, turns: dict[str, int], *, as_json: bool) -> None:
    up = dict(builds.polling)
    for name in builds.named if as_json else ():
        workers, current = up.get(name, 0), name == builds.current
        entry = {"event": "build", "build": name, "workers": workers, "turns": turns[name], "current": current}
        write_entry(sys.stdout, entry)
    if as_json:
        return
    rows = [(name, str(up.get(name, 0)), str(turns[name]), _standing(builds, name, turns[name])) for name in turns]
    if builds.unversioned:
        left_behind = "gets nothing new" if builds.current else "serves until a build is current"
        rows.append(("(without a version)", str(builds.unversioned), "", left_behind))
    sys.stdout.writelines(columns(("BUILD", "WORKERS", "TURNS", ""), rows) if rows else ["No worker is up.\n"])
    if builds.trouble:
        sys.stdout.write(f"{builds.trouble}\n")


def _standing(builds: Builds, name: str, turns: int) -> str:
    if name == builds.current:
        return "current"
    if builds.current is None:
        return "waits to be made current"
    return "ends its turns" if turns else "has none left: its workers may go"
