"""The three ways to show a turn, as one protocol: live on a terminal, plain lines in a pipe, JSON for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from turnkeeper.errors import TurnkeeperError
from turnkeeper.messages import TurnRecord, TurnResult, TurnSnapshot


@dataclass(frozen=True, slots=True)
class Subject:
    """The turn that is followed."""

    thread_id: str
    turn_id: str | None = None
    run_id: str | None = None
    key: str | None = None
    position: int = 0  # turns to run before this one
    repeated: bool = False  # the key was known: this is the earlier turn
    continues: str | None = None  # the lost turn that this one goes on with
    steered: bool = False  # its run is that of the turn which it went into
    kept: bool = False  # no worker was up: the prompt is durable and runs once one is
    shared: bool = False  # kept for a thread that may hold prompts of others
    prompt_digest: str = ""  # of a kept prompt: its key may be another prompt's
    link: str | None = None

    @property
    def waits(self) -> bool:
        """As far as is known, it has not begun."""
        return self.run_id is None


class View(Protocol):
    """Told what happens, in order. `at` is seconds since the command or the turn began."""

    def begun(self, subject: Subject) -> None:
        """The turn is known to Turnkeeper."""

    def queued(self, at: float, ahead: int) -> None:
        """It waits for `ahead` other turns of its thread."""

    def seen(self, at: float, before: TurnSnapshot | None, after: TurnSnapshot) -> None:
        """A look at the turn; most looks change nothing."""

    def notice(self, at: float, text: str) -> None:
        """Something about the following itself: a stop was asked, no worker answers."""

    def settled(self, subject: Subject, result: TurnResult) -> None:
        """The turn is over. The last call but `close`."""

    def never_begun(self, subject: Subject, turn: TurnRecord, why: str) -> None:
        """The turn is over and nothing of it ran. Like `settled`, the last call but `close`."""

    def failed(self, error: TurnkeeperError) -> None:
        """The turn's workflow did not end by itself: there is no outcome. The last call but `close`."""

    def detached(self, text: str) -> None:
        """The following ends, the turn goes on."""

    def close(self) -> None:
        """Give the terminal back. Called in every case, perhaps twice."""
