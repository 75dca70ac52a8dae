"""A server that speaks just enough gRPC to see who calls: whoever shows the key gets empty answers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamEnded

from tests.certificates import CHUNK
from tests.listening import listening

EMPTY_MESSAGE: Final = bytes(5)
"""Not compressed, no bytes: every field of the answer has its default."""
UNAUTHENTICATED: Final = "16"


@dataclass
class GrpcKeeper:
    """`seen`: the `authorization` header of every call, None where there was none."""

    key: str
    port: int = 0
    seen: list[str | None] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        wire.initiate_connection()
        let_in: dict[int, bool] = {}
        writer.write(wire.data_to_send())
        while data := await reader.read(CHUNK):
            for event in wire.receive_data(data):
                if isinstance(event, RequestReceived):
                    headers = {str(name): str(value) for name, value in event.headers}
                    self.seen.append(headers.get("authorization"))
                    let_in[event.stream_id] = self.seen[-1] == f"Bearer {self.key}"
                elif isinstance(event, StreamEnded):
                    self._answer(wire, event.stream_id, let_in=let_in.pop(event.stream_id))
            writer.write(wire.data_to_send())
            await writer.drain()

    def _answer(self, wire: H2Connection, stream: int, *, let_in: bool) -> None:
        head = [(":status", "200"), ("content-type", "application/grpc")]
        if not let_in:
            said = [("grpc-status", UNAUTHENTICATED), ("grpc-message", f"no key like {self.seen[-1]}")]
            wire.send_headers(stream, [*head, *said], end_stream=True)
            return
        wire.send_headers(stream, head)
        wire.send_data(stream, EMPTY_MESSAGE)
        wire.send_headers(stream, [("grpc-status", "0")], end_stream=True)


@asynccontextmanager
async def keeping(key: str, context: ssl.SSLContext | None) -> AsyncIterator[GrpcKeeper]:
    """One that listens on loopback, with TLS or in clear."""
    keeper = GrpcKeeper(key)
    async with listening(keeper.serve, context=context) as keeper.port:
        yield keeper
