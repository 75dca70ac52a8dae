"""`turnkeeper adopt`: make a session that was begun in OpenCode's own UI or CLI a thread."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from turnkeeper.cli.endings import Exit
from turnkeeper.cli.json_lines import write_entry
from turnkeeper.cli.service import Connector
from turnkeeper.findings import AdoptResult


@dataclass(frozen=True, slots=True)
class Claim:
    """What the person typed."""

    session: str
    thread: str | None = None
    endpoint: str | None = None
    directory: Path | None = None


async def adopt(connector: Connector, state_dir: Path, claim: Claim, *, as_json: bool) -> Exit:
    """Take the session over and say what it does.

    Raises:
        TurnkeeperError: it was not taken over.

    """
    service = await connector(state_dir)
    directory = claim.directory.expanduser().absolute() if claim.directory is not None else None
    result = await service.keeper.adopt(
        claim.session,
        endpoint=claim.endpoint or await service.default_endpoint(),
        thread_id=claim.thread,
        directory=str(directory) if directory is not None else None,
    )
    if as_json:
        write_entry(sys.stdout, {"event": "adopted", **result.model_dump(mode="json")})
    else:
        sys.stdout.writelines(f"{line}\n" for line in _lines(result))
    return Exit.OK


def _lines(result: AdoptResult) -> tuple[str, ...]:
    again = " (it was already)" if result.repeated else ""
    first = f"session {result.session_id} in {result.directory} is thread {result.thread_id}{again}"
    if result.turn_id is not None and result.status in {"starting", "running"}:
        follow = f"follow it with: turnkeeper follow {result.thread_id}"
        return first, f"its run is turn {result.turn_id}; nothing was sent; {follow}"
    return first, f'nothing runs in it; go on with: turnkeeper run --thread {result.thread_id} "your prompt"'
