"""The part of the client that looks again: is everything as Turnkeeper thinks?"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from temporalio.client import Client

from turnkeeper.asking import explaining, silence_as_timeout, unless_cancelled
from turnkeeper.findings import Reconcile, ThreadFinding
from turnkeeper.messages import thread_workflow_id

RECONCILE_TIMEOUT: Final = 60.0
"""Seconds for a thread to look again: its turn may need 20 s to be sure, a worker of its endpoint 30 s to be missed."""


class ThreadRecovery:
    """A part of `Turnkeeper`."""

    temporal: Client

    async def reconcile(self, thread_id: str) -> ThreadFinding:
        """Look now, at the thread's running turn, else at its session, and say what was found and what changed."""
        handle = self.temporal.get_workflow_handle(thread_workflow_id(thread_id))
        with explaining(f"thread {thread_id!r}"):
            try:
                with silence_as_timeout():
                    async with asyncio.timeout(RECONCILE_TIMEOUT):
                        found: Any = await handle.execute_update("reconcile", Reconcile(), result_type=ThreadFinding)
            except TimeoutError:
                unless_cancelled()
                raise
        finding: ThreadFinding = found
        return finding
