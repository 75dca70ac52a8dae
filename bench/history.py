"""History events and bytes of a turn, and of its thread, against tokens, tool calls and minutes.

python -m bench.history [--tokens N ...] [--tools N ...] [--minutes N ...] [--json FILE] [--quick]

Real OpenCode with the scripted model, the relay attached, a fresh thread for each turn but one. Beside each turn stand
what OpenCode said about it in the same minutes (with one signal for each event the history would have as many more, and
up to three of a workflow task each) and, once, an empty workflow of one activity. A turn of minutes is a silent one
(one shell command), a talking one (20 tokens a second) or one at work (a shell command every second or two); beside
these, what the rules alone say on a virtual clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from math import ceil
from pathlib import Path
from typing import Any, Final

import httpx
from httpx_sse import aconnect_sse
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle

from bench import plain_worker
from bench.long_turn import growth
from bench.results import Results
from bench.servers import ENDPOINT, Servers, attached_relay, servers, start_program
from bench.timing import table
from turnkeeper.client import Turnkeeper
from turnkeeper.dev.script import EofStep, Plan, TextStep, ToolCall, ToolStep, write_plan
from turnkeeper.messages import thread_workflow_id, turn_workflow_id
from turnkeeper.vocabulary import EventKind, TurnState

TOKENS: Final = [1, 100, 1_000, 10_000, 100_000]
CALL_TOKENS: Final = 10_000
"""Tokens of one model call at most: OpenCode 1.18.33 breaks a call off after 300 s, and more take as long on a crowded
machine. The calls before the last end without a finish reason, so that OpenCode goes on."""

TOOLS: Final = [0, 10, 50]
MINUTES: Final = [1, 5]
HOURS: Final = (60, 470)
"""Minutes that only the rules are asked about: an hour, and a turn that ends just before its deadline."""

TALKS: Final = 0.05
"""Seconds between tokens: a quick model."""

PAUSE: Final = 1
"""Seconds of a shell command of a turn at work."""

STEP: Final = 2.0
"""Seconds that such a step takes in all, for the rules; their outcome does not hang on it."""

SLACK: Final = 60
"""Seconds that a shell command may take longer than planned."""

ACCEPT_TIMEOUT: Final = 120.0
TURN_TIMEOUT: Final = 1800.0
"""Seconds for a turn beside its own minutes: 100,000 tokens keep OpenCode busy for long on a crowded machine."""

LATE: Final = 1.0
"""Seconds after a turn's end in which OpenCode still says something about it (0.4 s on 1.18.33)."""

RULES: Final = {"silent": (None, 1.0), "talks": (EventKind.PROGRESS, 1.0), "works": (EventKind.TOOL, STEP)}
"""What the stream says in each kind of long turn, and how often."""


@dataclass
class Said:
    """What OpenCode's stream carried about each session: events and bytes of their frames, stored twins left out."""

    events: Counter[str] = field(default_factory=Counter)
    size: Counter[str] = field(default_factory=Counter)
    attached: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, http: httpx.AsyncClient) -> None:
        """Until cancelled."""
        async with aconnect_sse(http, "GET", "/global/event", timeout=httpx.Timeout(10, read=None)) as source:
            async for frame in source.aiter_sse():
                self.attached.set()
                payload = json.loads(frame.data)["payload"]
                session = payload.get("properties", {}).get("sessionID")
                if session is not None and payload["type"] != "sync":
                    self.events[session] += 1
                    self.size[session] += len(frame.data)


@asynccontextmanager
async def listening(http: httpx.AsyncClient) -> AsyncIterator[Said]:
    """A reader beside the relay."""
    said = Said()
    reader = asyncio.create_task(said.read(http))
    await asyncio.wait_for(said.attached.wait(), 10)
    try:
        yield said
    finally:
        reader.cancel()
        with suppress(asyncio.CancelledError):
            await reader


@dataclass(frozen=True)
class History:
    """What Temporal keeps of a run."""

    events: int
    bytes: int
    kinds: dict[str, int] = field(default_factory=dict)


