"""What is seen of the site from outside, every ten seconds: processes, OpenCode's sessions, Temporal's workflows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from temporalio.client import Client
from temporalio.service import RPCError

from tests.chaos.bare import PROBE_TITLE
from tests.chaos.site import ENDPOINT, Site
from tests.chaos.witness import DATABASE
from tests.soak.load import Load
from tests.soak.probe import WINDOW, open_files, resident_mb
from turnkeeper.messages import endpoint_workflow_id, thread_workflow_id

LATE: Final = 60.0
"""Seconds for the last threads to end after the load, and for Temporal's lists to say so."""

OURS: Final = "select id, metadata from session where parent_id is null and title <> ?"

COUNTED: Final = ("Thread", "Turn", "Endpoint")


@dataclass(frozen=True)
class View:
    """One look. What could not be asked, because a fault lasted, is None. Histories in events."""

    at: float
    opencode_pid: int | None
    opencode_rss_mb: float | None
    opencode_fds: int | None
    temporal_rss_mb: float | None
    threads_open: int
    threads_running: int | None
    turns_running: int | None
    endpoints_running: int | None
    longest_thread: int | None
    endpoint_history: int | None


async def watch(site: Site, load: Load, views: list[View], kept: Path) -> None:
    """A view in each window, until cancelled; also written to `kept`, a JSON line each."""
    while True:
        views.append(await look(site, load))
        with kept.open("a") as file:
            file.write(json.dumps(views[-1].__dict__) + "\n")
        await asyncio.sleep(WINDOW)


async def look(site: Site, load: Load) -> View:
    client = site.keeper.temporal
    threads, turns, endpoints = None, None, None
    longest_thread, endpoint_history = None, None
    with contextlib.suppress(RPCError, TimeoutError):
        async with asyncio.timeout(WINDOW / 2):
            threads, turns, endpoints = [await running(client, kind) for kind in COUNTED]
            longest_thread, endpoint_history = await _histories(client, load)
    opencode = site.opencode.process.pid if site.opencode.process.running else None
    temporal = site.temporal.process.pid if site.temporal.process.running else None
    rss, fds, temporal_rss = None, None, None
    with contextlib.suppress(OSError):
        rss, fds = (resident_mb(opencode), open_files(opencode)) if opencode else (None, None)
        temporal_rss = resident_mb(temporal) if temporal else None
    return View(
        at=time.monotonic(),
        opencode_pid=opencode,
        opencode_rss_mb=rss,
        opencode_fds=fds,
        temporal_rss_mb=temporal_rss,
        threads_open=load.open,
        threads_running=threads,
        turns_running=turns,
        endpoints_running=endpoints,
        longest_thread=longest_thread,
        endpoint_history=endpoint_history,
    )


async def running(client: Client, kind: str) -> int:
    """Workflows of that type, as Temporal lists them."""
    found = await client.count_workflows(f"WorkflowType = '{kind}' AND ExecutionStatus = 'Running'")
    return found.count


async def _histories(client: Client, load: Load) -> tuple[int | None, int | None]:
    lengths = []
    for thread in sorted(load.threads - load.closed):
        with contextlib.suppress(RPCError):  # not begun, or ended just now
            lengths.append((await client.get_workflow_handle(thread_workflow_id(thread)).describe()).history_length)
    endpoint = await client.get_workflow_handle(endpoint_workflow_id(ENDPOINT)).describe()
    return max(lengths, default=None), endpoint.history_length


def left_over(state: Path, threads: set[str]) -> list[str]:
    """Sessions in OpenCode that no thread owns, or one thread too many times. A child session is its parent's."""
    with closing(sqlite3.connect(f"file:{state / DATABASE}?mode=ro", uri=True, timeout=10)) as database:
        rows = database.execute(OURS, (PROBE_TITLE,)).fetchall()
    owners = {session: (json.loads(text or "{}").get("turnkeeper") or {}).get("thread") for session, text in rows}
    strays = [f"session {session} belongs to no thread" for session, owner in owners.items() if owner not in threads]
    times = Counter(owner for owner in owners.values() if owner in threads)
    return strays + [f"thread {owner} has {count} sessions" for owner, count in times.items() if count > 1]
