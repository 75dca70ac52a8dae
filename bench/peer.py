"""What watching a turn costs: polling its whole message list every 1.5 s, and Turnkeeper, on the same turn.

python -m bench.peer [--minutes 10] [--messages 400] [--settles 20] [--quick] [--json FILE]

The baseline is what a public demo of Temporal with OpenCode does: a loop that reads all messages of the session every
1.5 s until the last one is an answer. Here it is bare httpx, without Temporal, heartbeats or retries, which is the
cheapest form of it. Turnkeeper starts the turn and follows it by its relay's event stream and its own looks. Both watch
the same turn at the same time, so they share one OpenCode and one clock; bytes and requests are counted on the wire of
each side (`bench/wire.py`), compression included. Turnkeeper's figures hold everything between worker and OpenCode: the
prompt, the session, and the stream, which one endpoint has once for all its turns.

The long turn (`bench/long_script.py`) runs `messages` - 2 commands, spread over `minutes`, each with 2 kB of source
code as its output. Because it settles once, settle times (the answer's completion in OpenCode → known to the watcher)
come from `settles` short turns as well, whose lists are as short as a list can be: the poller's best case.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from bench.long_script import OUTPUT_BYTES, PROMPT, write_script, write_workspace
from bench.results import Results
from bench.servers import ENDPOINT, Servers, attached_relay, servers
from bench.timing import median, p99, table
from bench.wire import CountingWire, Traffic
from turnkeeper.client import StartedTurn, Turnkeeper
from turnkeeper.limits import TurnLimits
from turnkeeper.messages import turn_workflow_id

POLL: Final = 1.5
"""Seconds that the poller waits between two reads, as the demo does."""

SHORT: Final = 'bench <<<[{"kind": "text", "tokens": 40, "interval": 0.05}]>>>'
"""A turn of some two seconds: longer than the pause of the poller, whose phase is then left to chance."""

ACCEPT: Final = 60.0
"""Seconds to accept a start, on a machine that does other things too."""

SESSION_POLL: Final = 0.05
"""Seconds between two questions for the session of a turn that was just started: it opens in a tenth of one."""

CURVE_POINTS: Final = 60
"""Samples of the traffic over the long turn."""

QUICK: Final = (0.5, 20, 1)
"""Minutes, messages and short turns of the run that goes through everything and measures nothing."""

TRAILING: Final = 2.0
"""Seconds after the end in which OpenCode still tells of it; they belong to the turn's traffic."""


@dataclass(slots=True)
class Watched:
    """What one poller found. `calls`: seconds of each read; `decoded`: bytes of JSON that it had to parse."""

    seen_at: float = 0.0
    messages: int = 0
    decoded: int = 0
    calls: list[float] = field(default_factory=list)


class Poller:
    """Reads the whole list until the last message is an answer."""

    def __init__(self, http: httpx.AsyncClient, directory: Path) -> None:
        """Use `http`, whose base URL is that of a counting wire."""
        self._http = http
        self._query = {"directory": str(directory)}

    async def watch(self, session_id: str) -> Watched:
        """Until the answer is there."""
        seen = Watched()
        while True:
            began = time.perf_counter()
            answer = (await self._http.get(f"/session/{session_id}/message", params=self._query)).raise_for_status()
            messages = answer.json()
            seen.calls.append(time.perf_counter() - began)
            seen.decoded += len(answer.content)
            if answered(messages):
                seen.seen_at, seen.messages = time.time(), len(messages)
                return seen
            await asyncio.sleep(POLL)


