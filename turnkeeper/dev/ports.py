"""Loopback ports: a free one that stays ours over restarts, or the one that was asked for."""

from __future__ import annotations

import secrets
import socket
from typing import Final

from turnkeeper.dev.errors import PortInUseError

LOOPBACK: Final = "127.0.0.1"
FREE_PORTS: Final = range(20_000, 32_000)
"""Below the range kernels take outgoing ports from (Linux 32768, macOS 49152 and up): while a server is down for a
restart, no outgoing connection can sit on its port, not even a client's that keeps trying to reach it."""
TRIES: Final = 50
"""Random ports to try; on a machine where so many are taken, the kernel shall name one."""


def choose_port(asked: int, *, program: str, setting: str) -> int:
    """`asked`, or a free port when it is 0. Another process can still take it before the program binds it.

    Raises:
        PortInUseError: somebody listens on the port that was asked for.
    """
    if asked == 0:
        return _free_port()
    try:
        return _bound(asked)
    except (OSError, OverflowError) as error:
        raise PortInUseError(
            f"Port {asked} for {program} (setting: {setting}) cannot be used: {error}. "
            "Stop what holds it, choose another port, or 0 for a free one."
        ) from error


def _free_port() -> int:
    for _ in range(TRIES):
        try:
            return _bound(secrets.choice(FREE_PORTS))
        except OSError:  # taken: another one
            continue
    return _bound(0)


def _bound(port: int) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: connections that linger after a restart do not count as "in use".
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((LOOPBACK, port))
        bound: int = probe.getsockname()[1]
        return bound