async def history_of(handle: WorkflowHandle[Any, Any]) -> History:
    """Read from Temporal."""
    found = (await handle.describe()).raw_description.workflow_execution_info
    names = [EventType.Name(event.event_type) async for event in handle.fetch_history_events()]
    kinds = Counter(name.removeprefix("EVENT_TYPE_").lower() for name in names)
    return History(found.history_length, found.history_size_bytes, dict(kinds.most_common()))


class Turns:
    """Turns through Turnkeeper, and what they left behind."""

    def __init__(self, running: Servers, said: Said) -> None:
        """Of OpenCode's own events, `said` is asked."""
        self._temporal = running.temporal
        self._keeper = Turnkeeper(running.temporal)
        self._directory = str(running.workspace)
        self._said = said

    async def measure(self, what: str, amount: float) -> dict[str, Any]:
        """One turn, in a thread of its own."""
        return await self._measure(f"history-{uuid.uuid4().hex}", what, amount)

    async def measure_next(self) -> dict[str, Any]:
        """The shortest turn in a thread that had one before; of the thread, what this one added."""
        thread_id = f"history-{uuid.uuid4().hex}"
        first = await self._measure(thread_id, "tokens", 1)
        row = await self._measure(thread_id, "tokens", 1)
        more = {key: row["thread"][key] - first["thread"][key] for key in ("events", "bytes")}
        said = {key: row["provider"][key] - first["provider"][key] for key in ("events", "bytes")}
        return row | {"what": "next", "thread": row["thread"] | more, "provider": said}

    async def _measure(self, thread_id: str, what: str, amount: float) -> dict[str, Any]:
        began = time.perf_counter()
        started = await self._keeper.start_turn(
            thread_id,
            f"bench {write_plan(plan_of(what, amount))}",
            endpoint=ENDPOINT,
            directory=self._directory,
            accept_timeout=ACCEPT_TIMEOUT,
        )
        async with asyncio.timeout(TURN_TIMEOUT + (amount * 60 if what in RULES else 0)):
            result = await self._keeper.wait(started)
        took = time.perf_counter() - began
        if result.outcome.state is not TurnState.COMPLETED:
            raise ValueError(f"{what} {amount}: {result.outcome.state}, {result.outcome.evidence.detail}")
        await asyncio.sleep(LATE)
        session = result.session_id or ""
        return {
            "what": what,
            "amount": amount,
            "seconds": round(took, 1),
            "turn": asdict(await history_of(self._temporal.get_workflow_handle(turn_workflow_id(thread_id)))),
            "thread": asdict(await history_of(self._temporal.get_workflow_handle(thread_workflow_id(thread_id)))),
            "provider": {"events": self._said.events[session], "bytes": self._said.size[session]},
        }


def plan_of(what: str, amount: float) -> Plan:
    """A script of `amount` tokens, tool calls or minutes."""
    seconds = int(amount * 60)
    match what:
        case "tokens":
            calls = max(1, ceil(amount / CALL_TOKENS))
            return (
                *[EofStep(after=CALL_TOKENS)] * (calls - 1),
                TextStep(tokens=int(amount) - (calls - 1) * CALL_TOKENS),
            )
        case "tools":
            return (*(_shell("true") for _ in range(int(amount))), TextStep(tokens=1))
        case "silent":
            return (_shell(f"sleep {seconds}", seconds + SLACK), TextStep(tokens=1))
        case "talks":
            return (TextStep(tokens=int(seconds / TALKS), interval=TALKS),)
        case "works":
            return (*(_shell(f"sleep {PAUSE}") for _ in range(int(seconds / STEP))), TextStep(tokens=1))
    raise ValueError(what)


def _shell(command: str, seconds: int = SLACK) -> ToolStep:
    arguments: dict[str, Any] = {"command": command, "description": "bench", "timeout": seconds * 1000}
    return ToolStep(calls=(ToolCall(name="bash", arguments=arguments),))


async def empty(running: Servers) -> dict[str, Any]:
    """The baseline: one activity, which does nothing."""
    address = running.temporal.service_client.config.target_host
    async with AsyncExitStack() as stack:
        program = ("-m", "bench.plain_worker", address)
        await start_program(stack, "empty", running.workspace.parent, *program, says=plain_worker.READY)
        handle = await running.temporal.start_workflow(
            plain_worker.OneStep.run, id=f"empty-{uuid.uuid4().hex}", task_queue=plain_worker.QUEUE
        )
        await handle.result()
    return {"what": "empty", "amount": 1, "turn": asdict(await history_of(handle))}


