"""Where a turn stands in its thread: how many run before it, and whether it is over without having begun. Pure."""

from __future__ import annotations

from turnkeeper.cli.views import Subject
from turnkeeper.messages import TurnRecord
from turnkeeper.thread_messages import ThreadSnapshot
from turnkeeper.vocabulary import Reason, TurnState


def find_turn(thread: ThreadSnapshot, subject: Subject) -> tuple[TurnRecord | None, int]:
    """The thread's record of the turn, and how many turns run before it."""

    def is_it(turn: TurnRecord) -> bool:
        return turn.turn_id == subject.turn_id if subject.turn_id else turn.idempotency_key == subject.key

    active = [thread.active] if thread.active else []
    line = [*active, *thread.steering, *thread.queued]
    ahead = next((index for index, turn in enumerate(line) if is_it(turn)), 0)
    return next((turn for turn in [*line, *thread.recent] if is_it(turn)), None), ahead


def may_go_in(thread: ThreadSnapshot, turn: TurnRecord) -> bool:
    """Does it wait to go into the running turn? It is not decided yet, and cannot be taken back meanwhile."""
    return turn.state is TurnState.QUEUED and any(steer.turn_id == turn.turn_id for steer in thread.steering)


def why_never_begun(thread: ThreadSnapshot, turn: TurnRecord) -> str | None:
    """Why nothing of it will ever run; None while it may."""
    if turn.run_id is not None:
        return None
    if turn.reason is Reason.REMOVED:
        return f"{turn.turn_id} was taken out of the queue before it began: nothing was sent."
    if turn.completed_at is not None:
        return f"The turn ended before it began: {turn.error or turn.reason}."
    if thread.closed and thread.active is None:
        return f"The thread was closed before {turn.turn_id} began: nothing was sent."
    return None
