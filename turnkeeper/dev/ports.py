"""Loopback ports: a free one, or the one that was asked for, with a clear error when it is taken."""

from __future__ import annotations

import socket
from typing import Final

from turnkeeper.dev.errors import PortInUseError

LOOPBACK: Final = "127.0.0.1"


def choose_port(asked: int, *, program: str, setting: str) -> int:
    """`asked`, or a free port when it is 0. Another process can still take it before the program binds it.

    Raises:
        PortInUseError: somebody listens on the port that was asked for.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: connections that linger after a restart do not count as "in use".
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, asked))
        except (OSError, OverflowError) as error:
            raise PortInUseError(
                f"Port {asked} for {program} (setting: {setting}) cannot be used: {error}. "
                "Stop what holds it, choose another port, or 0 for a free one."
            ) from error
        port: int = probe.getsockname()[1]
        return port
