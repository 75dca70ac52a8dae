"""Write docs/states.md and docs/settings.md from the code: the enums, the tables, and the core itself, asked.

`python docs/generate.py` writes, `python docs/generate.py --check` says whether they are stale.
"""
# ruff: noqa: INP001 (a script beside the pages that it writes, not a package)

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from turnkeeper import codec_server_settings, encryption_keys, limits, observations, settings, turn
from turnkeeper.lifecycle import TERMINAL, begin, decide, learn
from turnkeeper.limits import TurnLimits
from turnkeeper.observations import Observation
from turnkeeper.outcomes import SETTLEMENTS, UNCONFIRMED_STOP
from turnkeeper.vocabulary import EventKind, EvidenceKind, Fault, Reason, SessionStatus, Standing, TurnState

HERE: Final = Path(__file__).parent
T0: Final = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS: Final = TurnLimits()
HEADER: Final = "<!-- Written by docs/generate.py from the code: change the code, then run it. -->\n"

# --- pages ----------------------------------------------------------------------------------------------------------


def states_page() -> str:
    return "\n".join(
        [
            HEADER,
            "# States of a session and of a turn\n",
            "The rules are in [`lifecycle.py`](../turnkeeper/lifecycle.py) and",
            "[`readings.py`](../turnkeeper/readings.py). Every cell about a decision below was found by asking them.\n",
            "## Turn\n",
            diagram(),
            members(TurnState),
            "## Session\n",
            members(SessionStatus),
            "## How a turn can end\n",
            "`confirmed` exists for stops alone (`stopped`, `stalled`, `deadline_exceeded`): does the provider agree",
            "that nothing runs?\n",
            settlement_table(),
            "What an end rests on:\n",
            members(EvidenceKind),
            "## What a reading means\n",
            "A look gives one standing, or *not there*, or *unreachable* (which says nothing about the turn).\n",
            members(Standing),
            "What is decided after a reading, with the default limits. *Second* is the same reading once more, after",
            f"{words(LIMITS.start_budget)} without a stop and {words(LIMITS.stop_quiet)} after one.\n",
            reading_table(),
            "## What an event does\n",
            "No event ends a turn. Some make it look at once, whatever they say.\n",
            event_table(),
        ]
    )


def settings_page() -> str:
    return "\n".join(
        [
            HEADER,
            "# Settings and limits\n",
            "One TOML file (named by `TURNKEEPER_CONFIG`) and the environment, which wins. There an endpoint's setting",
            f"`x` is `{settings.ENDPOINT_PREFIX}<NAME>_X`, a worker's `{settings.WORKER_PREFIX}X`.\n",
            "## Limits of a turn\n",
            "In the file under `[endpoints.<name>.limits]`, and for one turn in `start_turn`. Durations are seconds or",
            "ISO 8601 (`PT10S`). A running turn keeps the limits that it began with.\n",
            fields_table(TurnLimits, "Why"),
            "## Limits of what is sent\n",
            constants_table(),
            "## An endpoint\n",
            "In the file under `[endpoints.<name>]`.\n",
            fields_table(settings.EndpointSettings, "What"),
            "## A worker\n",
            "In the file under `[worker]`.\n",
            fields_table(settings.WorkerSettings, "What"),
            "## Encryption\n",
            f"From the environment alone, as `{encryption_keys.PREFIX}<NAME>`: workers, clients and the command line",
            "read the same. See [encryption.md](encryption.md).\n",
            fields_table(encryption_keys.EncryptionSettings, "What"),
            "## The codec server\n",
            f"From the environment, as `{codec_server_settings.PREFIX}<NAME>`.\n",
            fields_table(codec_server_settings.CodecServerSettings, "What"),
        ]
    )


PAGES: Final = {"states.md": states_page, "settings.md": settings_page}

# --- reading the source ---------------------------------------------------------------------------------------------


def meanings(enum: type[StrEnum]) -> dict[str, str]:
    """The comment behind each member: the one place where it is explained."""
    lines = inspect.getsource(enum).splitlines()
    found = {}
    for member in enum:
        line = next(line for line in lines if line.strip().startswith(f"{member.name} = "))
        found[member.value] = line.partition("  # ")[2].strip()
    return found


