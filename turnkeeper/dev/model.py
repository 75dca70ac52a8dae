"""The scripted model: an OpenAI-compatible server that does what the prompt says, failures included.

In a test: `async with ScriptedModel() as model: model.base_url`. As a process: `python -m turnkeeper.dev.model`.
The grammar of plans is in `script.py`; prompts in plain words are in `shortcuts.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import signal
import sys
import time
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from pydantic import ValidationError

from turnkeeper.dev.chunks import MODEL_ID, Break, Json, Wait, error_body, pieces
from turnkeeper.dev.conversation import Call, ChatRequest, Purpose, understand
from turnkeeper.dev.errors import EmbeddedStackError, PortInUseError, ScriptError
from turnkeeper.dev.loopback_http import Connection, LoopbackServer, Request
from turnkeeper.dev.ports import LOOPBACK
from turnkeeper.dev.script import FailingStep, HttpStep, Plan, Script, Step, TextStep, plan_in, step_now
from turnkeeper.dev.shortcuts import hand_over, plan_for_words

MAX_RECORDED: Final = 2_000
"""Calls kept for tests; a record is small (no bodies), and a benchmark of 60 turns makes fewer."""
MAX_COUNTERS: Final = 10_000
"""Counters of failing steps kept, oldest dropped first: one for each failing step of each turn."""
_TITLE: Final = TextStep(say="Scripted session")
_SUMMARY: Final = TextStep(say="Scripted summary of the conversation so far.")
_PLAN_DONE: Final = TextStep(say="scripted model: the plan is done.")


class StreamState(StrEnum):
    """Where one model call stands."""

    LIVE = "live"
    FINISHED = "finished"  # we ended it, well or broken, as the plan said
    ABANDONED = "abandoned"  # the client hung up first
    REFUSED = "refused"  # the request or its plan was wrong: answered 400


@dataclass
class RecordedCall:
    """One model call, for tests and for looking."""

    call: Call
    step: Step | None
    state: StreamState = StreamState.LIVE
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None


class ScriptedModel:
    """The server. `requests` is bounded; `live`, `finished`, `abandoned` count streams since the start."""

    def __init__(self, *, port: int = 0, script: Script | None = None, host: str = LOOPBACK) -> None:
        self._host = host
        self._asked_port = port
        self._script = script or Script()
        self._server = LoopbackServer(self._handle)
        self._taken: OrderedDict[str, int] = OrderedDict()
        self.port = port
        self.requests: deque[RecordedCall] = deque(maxlen=MAX_RECORDED)
        self.live = 0
        self.finished = 0
        self.abandoned = 0

    @property
    def base_url(self) -> str:
        """What an OpenAI client is given as its base URL."""
        return f"http://{self._host}:{self.port}/v1"

    def calls_of(self, session: str, *, purpose: Purpose = Purpose.TURN) -> list[RecordedCall]:
        """The recorded calls of one OpenCode session, oldest first."""
        return [record for record in self.requests if record.call.session == session and record.call.purpose is purpose]

    async def start(self) -> Self:
        try:
            self.port = await self._server.start(self._host, self._asked_port)
        except OSError as error:
            raise PortInUseError(
                f"Port {self._asked_port} for the scripted model (setting: model port) cannot be used: "
                f"{error.strerror}. Choose another, or 0 for a free one."
            ) from error
        return self

    async def stop(self) -> None:
        await self._server.stop()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # Routes.

    async def _handle(self, request: Request, client: Connection) -> None:
        match request.method, request.path:
            case "POST", "/v1/chat/completions":
                await self._complete(request, client)
            case "GET", "/v1/models":
                entry = {"id": MODEL_ID, "object": "model", "created": 0, "owned_by": "turnkeeper"}
                await client.answer(200, {"object": "list", "data": [entry]})
            case "GET", "/healthz":
                counts = {"live": self.live, "finished": self.finished, "abandoned": self.abandoned}
                await client.answer(200, {"healthy": True} | counts)
            case method, path:
                text = (
                    f"The scripted model has no {method} {path}. "
                    "It has POST /v1/chat/completions, GET /v1/models, GET /healthz."
                )
                await client.answer(404, error_body(text, kind="not_found_error"))

    async def _complete(self, request: Request, client: Connection) -> None:
        try:
            body = ChatRequest.model_validate_json(request.body)
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"])
            text = f"Not a chat completion request: {where}: {error.errors()[0]['msg']}."
            await client.answer(400, error_body(text, kind="invalid_request_error", code="bad_request"))
            return
        call = understand(body, request.headers)
        try:
            step = self._choose(call)
        except ScriptError as error:
            self.requests.append(RecordedCall(call, None, StreamState.REFUSED))
            await client.answer(400, error_body(str(error), kind="invalid_request_error", code=error.code))
            return
        record = RecordedCall(call, step)
        self.requests.append(record)
        await self._follow(record, step, client, stream=body.stream)

    async def _follow(self, record: RecordedCall, step: Step, client: Connection, *, stream: bool) -> None:
        self.live += 1
        try:
            if isinstance(step, HttpStep):
                headers = {} if step.retry_after is None else {"retry-after": f"{step.retry_after:g}"}
                await client.answer(step.status, error_body(step.message, kind="api_error", code=step.code), headers)
            elif stream:
                await _stream(step, client)
            else:
                await _answer_at_once(step, client)
            record.state = StreamState.FINISHED
        finally:
            self.live -= 1
            record.ended = time.monotonic()
            if record.state is StreamState.FINISHED:
                self.finished += 1
            else:  # cancelled: the client hung up
                record.state = StreamState.ABANDONED
                self.abandoned += 1

    # Choosing.

    def _choose(self, call: Call) -> Step:
        match call.purpose:
            case Purpose.TITLE:
                return _TITLE
            case Purpose.COMPACTION:
                return _SUMMARY
            case Purpose.TURN:
                plan = self._plan(call)
                place = hashlib.sha256(repr((call.session, call.turn, plan)).encode()).hexdigest()
                return (
                    step_now(plan, call.rounds, lambda index, step: self._take(f"{place}:{index}", step)) or _PLAN_DONE
                )

    def _plan(self, call: Call) -> Plan:
        # `sub-agent:` first: the plan behind it is for the sub-agent.
        return hand_over(call) or plan_in(call.prompt) or self._script.plan_for(call.prompt) or plan_for_words(call)

    def _take(self, key: str, step: FailingStep) -> bool:
        if step.times == "always":
            return True
        taken = self._taken.get(key, 0)
        if taken >= step.times:
            return False
        self._taken[key] = taken + 1
        self._taken.move_to_end(key)
        if len(self._taken) > MAX_COUNTERS:
            self._taken.popitem(last=False)
        return True


async def _stream(step: Step, client: Connection) -> None:
    client.begin_stream()
    loop = asyncio.get_running_loop()
    due = loop.time()
    unsent = b""  # pieces without a pause between them travel together
    for piece in pieces(step):
        match piece:
            case Wait(seconds):
                await client.stream(unsent)
                unsent = b""
                # Counted from the start, so that late timers do not add up and a rate stays what it says.
                due += seconds
                await asyncio.sleep(due - loop.time())
            case Break():
                await client.stream(unsent)
                await _break_off(piece, client)
                return
            case bytes():
                unsent += piece
            case _:
                unsent += b"data: " + json.dumps(piece, separators=(",", ":")).encode() + b"\n\n"
    await client.stream(unsent + b"data: [DONE]\n\n")
    client.end_stream()


async def _break_off(how: Break, client: Connection) -> None:
    match how:
        case Break.SILENCE:
            await asyncio.Event().wait()  # until the client goes away and the task is cancelled
        case Break.RESET:
            client.reset()
        case Break.EOF:
            client.end_stream()


async def _answer_at_once(step: Step, client: Connection) -> None:
    chunks: list[Json] = []
    for piece in pieces(step):
        match piece:
            case Wait(seconds):
                await asyncio.sleep(seconds)
            case Break.SILENCE | Break.RESET:
                await _break_off(piece, client)
                return
            case Break.EOF | bytes():
                pass  # without a stream there is nothing to cut in half
            case _:
                chunks.append(piece)
    await client.answer(200, _merge(chunks))


def _merge(chunks: Iterable[Json]) -> Json:
    """The chunks of a stream as one completion."""
    message: dict[str, object] = {"role": "assistant", "content": ""}
    merged: Json = {"id": "chatcmpl-scripted", "object": "chat.completion", "created": 0, "model": MODEL_ID}
    reason: object = None
    for chunk in chunks:
        if "error" in chunk:
            return chunk
        merged |= {"usage": chunk["usage"]} if "usage" in chunk else {}
        choices = chunk["choices"]
        for choice in choices if isinstance(choices, list) else []:
            reason = choice["finish_reason"] or reason
            for name, value in choice["delta"].items():
                if name != "role":
                    message[name] = message[name] + value if name in message else value
    return merged | {"choices": [{"index": 0, "message": message, "finish_reason": reason}]}


async def _serve(port: int, script: Script) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with ScriptedModel(port=port, script=script) as model:
        sys.stdout.write(f"scripted model listening on {model.base_url}\n")
        sys.stdout.flush()
        await stop.wait()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m turnkeeper.dev.model", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="loopback port; 0 for a free one (default)")
    parser.add_argument("--script", type=Path, help="JSON file: [{match, steps}, …]")
    options = parser.parse_args()
    try:
        script = Script.from_file(options.script) if options.script else Script()
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_serve(options.port, script))
    except EmbeddedStackError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
