"""What can be asked of a thread beside prompts and stops of a turn: its queue, its session, its end. Pure data."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from turnkeeper.limits import MAX_REASON_CHARACTERS
from turnkeeper.messages import InterruptResult, TurnRecord, Waiting
from turnkeeper.thread_messages import Prompts, QueuedTurn
from turnkeeper.vocabulary import Command, Key, Record

Why = Annotated[str, StringConstraints(max_length=MAX_REASON_CHARACTERS)]


class QueueView(Record):
    """What waits in a thread, and whether it waits for somebody's word."""

    queued: Waiting = ()
    held: bool = Field(default=False, description="a person's stop came first: nothing begins before somebody says so")


class RemoveQueued(Command):
    """Update `remove_queued` of `Thread`, and its signal twin `request_remove_queued`. Safe to repeat."""

    turn_id: Key


class RemovedTurn(QueueView):
    """The turn that was taken out, its whole prompt included."""

    removed: QueuedTurn


class SendNow(Command):
    """Update `send_now` of `Thread`, and its signal twin `request_send_now`: this waiting turn next, and at once.

    Safe to repeat: a turn that has begun is not begun again and stops nothing.
    """

    turn_id: Key
    why: Why = ""


class SentNow(QueueView):
    """What became of it. `stopped`: the turn that had to make way, None if none ran."""

    turn: TurnRecord
    stopped: InterruptResult | None = None


class WaitingPrompts(QueueView):
    """Query `queue` of `Thread`: what waits, with its whole prompts. Also answered by a thread that is closed."""

    prompts: Prompts = ()


class StopSession(Command):
    """Update `stop_session` of `Thread`, and its signal twin `request_stop_session`.

    The turn is stopped, the session `stopped`, and the provider's own session kept: the next prompt resumes it. A stop
    that the provider refuses or does not confirm leaves everything as it was and says so in `last_error`.
    """

    why: Why = ""
    idempotency_key: Key | None = None
    only_if_idle: bool = Field(default=False, description="refused while a turn runs or waits")


class CloseThread(Command):
    """Update `close` of `Thread`, and its signal twin `request_close`: stop, refuse new prompts, end the workflow."""

    why: Why = ""


class ClosedThread(Record):
    """A thread that has ended, and what waited in it: every prompt is handed back."""

    stopped: InterruptResult | None = None
    returned: Prompts = ()


class ResumeQueue(Command):
    """Update `resume_queue` of `Thread`, and its signal twin `request_resume_queue`: what is held goes on."""
