"""The part of the client that looks at the provider by hand: look again, and take over what somebody else began."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from temporalio.client import Client

from turnkeeper.asking import explaining, refusing_bad_input, silence_as_timeout, unless_cancelled, update_or_keep
from turnkeeper.errors import ServiceUnavailableError
from turnkeeper.findings import Adopt, AdoptResult, Reconcile, ThreadFinding
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import thread_workflow_id
from turnkeeper.thread_messages import ThreadInput
from turnkeeper.with_start import signal_with_start, update_with_start

RECONCILE_TIMEOUT: Final = 60.0
"""Seconds for a thread to look again: its turn may need 20 s to be sure, a worker of its endpoint 30 s to be missed."""

ADOPT_TIMEOUT: Final = 35.0
"""Seconds to read a session, mark it and begin to follow it: the thread's own bound is 25 s."""


class ThreadRecovery:
    """A part of `Turnkeeper`."""

    temporal: Client
    task_queue: str

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

    async def adopt(
        self,
        session_id: str,
        *,
        endpoint: str,
        thread_id: str | None = None,
        directory: str | None = None,
        limits: TurnLimits | None = None,
    ) -> AdoptResult:
        """Make a session that somebody began in the provider's own UI or CLI a thread, named like it by default.

        A run that is live becomes a turn that is followed to its outcome; nothing is sent. The same session twice is
        the same thread. When no worker answers, the adoption is kept and `ServiceUnavailableError` says so.

        Raises:
            RefusedError: no such session, a child session, one that belongs to another thread or directory, or a
                thread that has had prompts.

        """
        with refusing_bad_input():
            command = Adopt(session_id=session_id, directory=directory, limits=limits)
            thread = ThreadInput(
                thread_id=thread_id or session_id,
                endpoint=endpoint,
                directory=directory or "",
                admits_beside=True,
                counts_bytes=True,
            )
        with explaining(f"thread {thread.thread_id!r}"):
            result = await update_or_keep(
                lambda: update_with_start(self.temporal, self.task_queue, thread, "adopt", command, AdoptResult),
                lambda: signal_with_start(self.temporal, self.task_queue, thread, "request_adopt", command),
                ADOPT_TIMEOUT,
            )
        if result is not None:
            return result
        raise ServiceUnavailableError(
            "No worker answered the adoption; it is kept and done when one is up.", code="adoption_kept"
        )
