"""Plain lines, for pipes and logs: only changes, one line each, times since the beginning."""

from __future__ import annotations

from typing import TextIO

from turnkeeper.cli import lines
from turnkeeper.cli.changes import RequestOpened, StateChanged, UsageChanged, changes
from turnkeeper.cli.endings import complain
from turnkeeper.cli.figures import printable
from turnkeeper.cli.views import Subject
from turnkeeper.errors import TurnkeeperError
from turnkeeper.messages import TurnRecord, TurnResult, TurnSnapshot


class PlainView:
    """Writes to `out` and flushes each line: somebody may be reading along."""

    def __init__(self, out: TextIO) -> None:
        """Write to `out`, which stays open."""
        self._out = out

    def begun(self, subject: Subject) -> None:
        for line in lines.beginning(subject):
            self._say(line)

    def queued(self, at: float, ahead: int) -> None:
        self._say(lines.timed(at, lines.waiting_in_line(ahead)))

    def seen(self, at: float, before: TurnSnapshot | None, after: TurnSnapshot) -> None:
        for change in changes(before, after):
            if after.outcome is not None and isinstance(change, StateChanged | UsageChanged):
                continue  # the outcome says it next
            self._say(lines.timed(at, lines.change_line(change)))
            if isinstance(change, RequestOpened):
                for line in lines.answering(after.thread_id, change.request):
                    self._say(f"    {line}")

    def notice(self, at: float, text: str) -> None:
        self._say(lines.timed(at, text))

    def settled(self, subject: Subject, result: TurnResult) -> None:
        if result.outcome.text:
            self._say(f"\n{printable(result.outcome.text).strip()}\n")
        for line in lines.ending(result, subject.link):
            self._say(line)

    def never_begun(self, subject: Subject, turn: TurnRecord, why: str) -> None:  # noqa: ARG002 - the view's signature
        self._say(lines.never_begun(why, turn))

    def failed(self, error: TurnkeeperError) -> None:
        self.close()
        complain(str(error))

    def detached(self, text: str) -> None:
        self._say(text)

    def close(self) -> None:
        self._out.flush()

    def _say(self, line: str) -> None:
        self._out.write(f"{line}\n")
        self._out.flush()