def constants() -> Iterable[tuple[str, int, str]]:
    """The named numbers of `limits`, each with the text under it."""
    body = ast.parse(inspect.getsource(limits)).body
    for node, following in pairwise(body):
        match node, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, getattr(limits, name), " ".join(text.split())
            case _:
                pass


# --- asking the core ------------------------------------------------------------------------------------------------

_SILENCE: Final = observations.Failure(code="provider_unreachable", fault=Fault.PROVIDER, message="no answer")


def reading_of(standing: Standing) -> Observation:
    """What a look says of a prompt that is stored."""
    return observations.Seen(standing=standing, detail="-")


def tell(told: turn.Turn, at: datetime, *facts: turn.Fact) -> turn.Turn:
    for fact in facts:
        told = learn(told, fact, at)
    return told


def sent_turn(*, accepted: bool) -> turn.Turn:
    """A turn whose prompt left at T0."""
    report = observations.Accepted() if accepted else observations.PerhapsSent()
    opened = turn.SessionReported(observations.SessionOpened(session_id="ses_1"))
    fresh = begin(LIMITS, T0, resume=False, looks_grow=True, recovers=True)
    return tell(fresh, T0, opened, turn.SubmitStarted(), turn.SubmitReported(report))


def after_readings(reading: Observation, times: int, *, stopped: bool) -> str:
    """What is decided after `reading` was read `times` times."""
    prompt_missing = isinstance(reading, observations.NotThere) and reading.what == "prompt"
    told = sent_turn(accepted=not prompt_missing)
    if stopped:
        aborted = observations.AbortReport(sent=True)
        told = tell(told, T0, turn.StopAsked(turn.StopCause.ASKED), turn.AbortReported(aborted))
    now = T0
    for number in range(times):
        now = T0 + number * (LIMITS.stop_quiet if stopped else LIMITS.start_budget)
        told = tell(told, now, turn.LookStarted(), turn.Observed(reading))
    return described(decide(told, now), now)


def described(decision: turn.Decision, now: datetime) -> str:
    match decision:
        case turn.Settle(outcome):
            confirmed = {True: ", confirmed", False: ", unconfirmed", None: ""}[outcome.confirmed]
            return f"**{outcome.reason}**{confirmed}"
        case turn.Wait(until):
            return f"look again in {words(until - now)}"
        case turn.Look():
            return "look at once"
        case turn.Abort():
            return "abort again"
        case turn.OpenSession():
            return "open the session"
        case turn.Submit(anew=True):
            return f"take the prompt out and send it again; after {limits.MAX_SUBMITS} times **prompt_dropped**"
        case turn.Submit():
            return "send the prompt again"
        case turn.GiveUp(cause):
            return f"give up: {cause}"


# --- tables ---------------------------------------------------------------------------------------------------------


def members(enum: type[StrEnum]) -> str:
    return table(
        [enum.__name__, "Meaning"], ([f"`{name}`", text or "as it says"] for name, text in meanings(enum).items())
    )


def settlement_table() -> str:
    """How each reason leaves the turn and its session."""
    said = meanings(Reason)
    rows = [
        [f"`{reason}`", said[reason], f"`{turn}`", _session_cell(reason, session)]
        for reason, (turn, session) in SETTLEMENTS.items()
    ]
    return table(["Reason", "Meaning", "Turn", "Session"], rows)


def _session_cell(reason: Reason, session: SessionStatus) -> str:
    unconfirmed = f"; unconfirmed: `{UNCONFIRMED_STOP}`, with a `last_error`" if reason is Reason.STOPPED else ""
    return f"`{session}`{unconfirmed}"


