"""When a lost turn is gone on with by itself, and with which words. Pure, like `threads`.

A lost run's side effects did happen: its prompt is never sent again. What may be sent, if the caller asked for it, is
a prompt that says so, in the same session, a bounded number of times in a row.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from turnkeeper import threads
from turnkeeper.limits import MAX_REMEMBERED_KEYS
from turnkeeper.messages import Outcome
from turnkeeper.outcomes import PROMPT_REMOVED
from turnkeeper.thread_messages import QueuedTurn, ThreadState
from turnkeeper.vocabulary import OnLost, Reason

CONTINUE_PROMPT: Final = """\
Your last run was cut off: the server that ran it stopped before you had finished. What you did until then may have \
taken effect, the step that was under way included: files may be written, commands may have run, in whole or in part.

Look first at what is there. Do not repeat what is done. Then finish the task that you were given."""


def continued(
    state: ThreadState, lost: QueuedTurn, outcome: Outcome, now: datetime, *, stop_asked: bool
) -> ThreadState:
    """The thread after `lost` ended so, with its follow-up first in the queue if there is to be one."""
    wanted = lost.start.on_lost is OnLost.CONTINUE and not stop_asked and not state.closed
    if not wanted or not _was_cut_off(outcome):
        return state
    if state.session_id is None or lost.continued >= lost.limits.max_continues:
        return state
    key = f"continue:{lost.turn_id}"
    start = lost.start.model_copy(update={"prompt": CONTINUE_PROMPT, "idempotency_key": key})
    turn_id = f"t{state.turns_accepted + 1}"
    follow_up = QueuedTurn(
        turn_id=turn_id,
        start=start,
        limits=lost.limits,
        accepted_at=now,
        continues=lost.turn_id,
        continued=lost.continued + 1,
    )
    return threads.check(
        state.model_copy(
            update={
                "turns_accepted": state.turns_accepted + 1,
                "queue": (follow_up, *state.queue),
                "idempotency": (*state.idempotency, (key, turn_id))[-MAX_REMEMBERED_KEYS:],
            }
        )
    )


def _was_cut_off(outcome: Outcome) -> bool:
    """Did the run die, rather than somebody take its prompt back?"""
    taken_back = outcome.failure is not None and outcome.failure.code == PROMPT_REMOVED
    return outcome.reason is Reason.PROVIDER_LOST_TURN and not taken_back
