"""A Temporal worker that ends in time, whatever Temporal does meanwhile."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any, Final

from temporalio.worker import Worker

SHUTDOWN_SLACK: Final = 5.0
"""Seconds beyond the grace of its calls until a worker that was told to end has ended.

It ends in 0.1 s while Temporal answers. But the SDK waits for Temporal: 30 s for one that is frozen (measured), and up
to 70 s for a poll that the server missed, as it began while its worker said goodbye (temporalio/temporal, pull request
11841 of August 2026). Whoever sent the signal would kill the worker before."""

log = logging.getLogger("turnkeeper.worker")


class PunctualWorker(Worker):
    """Leaving `async with` takes at most the grace and `SHUTDOWN_SLACK`."""

    def __init__(self, *args: Any, graceful_shutdown_timeout: timedelta = timedelta(), **options: Any) -> None:  # noqa: ANN401 - as the SDK takes them
        """As the SDK's, which has no bound of its own."""
        self._shutdown_within = graceful_shutdown_timeout.total_seconds() + SHUTDOWN_SLACK
        super().__init__(
            *args,
            graceful_shutdown_timeout=graceful_shutdown_timeout,
            # We have no plugins. What is not over by then is cancelled.
            plugin_shutdown_timeout=timedelta(seconds=1),
            **options,
        )

    async def shutdown(self) -> None:
        """Stop taking work, let what is under way end within its grace, and do not wait for Temporal beyond that."""
        try:
            async with asyncio.timeout(self._shutdown_within):
                await super().shutdown()
        except TimeoutError:
            log.warning(
                "task queue %s: Temporal did not let go of the worker within %g s; it ends now",
                self.task_queue,
                self._shutdown_within,
            )
