"""`turnkeeper codec-server`: payloads in clear for the Temporal UI and CLI, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Final

from turnkeeper.cli.dev import say
from turnkeeper.cli.endings import Exit
from turnkeeper.cli.presses import asked_to_end
from turnkeeper.cli.tasks import Tasks
from turnkeeper.codec_server_settings import PREFIX, CodecServerSettings, load_codec_server
from turnkeeper.encryption_keys import KEYS_FILE, load_keys
from turnkeeper.errors import ConfigurationError

CONNECTIONS: Final = 200
"""At once; more are answered with 503. A page of the UI opens six."""

GRACE: Final = 5
"""Seconds for requests under way when it is stopped."""


async def codec_server(environ: Mapping[str, str] = os.environ) -> Exit:
    """Serve until asked to end.

    Raises:
        ConfigurationError: a setting, a key or the port cannot be used.

    """
    ring = load_keys(environ)
    if ring is None:
        raise ConfigurationError(KEYS_FILE, "nothing", "the keys that the workers have")
    settings = load_codec_server(environ)
    if importlib.util.find_spec("uvicorn") is None or importlib.util.find_spec("starlette") is None:
        raise ConfigurationError("codec-server", "not installed", "pip install 'turnkeeper[codec-server]'")
    import uvicorn  # noqa: PLC0415 - an extra, and only this command pays for the import

    from turnkeeper.codec_server import codec_app  # noqa: PLC0415 - as above

    class Server(uvicorn.Server):
        """Signals are ours: its own way of ending by one would look like a crash."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    config = uvicorn.Config(
        codec_app(ring, settings),
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=GRACE,
        lifespan="off",
    )
    server = Server(config)
    with _listening(settings) as listener, asked_to_end() as asked:
        host, port = listener.getsockname()[:2]
        say(f"codec server on http://{host}:{port} for {', '.join(settings.origins)}, namespace {settings.namespace}")
        async with Tasks() as tasks:
            serving = tasks.start(server.serve(sockets=[listener]))
            ending = tasks.start(asked.once.wait())
            await asyncio.wait({serving, ending}, return_when=asyncio.FIRST_COMPLETED)
            server.should_exit = True
            await serving
    say("stopped")
    return Exit.OK


def _listening(settings: CodecServerSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, reuse_port=False)
    except OSError as error:
        found = f"{settings.host} port {settings.port} ({error.strerror or type(error).__name__})"
        raise ConfigurationError(f"{PREFIX}PORT", found, "a free port at an address of this machine") from None