def reading_table() -> str:
    """Each reading, with and without a stop, once and twice."""
    readings: list[tuple[str, Observation]] = [(f"`{standing}`", reading_of(standing)) for standing in Standing]
    readings += [
        ("prompt not there", observations.NotThere(what="prompt")),
        ("prompt not there, session busy", observations.NotThere(what="prompt", busy=True)),
        ("session not there", observations.NotThere(what="session")),
        ("unreachable", observations.Unreachable(failure=_SILENCE)),
    ]
    cases = [(1, False), (2, False), (1, True), (2, True)]
    rows = [
        [name, *(after_readings(reading, times, stopped=stopped) for times, stopped in cases)]
        for name, reading in readings
    ]
    return table(["Reading", "First", "Second", "After a stop", "After a stop, second"], rows)


def event_table() -> str:
    """Each kind of event, of the session and of a child of it."""
    said = meanings(EventKind)
    rows = [
        [f"`{kind}`", said[kind], event_effect(kind, child=False), event_effect(kind, child=True)] for kind in EventKind
    ]
    return table(["Event", "Meaning", "Of the session", "Of a child"], rows)


def event_effect(kind: EventKind, *, child: bool) -> str:
    now = T0 + timedelta(seconds=1)
    event = observations.ProviderEvent(id="e", kind=kind, child=child, detail="it broke")
    running = turn.Observed(reading_of(Standing.RUNNING))
    before = tell(sent_turn(accepted=True), T0, turn.LookStarted(), running)
    after = tell(before, now, turn.EventsArrived((event,)))
    if isinstance(decide(after, now), turn.Look):
        return "look at once"
    if after.events_away:
        return f"look at least every {words(LIMITS.look_interval)} until `attached`"
    return "counts as progress" if after.progress_at != before.progress_at else "-"


def diagram() -> str:
    """The states of a turn as Mermaid, which GitHub draws. The ways to the end are those of the settlement table."""
    ways: dict[TurnState, list[str]] = {state: [] for state in TurnState if state in TERMINAL}
    for reason, (state, _) in SETTLEMENTS.items():
        ways[state].append(reason)
    lines = ["stateDiagram-v2", "[*] --> queued", "queued --> running: no other turn of the thread runs"]
    lines += ["running --> waiting: a permission or question is open", "waiting --> running: it was answered"]
    for state, reasons in ways.items():
        lines += [f"running --> {state}: {', '.join(reasons)}", f"{state} --> [*]"]
    text = "\n    ".join(lines)
    return f"```mermaid\n{text}\n```\n\nA waiting turn can end in every way that a running one can.\n"


def constants_table() -> str:
    return table(["Name", "Value", "Why"], ([f"`{name}`", f"{value:,}", text] for name, value, text in constants()))


def fields_table(model: type[BaseModel], about: str) -> str:
    rows = []
    for name, field in model.model_fields.items():
        if isinstance(field.default, BaseModel):
            continue  # a section of its own
        rows.append([f"`{name}`", default(field.default), field.description or ""])
    return table(["Name", "Default", about], rows)


def default(value: Any) -> str:  # noqa: ANN401 (whatever a field has)
    """A default as a person would type it."""
    if value is PydanticUndefined:
        return "*required*"
    if value is None:
        return "none"
    return words(value) if isinstance(value, timedelta) else f"`{value}`"


def words(span: timedelta) -> str:
    hour = timedelta(hours=1)
    if span < timedelta(seconds=1):
        return f"{span / timedelta(milliseconds=1):g} ms"
    return f"{span / hour:g} h" if span % hour == timedelta(0) else f"{span.total_seconds():g} s"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


# --- the command ----------------------------------------------------------------------------------------------------


def stale(folder: Path = HERE) -> list[str]:
    """The pages in `folder` that do not say what the code says."""
    pages = ((folder / name, write()) for name, write in PAGES.items())
    return [page.name for page, text in pages if not page.exists() or page.read_text() != text]


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or with `--check` only compare them."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python docs/generate.py [--check]\n")
        return 2
    if arguments:
        old = stale()
        if old:
            sys.stderr.write(f"Stale in docs/: {', '.join(old)}. Run `python docs/generate.py` and commit.\n")
        return 1 if old else 0
    for name, write in PAGES.items():
        (HERE / name).write_text(write())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
