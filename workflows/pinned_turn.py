"""`Turn` on a versioned worker: it ends on the build that it began with.

A class of its own, because Temporal refuses every step of a workflow that names a versioning behaviour and runs on a
worker without a version (measured, server 1.32): declared on `Turn` itself it would stop all unversioned workers.
"""

from __future__ import annotations

from temporalio import workflow
from temporalio.common import VersioningBehavior

with workflow.unsafe.imports_passed_through():
    from turnkeeper.messages import TurnInput, TurnResult
    from turnkeeper.turn import IllegalTransitionError
    from workflows.turn import TurnWorkflow


@workflow.defn(
    name="Turn",
    failure_exception_types=[IllegalTransitionError],
    versioning_behavior=VersioningBehavior.PINNED,
)
class PinnedTurnWorkflow(TurnWorkflow):
    """The same in everything else."""

    @workflow.init
    def __init__(self, turn: TurnInput) -> None:
        """As `TurnWorkflow`; the SDK wants it said again."""
        super().__init__(turn)

    @workflow.run
    async def run(self, turn: TurnInput) -> TurnResult:
        """As above."""
        return await super().run(turn)
