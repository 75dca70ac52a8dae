"""`turnkeeper reconcile`: look again at one thread or at all that are open, and say what was found and what changed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

from turnkeeper.cli.endings import Exit
from turnkeeper.cli.figures import one_line
from turnkeeper.cli.json_lines import Entry, error_entry, write_entry
from turnkeeper.cli.keeper import Keeper
from turnkeeper.cli.service import Connector
from turnkeeper.cli.table import columns
from turnkeeper.errors import RefusedError, TurnkeeperError
from turnkeeper.findings import ThreadFinding

LOOKED_AT_ONCE: Final = 8
"""Threads that look at the same time: each is a few provider calls, and one that hangs holds no other one up."""

DETAIL_SHOWN: Final = 120
"""Characters of what was found: the whole of it is in `--json`."""

Looked = ThreadFinding | TurnkeeperError


async def reconcile(
    connector: Connector, state_dir: Path, thread_id: str | None, *, every: bool, as_json: bool
) -> Exit:
    """Look again, and print a line for each thread.

    Raises:
        RefusedError: neither a thread nor all, or both; or there is no such thread.

    """
    if every == (thread_id is not None):
        raise RefusedError("Name one thread, or say --all.", code="invalid_input")
    keeper = (await connector(state_dir)).keeper
    if thread_id is not None:
        found: list[tuple[str, Looked]] = [(thread_id, await keeper.reconcile(thread_id))]
    else:
        found = await _all(keeper)
    _print(found, as_json=as_json)
    checked = all(isinstance(looked, ThreadFinding) and looked.checked for _, looked in found)
    return Exit.OK if checked else Exit.ENDED_OTHERWISE


async def _all(keeper: Keeper) -> list[tuple[str, Looked]]:
    names = [summary.thread_id async for summary in keeper.threads(None, only_open=True)]
    at_once = asyncio.Semaphore(LOOKED_AT_ONCE)

    async def look(name: str) -> tuple[str, Looked]:
        async with at_once:
            try:
                return name, await keeper.reconcile(name)
            except TurnkeeperError as error:
                return name, error

    return list(await asyncio.gather(*(look(name) for name in names)))


def _print(found: list[tuple[str, Looked]], *, as_json: bool) -> None:
    if as_json:
        for name, looked in found:
            write_entry(sys.stdout, _entry(name, looked))
    elif not found:
        sys.stdout.write("No thread is open.\n")
    else:
        rows = [_row(name, looked) for name, looked in found]
        sys.stdout.writelines(columns(("THREAD", "FOUND", "TURN", "CHANGED", "DETAIL"), rows))


def _entry(name: str, looked: Looked) -> Entry:
    if isinstance(looked, TurnkeeperError):
        return {**error_entry(looked), "event": "reconciled", "thread": name, "checked": False}
    whole = looked.model_dump(mode="json", exclude={"thread_id"})
    return {"event": "reconciled", "thread": name, "checked": looked.checked, "changed": looked.changed, **whole}


def _row(name: str, looked: Looked) -> tuple[str, ...]:
    if isinstance(looked, TurnkeeperError):
        return name, "not asked", "", "", one_line(str(looked), DETAIL_SHOWN)
    standing = f" ({looked.standing})" if looked.standing is not None else ""
    turn = f"{looked.turn_id} {looked.turn_state or ''}".strip() if looked.turn_id else ""
    return name, f"{looked.finding}{standing}", turn, _changed(looked), one_line(looked.detail, DETAIL_SHOWN)


def _changed(looked: ThreadFinding) -> str:
    parts = [f"{looked.before} -> {looked.status}"] if looked.status is not looked.before else []
    if looked.reason is not None:
        parts.append(f"turn ended: {looked.reason}")
    return ", ".join(parts) or "nothing"
