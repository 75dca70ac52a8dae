"""A gate between a worker and its OpenCode: it can refuse a path, hold a request or its answer, or answer for it.

Every connection carries one request: `Connection: close` is put into it and its answer, so that each request passes
the rules anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Self

from turnkeeper.dev.ports import LOOPBACK

CHUNK: Final = 64 * 1024
FRAME_END: Final = b"\n\n"


@dataclass
class Held:
    """A request (or its answer) that waits here. It goes on even if its sender is gone by then: it is on its way."""

    line: str
    decision: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def deliver(self) -> None:
        self.decision.set_result(True)

    def drop(self) -> None:
        self.decision.set_result(False)


@dataclass(frozen=True)
class Lie:
    """What a sender is told instead of OpenCode's answer, which `change` gets whole: head and body, not compressed.

    `asked`: OpenCode gets the request all the same; else `change` gets nothing.
    """

    change: Callable[[bytes], bytes]
    asked: bool


class Gate:
    """Rules name a part of the request line, such as `/global/event`; they count for what arrives from then on."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._refused: set[str] = set()
        self._answered: dict[str, bytes] = {}
        self._held_requests: set[str] = set()
        self._held_answers: set[str] = set()
        self._open: dict[asyncio.Task[None], str] = {}
        self.lie: Callable[[str], Lie | None] | None = None
        """Asked with each request line that no other rule is about."""
        self.frames: Callable[[bytes], Iterable[bytes]] | None = None
        """What an event stream's reader gets for each frame, to be set before it attaches."""
        self._waiting: asyncio.Queue[Held] = asyncio.Queue()
        self.port = 0
        self.seen: list[str] = []
        """Request lines in the order of their arrival, refused ones included."""

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def cut(self, part: str) -> None:
        """Break what is open on such paths, and refuse them from now on."""
        self._refused.add(part)
        for task, line in list(self._open.items()):
            if part in line:
                task.cancel()

    def answer(self, part: str, response: bytes) -> None:
        """Say this instead of asking OpenCode."""
        self._answered[part] = response

    def hold_requests(self, part: str) -> None:
        self._held_requests.add(part)

    def hold_answers(self, part: str) -> None:
        self._held_answers.add(part)

    def let_pass(self) -> None:
        """Forget all rules; what is held stays so until it is decided."""
        for rules in (self._refused, self._held_requests, self._held_answers):
            rules.clear()
        self._answered.clear()
        self.lie = self.frames = None

    async def next_held(self) -> Held:
        return await self._waiting.get()

    @classmethod
    @asynccontextmanager
    async def before(cls, upstream: int) -> AsyncIterator[Self]:
        """Open in front of the server on a loopback port."""
        gate = cls(upstream)
        server = await asyncio.start_server(gate._accept, LOOPBACK, 0)
        gate.port = server.sockets[0].getsockname()[1]
        try:
            yield gate
        finally:
            server.close()
            for task in list(gate._open):
                task.cancel()
            await asyncio.gather(*gate._open, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = ""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            line = head.split(b"\r\n", 1)[0].decode("latin-1")
            self._open[task] = line
            await self._serve(line, head, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # either side is gone, or the gate was shut
        finally:
            del self._open[task]
            writer.transport.abort()

    async def _serve(self, line: str, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.seen.append(line)
        if _matches(self._refused, line):
            return
        for part, response in self._answered.items():
            if part in line:
                await _send(writer, response)
                return
        body = await reader.readexactly(_length(head))
        if _matches(self._held_requests, line) and not await self._hold(line):
            return
        lie = self.lie(line) if self.lie is not None else None
        if lie is not None and not lie.asked:
            await _send(writer, lie.change(b""))
            return
        upstream_reader, upstream = await asyncio.open_connection(LOOPBACK, self._upstream)
        try:
            upstream.write(_closing(head) + body)
            if lie is not None:
                await _send(writer, lie.change(await upstream_reader.read()))
                return
            if _matches(self._held_answers, line):
                answer = _closing(await upstream_reader.readuntil(b"\r\n\r\n")) + await upstream_reader.read()
                if await self._hold(line):
                    await _send(writer, answer)
                return
            answer_head = await upstream_reader.readuntil(b"\r\n\r\n")
            writer.write(_closing(answer_head))
            stream = b"text/event-stream" in answer_head.lower()
            async for chunk in _changed(upstream_reader, self.frames if stream else None):
                writer.write(chunk)
                await writer.drain()
            await _send(writer, b"")
        finally:
            upstream.transport.abort()

    async def _hold(self, line: str) -> bool:
        held = Held(line)
        self._waiting.put_nowait(held)
        return await held.decision


def http_answer(body: bytes, *, status: str = "200 OK", content_type: str = "application/json") -> bytes:
    """A whole HTTP answer that ends its connection."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n"
    return head.encode() + b"\r\n" + body


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    """All of it, then a clean end, so that the abort afterwards loses nothing."""
    writer.write(data)
    await writer.drain()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _matches(parts: set[str], line: str) -> bool:
    return any(part in line for part in parts)


def _headers(head: bytes) -> list[bytes]:
    return head.removesuffix(b"\r\n\r\n").split(b"\r\n")


def _length(head: bytes) -> int:
    found = (line for line in _headers(head) if line.lower().startswith(b"content-length:"))
    return int(next(found, b":0").split(b":")[1])


async def _changed(
    reader: asyncio.StreamReader, frames: Callable[[bytes], Iterable[bytes]] | None
) -> AsyncIterator[bytes]:
    """The rest of an answer; a stream's frames, which come in HTTP chunks, changed one by one."""
    if frames is None:
        while chunk := await reader.read(CHUNK):
            yield chunk
        return
    waiting = b""
    while size := int(await reader.readline() or b"0", 16):
        waiting += (await reader.readexactly(size + 2))[:size]
        *whole, waiting = waiting.split(FRAME_END)
        for frame in whole:
            for told in frames(frame + FRAME_END):
                yield b"%x\r\n%s\r\n" % (len(told), told)


def _closing(head: bytes) -> bytes:
    """Whoever may be lied to must be able to read it: nothing is compressed here."""
    dropped = (b"connection:", b"accept-encoding:")
    kept = [line for line in _headers(head) if not line.lower().startswith(dropped)]
    return b"\r\n".join([*kept, b"Connection: close"]) + b"\r\n\r\n"
