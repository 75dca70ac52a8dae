"""Server-sent events cut out of a byte stream. Pure.

OpenCode sends one `data:` line an event and no other field (measured on 1.18.33), so a line is a frame. A general
decoder (httpx-sse) looks at every line as text and costs several times more a token.
"""

from __future__ import annotations

from typing import Final

DATA: Final = b"data:"

MAX_FRAME_BYTES: Final = 4 * 1024 * 1024
"""A stored tool output is the biggest thing in a frame, some hundred kilobytes; a bigger frame is not held."""


class FrameSplitter:
    """Feed it what was read; it gives the data of every completed frame. Holds at most one unfinished frame."""

    def __init__(self, limit: int = MAX_FRAME_BYTES) -> None:
        """`limit` in bytes of one frame; a longer one is dropped and counted."""
        self._limit = limit
        self._held = bytearray()
        self._dropping = False
        self.oversized = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Frames that this chunk completes, oldest first."""
        lines = chunk.split(b"\n")
        unfinished = lines.pop()
        if lines and (self._held or self._dropping or len(lines[0]) > self._limit):
            lines[0] = self._release(lines[0])
        if unfinished:
            self._hold(unfinished)
        return [line[len(DATA) :].strip() for line in lines if line.startswith(DATA)]

    def _hold(self, piece: bytes) -> None:
        if self._dropping:
            return
        if len(self._held) + len(piece) > self._limit:
            self._dropping = True
            self.oversized += 1
            self._held = bytearray()
        else:
            self._held += piece

    def _release(self, last: bytes) -> bytes:
        self._hold(last)
        line = bytes(self._held)
        self._held = bytearray()
        self._dropping = False
        return line
