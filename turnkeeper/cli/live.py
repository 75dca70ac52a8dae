"""The live view of a terminal: what happened scrolls by, what is so right now stays in the last lines."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markdown import Markdown
from rich.spinner import Spinner
from rich.text import Text

from turnkeeper.cli import lines
from turnkeeper.cli.changes import Change, RequestClosed, RequestOpened, RetryNoticed, StopNoticed, ToolChanged, changes
from turnkeeper.cli.endings import complain
from turnkeeper.cli.figures import ago, dollars, one_line, printable, span, tokens
from turnkeeper.cli.stopping import STOPPING, TAKING_BACK
from turnkeeper.cli.views import Subject
from turnkeeper.errors import TurnkeeperError
from turnkeeper.messages import TurnRecord, TurnResult, TurnSnapshot
from turnkeeper.vocabulary import TurnState

FRAMES_PER_SECOND: Final = 8
"""A spinner that turns smoothly, at a CPU cost that is not seen."""

OPEN_TOOLS_SHOWN: Final = 3
"""Tool calls in flight in the last lines; more would push the history off a small window."""

_OVER: Final = frozenset({"completed", "aborted", "error"})
_STYLES: Final = {TurnState.COMPLETED: "bold green", TurnState.INTERRUPTED: "bold yellow", TurnState.ERROR: "bold red"}


class LiveView:
    """Draws on `console`. The clock in the last lines runs between looks too."""

    def __init__(self, console: Console, *, stops: bool = True) -> None:
        """Nothing is drawn before `begun`. `stops`: the first Ctrl-C asks to stop the turn."""
        self._stops = stops
        self._console = console
        self._snapshot: TurnSnapshot | None = None
        self._ahead = 0
        self._began = time.monotonic()
        self._stopping = False
        self._spinner = Spinner("dots")
        self._live = Live(
            get_renderable=self.present, console=console, refresh_per_second=FRAMES_PER_SECOND, transient=True
        )

    def begun(self, subject: Subject) -> None:
        for line in lines.beginning(subject):
            self._console.print(Text(line, style="bold"))
        if subject.link:
            self._console.print(Text(subject.link, style="dim", overflow="fold"))
        self._live.start()

    def queued(self, at: float, ahead: int) -> None:
        self._set_clock(at)
        self._ahead = ahead

    def seen(self, at: float, before: TurnSnapshot | None, after: TurnSnapshot) -> None:
        self._set_clock(at)
        self._snapshot = after
        for change in changes(before, after):
            if _is_history(change):
                self._say(lines.timed(at, lines.change_line(change)), _style(change))
            if isinstance(change, RequestOpened):
                for line in lines.answering(after.thread_id, change.request):
                    self._say(f"    {line}", "yellow")

    def notice(self, at: float, text: str) -> None:
        self._set_clock(at)
        self._stopping = self._stopping or text in {STOPPING, TAKING_BACK}
        self._say(lines.timed(at, text), "yellow")

    def settled(self, subject: Subject, result: TurnResult) -> None:
        self.close()
        if result.outcome.text:
            self._console.print()
            self._console.print(Markdown(printable(result.outcome.text)))
            self._console.print()
        verdict, *rest = lines.ending(result, subject.link)
        self._console.print(Text(verdict, style=_STYLES.get(result.outcome.state, "bold")))
        for line in rest:
            self._console.print(Text(line, style="dim", overflow="fold"), soft_wrap=True)

    def never_begun(self, subject: Subject, turn: TurnRecord, why: str) -> None:  # noqa: ARG002 - the view's signature
        self.close()
        self._console.print(Text(lines.never_begun(why, turn), style=_STYLES.get(turn.state, "bold")))

    def failed(self, error: TurnkeeperError) -> None:
        self.close()
        complain(str(error))

    def detached(self, text: str) -> None:
        self.close()
        self._console.print(Text(text))

    def close(self) -> None:
        self._live.stop()

    def _hint(self) -> str:
        if not self._stops:
            return "Ctrl-C leaves; the turn goes on"
        if self._stopping:
            return "Ctrl-C again leaves"
        if self._snapshot is None and self._ahead:
            return "Ctrl-C takes the prompt back, twice at once leaves it in the queue"
        return "Ctrl-C stops the turn, twice at once leaves it running"

    def _say(self, line: str, style: str) -> None:
        self._console.print(Text(line, style=style))

    def _set_clock(self, at: float) -> None:
        self._began = time.monotonic() - at

    def present(self) -> RenderableType:
        """The last lines: what is so right now."""
        snapshot = self._snapshot
        elapsed = span(time.monotonic() - self._began)
        hint = self._hint()
        if snapshot is None:
            waits = lines.waiting_in_line(self._ahead) if self._ahead else "starting"
            self._spinner.update(text=Text(f"{waits} · {elapsed}"))
            return Group(self._spinner, Text(f"  {hint}", style="dim"))
        used = f" · {tokens(snapshot.usage)} · {dollars(snapshot.usage)}" if snapshot.usage.model_calls else ""
        self._spinner.update(text=Text(f"{snapshot.state} · {elapsed}{used}", style="bold"))
        width = max(self._console.width - 4, 20)
        doing = f"{snapshot.doing} · last progress {ago(snapshot.last_progress_at, datetime.now(UTC))}"
        rows: list[RenderableType] = [self._spinner, Text(f"  {one_line(doing, width)}", style="dim")]
        running = [tool for tool in snapshot.tools if tool.status not in _OVER][-OPEN_TOOLS_SHOWN:]
        rows += [Text(f"  {one_line(f'{tool.name} {tool.title}', width)} …", style="cyan") for tool in running]
        for request in snapshot.open_requests:
            asks = one_line(f"waiting for you: {request.kind} {request.title}", width)
            rows.append(Text(f"  {asks}", style="bold yellow"))
        return Group(*rows, Text(f"  {hint}", style="dim"))


def _is_history(change: Change) -> bool:
    """What scrolls by. The rest is in the last lines, always up to date."""
    match change:
        case ToolChanged(tool=tool):
            return tool.status in _OVER
        case RequestOpened() | RequestClosed() | RetryNoticed() | StopNoticed():
            return True
        case _:
            return False


def _style(change: Change) -> str:
    match change:
        case ToolChanged(tool=tool):
            return "red" if tool.status in {"aborted", "error"} else "cyan"
        case RequestOpened():
            return "bold yellow"
        case _:
            return "dim"