def answered(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Is the last message an assistant's that is complete and calls no tool? The demo's test for the end."""
    if not messages:
        return False
    last = messages[-1]["info"]
    return last["role"] == "assistant" and "completed" in last["time"] and last.get("finish") != "tool-calls"


class Watch:
    """Both sides on the same turns."""

    def __init__(self, running: Servers, polled: CountingWire, counted: CountingWire, http: httpx.AsyncClient) -> None:
        """`polled` is the poller's wire, `counted` the workers'; `http` asks OpenCode itself, uncounted."""
        self._running, self._polled, self._counted, self._http = running, polled, counted, http
        self._keeper = Turnkeeper(running.temporal)

    async def turn(self, prompt: str, minutes: float = 0.0) -> dict[str, Any]:
        """One turn watched by both: the traffic, and when each knew that it had ended."""
        before = self._polled.traffic, self._counted.traffic
        began = time.monotonic()
        curve: list[tuple[float, int, int]] = []
        sampling = asyncio.create_task(self._sample(curve, minutes)) if minutes else None
        started = await self._keeper.start_turn(
            f"peer-{uuid.uuid4().hex}",
            prompt,
            endpoint=ENDPOINT,
            directory=str(self._running.workspace),
            limits=TurnLimits(),
            accept_timeout=ACCEPT,
        )
        async with asyncio.TaskGroup() as both:
            following = both.create_task(self._follow(started))
            polling = both.create_task(self._poll(started))
        lasted = time.monotonic() - began
        seen_at, session_id = following.result()
        seen = polling.result()
        await asyncio.sleep(TRAILING)
        if sampling is not None:
            sampling.cancel()
        truth = await self._truth(session_id)
        return {
            "messages": seen.messages,
            "seconds": lasted,
            "poll": _side(self._polled.traffic.since(before[0]), seen.seen_at - truth)
            | {"decoded": seen.decoded, "call_p50": median(seen.calls), "call_p99": p99(seen.calls)},
            "ours": _side(self._counted.traffic.since(before[1]), seen_at - truth) | await self._history(started),
            "curve": curve,
        }

    async def _follow(self, started: StartedTurn) -> tuple[float, str]:
        result = await self._keeper.wait(started)
        seen_at = time.time()
        if result.outcome.reason != "finished" or result.session_id is None:
            raise ValueError(f"not finished: {result.outcome}")
        return seen_at, result.session_id

    async def _poll(self, started: StartedTurn) -> Watched:
        while (session_id := (await self._keeper.turn(started.thread_id)).session_id) is None:  # noqa: ASYNC110 - told by another process
            await asyncio.sleep(SESSION_POLL)
        auth = httpx.BasicAuth(self._running.opencode.username, self._running.opencode.password)
        async with httpx.AsyncClient(base_url=self._polled.url, auth=auth, timeout=ACCEPT, trust_env=False) as http:
            return await Poller(http, self._running.workspace).watch(session_id)

    async def _truth(self, session_id: str) -> float:
        query = {"directory": str(self._running.workspace), "limit": "1"}
        answer = (await self._http.get(f"/session/{session_id}/message", params=query)).raise_for_status()
        completed: int = answer.json()[-1]["info"]["time"]["completed"]
        return completed / 1000

    async def _history(self, started: StartedTurn) -> dict[str, int]:
        """Of the turn's workflow, in Temporal: what Turnkeeper writes and the poller does not."""
        handle = self._running.temporal.get_workflow_handle(turn_workflow_id(started.thread_id))
        told = await handle.describe()
        return {
            "history_events": told.history_length,
            "history_bytes": told.raw_description.workflow_execution_info.history_size_bytes,
        }

    async def _sample(self, curve: list[tuple[float, int, int]], minutes: float) -> None:
        """Seconds, and bytes received until then by the poller and by Turnkeeper."""
        before = self._polled.traffic, self._counted.traffic
        began = time.monotonic()
        while True:
            polled, ours = self._polled.traffic.since(before[0]), self._counted.traffic.since(before[1])
            curve.append((round(time.monotonic() - began, 1), polled.received, ours.received))
            await asyncio.sleep(minutes * 60 / CURVE_POINTS)


def _side(traffic: Traffic, settle: float) -> dict[str, Any]:
    return asdict(traffic) | {"settle": settle}


@asynccontextmanager
async def watching(minutes: float, messages: int) -> AsyncIterator[Watch]:
    """Servers with a turn of that length in the model's script, a relay, and a wire for each side."""
    with tempfile.TemporaryDirectory(prefix="turnkeeper-peer-") as made:
        script = Path(made) / "script.json"
        write_script(script, messages)
        async with (
            servers(script=script, count_wire=True) as running,
            CountingWire.before(running.opencode.port) as polled,
            running.opencode.client(timeout=ACCEPT) as http,
            attached_relay(running.temporal),
        ):
            if running.wire is None:
                raise AssertionError("it was asked for")
            write_workspace(running.workspace, minutes, messages)
            yield Watch(running, polled, running.wire, http)


async def run(minutes: float, messages: int, settles: int) -> list[dict[str, Any]]:
    """The long turn, and the settle times of short ones."""
    async with watching(minutes, messages) as watch:
        await watch.turn(SHORT)  # boots OpenCode's instance of the directory
        long = await watch.turn(PROMPT, minutes)
        short = []
        for _ in range(settles):
            await asyncio.sleep(random.uniform(0, POLL))  # noqa: S311 - a phase, no secret
            short.append(await watch.turn(SHORT))
    return [{"turn": "long", **long}, {"turn": "short", "n": settles, **_together(short)}]


def _together(turns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means of traffic and all settle times of several turns."""
    row: dict[str, Any] = {"messages": turns[0]["messages"], "seconds": median([turn["seconds"] for turn in turns])}
    for side in ("poll", "ours"):
        names = [name for name in turns[0][side] if name != "settle"]
        row[side] = {name: sum(turn[side][name] for turn in turns) / len(turns) for name in names}
        row[side]["settle"] = [turn[side]["settle"] for turn in turns]
    return row


KB: Final = 1000


def report(results: Results) -> str:
    """Traffic and settle times of both, and what one is of the other."""
    rows = [line for row in results.rows for line in _lines(row)]
    head = ["turn", "watched by", "requests", "kB received", "of them events", "kB sent"]
    head += ["n", "settled p50 ms", "settled p99 ms"]
    long = results.rows[0]
    poll, ours = long["poll"], long["ours"]
    words = (
        f"One read of the list took the poller {poll['call_p50'] * 1000:.0f} ms (median) and "
        f"{poll['call_p99'] * 1000:.0f} ms (p99) in the long turn, {poll['decoded'] / KB:,.0f} kB of JSON in all. "
        f"Turnkeeper's history of it: {ours['history_events']} events, {ours['history_bytes'] / KB:.0f} kB."
    )
    return f"{table(head, rows)}\n\n{words}"


def _lines(row: Mapping[str, Any]) -> list[list[str]]:
    """Of one kind of turn: each side, and the ratio."""
    long = row["turn"] == "long"
    name = f"{row['seconds'] / 60:.1f} min, {row['messages']} messages" if long else f"{row['seconds']:.1f} s"
    lines = []
    for side, what in (("poll", "polling"), ("ours", "Turnkeeper")):
        found = row[side]
        settles = [found["settle"]] if long else found["settle"]
        sizes = [f"{found[part] / KB:,.1f}" for part in ("received", "streamed", "sent")]
        times = [f"{value * 1000:.0f}" for value in (median(settles), p99(settles))]
        lines.append([name, what, f"{found['requests']:.0f}", *sizes, str(len(settles)), *times])
    ratio = {part: f"{row['ours'][part] / row['poll'][part]:.3f}" for part in ("requests", "received", "sent")}
    lines.append([name, "ratio", ratio["requests"], f"**{ratio['received']}**", "", ratio["sent"], "", "", ""])
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of the long turn")
    parser.add_argument("--messages", type=int, default=400, help="of the long turn, prompt and answer included")
    parser.add_argument("--settles", type=int, default=20, help="short turns for the settle times")
    parser.add_argument("--quick", action="store_true", help="0.5 minutes, 20 messages, 1 short turn: no figures")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    minutes, messages, settles = QUICK if options.quick else (options.minutes, options.messages, options.settles)
    rows = asyncio.run(run(minutes, messages, settles))
    settings = {"minutes": minutes, "messages": messages, "poll": POLL, "output_bytes": OUTPUT_BYTES}
    results = Results("peer", settings, rows)
    print(report(results))
    results.keep(options.json)


if __name__ == "__main__":
    main()