async def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All turns: tokens and tools one after the other, those of minutes at once."""
    wanted = [("tokens", amount) for amount in options.tokens] + [("tools", amount) for amount in options.tools]
    long = [(what, minutes) for minutes in options.minutes for what in RULES]
    async with (
        servers(snapshots=options.snapshots) as running,
        running.opencode.client(timeout=ACCEPT_TIMEOUT) as http,
        attached_relay(running.temporal),
        listening(http) as said,
    ):
        turns = Turns(running, said)
        await turns.measure("tokens", 1)  # OpenCode starts the directory: counts for nothing
        rows = [await empty(running), await turns.measure_next()]
        rows += [await turns.measure(what, amount) for what, amount in wanted]
        rows += await asyncio.gather(*(turns.measure(what, amount) for what, amount in long))
    return rows


def report(results: Results) -> str:
    """What a turn costs whatever it does, and how a long one grows."""
    head = ["turn", "s", "OpenCode's events", "kB", "`Turn` events", "kB", "`Thread` events", "kB"]
    snapshots = "on (its default)" if results.settings["snapshots"] else "off"
    parts = [f"OpenCode's snapshots {snapshots}.", table(head, [_sizes(row) for row in results.rows])]
    long = [row for row in results.rows if row["what"] in RULES]
    if long:
        shortest = min(row["turn"]["events"] for row in results.rows if row["what"] != "empty")
        rows = [_growth(row, shortest) for row in long] + [_by_rules(what) for what in RULES]
        parts.append(table(["long turn", "minutes", "`Turn` events more than the shortest", "by the rules"], rows))
    return "\n\n".join(parts)


def _sizes(row: Mapping[str, Any]) -> list[str]:
    seconds = f"{row['seconds']:.1f}" if "seconds" in row else ""
    counts = [_cells(row.get(side)) for side in ("provider", "turn", "thread")]
    return [_label(row["what"], row["amount"]), seconds, *(cell for cells in counts for cell in cells)]


def _label(what: str, amount: float) -> str:
    match what:
        case "empty":
            return "an empty workflow of one activity"
        case "next":
            return "1 token, in a thread that had a turn"
        case "tokens" | "tools":
            return f"{amount:,} {'tokens' if what == 'tokens' else 'tool calls'}"
        case _:
            return f"{what} for {amount:g} min"


def _cells(found: Mapping[str, Any] | None) -> list[str]:
    return ["", ""] if found is None else [f"{found['events']:,}", f"{found['bytes'] / 1000:,.1f}"]


def _growth(row: Mapping[str, Any], shortest: int) -> list[str]:
    minutes, more = row["amount"], row["turn"]["events"] - shortest
    return [row["what"], f"{minutes:g}", f"{more} ({more / minutes:.1f} a minute)", str(_rules(row["what"], minutes))]


def _by_rules(what: str) -> list[str]:
    first, last = HOURS
    a_minute = (_rules(what, last) - _rules(what, first)) / (last - first)
    return [what, f"{first} to {last}", "", f"{a_minute:.1f} a minute"]


def _rules(what: str, minutes: float) -> int:
    """History events of so many minutes, without the first look, which the shortest turn has too."""
    kind, every = RULES[what]
    return growth(kind, every, minutes).events - growth(kind, every, 1 / 60).events


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="*", default=TOKENS)
    parser.add_argument("--tools", type=int, nargs="*", default=TOOLS)
    parser.add_argument("--minutes", type=float, nargs="*", default=MINUTES, help="all of them at once")
    parser.add_argument("--no-snapshots", dest="snapshots", action="store_false", help="OpenCode without its git calls")
    parser.add_argument("--quick", action="store_true", help="the shortest turns only: does the benchmark work?")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    if options.quick:
        options.tokens, options.tools, options.minutes = [1, 100], [1], []
    settings = {key: getattr(options, key) for key in ("tokens", "tools", "minutes", "snapshots")}
    results = Results("history", settings, asyncio.run(run(options)))
    print(report(results))
    results.keep(options.json)


if __name__ == "__main__":
    main()
