"""A small HTTP/1.1 server on asyncio and h11, made for misbehaving: stalls, resets and half streams on purpose.

A connection is one `asyncio.Protocol`; a request becomes a task, and the task is cancelled the moment the client goes
away, without a reader per stream. That is what keeps sixty slow streams cheap.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final, NamedTuple

import h11

MAX_BODY: Final = 64 * 1024 * 1024
"""Bytes of one request: a model call with a full context of 200,000 tokens is about 1 MB; images may come on top."""
_ON_CLOSE_SEND_RST: Final = struct.pack("ii", 1, 0)
"""SO_LINGER switched on with zero seconds: the kernel then resets instead of closing."""
_log = logging.getLogger(__name__)


class Request(NamedTuple):
    """A complete request; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    query: str = ""


Handler = Callable[[Request, "Connection"], Awaitable[None]]


class Connection(asyncio.Protocol):
    """One client. Handlers write the answer through it."""

    def __init__(self, handler: Handler, open_connections: set[Connection]) -> None:
        self._handler = handler
        self._open = open_connections
        self._wire = h11.Connection(h11.SERVER)
        self._transport: asyncio.Transport | None = None
        self._head: h11.Request | None = None
        self._body = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()

    # What a handler calls.

    async def answer(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        """A whole JSON answer; a 204 has no body."""
        data = b"" if status == HTTPStatus.NO_CONTENT else json.dumps(body).encode()
        fields = {"content-type": "application/json", "content-length": str(len(data))} | dict(headers or {})
        self._send(h11.Response(status_code=status, headers=list(fields.items())))
        self._send(h11.Data(data=data))
        self._send(h11.EndOfMessage())
        await self._may_write.wait()

    def begin_stream(self) -> None:
        fields = {"content-type": "text/event-stream", "cache-control": "no-cache"}
        self._send(h11.Response(status_code=200, headers=list(fields.items())))

    async def stream(self, data: bytes) -> None:
        """Send a piece; waits while the client does not read."""
        self._send(h11.Data(data=data))
        await self._may_write.wait()

    def end_stream(self) -> None:
        self._send(h11.EndOfMessage())

    def reset(self) -> None:
        """Break the connection so that the client sees ECONNRESET."""
        if self._transport is None:
            return
        plain = self._transport.get_extra_info("socket")
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ON_CLOSE_SEND_RST)
        self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a TCP server makes no other kind
        self._transport = transport
        self._open.add(self)

    def data_received(self, data: bytes) -> None:
        self._wire.receive_data(data)
        self._advance()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._transport = None
        self._open.discard(self)
        self._may_write.set()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    # Inside.

    def close(self) -> asyncio.Task[None] | None:
        """Drop the client; returns the handler's task if one runs."""
        if self._transport is not None:
            self._transport.abort()
        return self._task

    def _send(self, event: h11.Event) -> None:
        data = self._wire.send(event)
        if data and self._transport is not None:
            self._transport.write(data)

    def _advance(self) -> None:
        while self._task is None and self._transport is not None:
            try:
                event = self._wire.next_event()
            except h11.RemoteProtocolError:
                self._transport.close()
                return
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return
            self._take(event)

    def _take(self, event: type[h11.NEED_DATA | h11.PAUSED] | h11.Event) -> None:
        if isinstance(event, h11.Request):
            self._head = event
            self._body.clear()
        elif isinstance(event, h11.Data):
            self._body += event.data
            if len(self._body) > MAX_BODY:
                self.reset()
        elif isinstance(event, h11.EndOfMessage) and self._head is not None:
            path, _, query = self._head.target.decode().partition("?")
            request = Request(
                method=self._head.method.decode(),
                path=path,
                headers={name.decode(): value.decode("latin-1") for name, value in self._head.headers},
                body=bytes(self._body),
                query=query,
            )
            self._task = asyncio.get_running_loop().create_task(self._serve(request))
        elif isinstance(event, h11.ConnectionClosed) and self._transport is not None:
            self._transport.close()

    async def _serve(self, request: Request) -> None:
        try:
            await self._handler(request, self)
        except Exception:  # noqa: BLE001 - a bug of ours: the client sees a reset, the log says why
            _log.exception("scripted model failed on %s", request.path)
            self.reset()
        self._task = None
        if self._transport is None:
            return
        if self._wire.our_state is h11.DONE and self._wire.their_state is h11.DONE:
            self._wire.start_next_cycle()
            self._advance()
        else:
            self._transport.close()


class LoopbackServer:
    """Listens on one loopback port."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._open: set[Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Returns the port, which matters when 0 was asked for."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self._handler, self._open), host, port, backlog=256)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        if self._server is None:
            return
        self._server.close()
        tasks = [task for connection in list(self._open) if (task := connection.close()) is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None
