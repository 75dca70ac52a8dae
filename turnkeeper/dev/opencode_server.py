"""An OpenCode server (`opencode serve`) under supervision, hermetic or with the person's own setup.

*Hermetic*: own home and data under a state directory, the scripted model (or any provider given), nothing called
from outside, no configuration read from the workspace. *User*: the person's own home, login and configuration;
only the address and the password are ours.

Facts about 1.18.33: whoever has the password may run code as this user, so it is generated and the server listens on
loopback; SIGTERM ends it at once without draining, and tool processes it started survive it.
"""

from __future__ import annotations

import json
import os
import secrets
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import httpx
from pydantic import JsonValue

from turnkeeper.dev.opencode_binary import find_opencode
from turnkeeper.dev.ports import LOOPBACK, choose_port
from turnkeeper.dev.processes import SupervisedProcess
from turnkeeper.dev.tool_processes import MARK, end_tools

START_DEADLINE: Final = 60.0
"""Seconds until healthy: 3.5 to 7 s on two cores, several times that beside a build."""
STOP_GRACE: Final = 1.0
"""Seconds between SIGTERM and SIGKILL. It drains nothing on SIGTERM, and one in seven never ends, so waiting buys
nothing."""
PROBE_TIMEOUT: Final = 1.0
"""Seconds for one health question. Bounded because a request that arrives while the server starts may be accepted and
never answered (seen once: a curl still waited after five minutes on a healthy server)."""
USERNAME: Final = "opencode"
"""OpenCode's own default for HTTP Basic."""
PASSWORD_BYTES: Final = 24
"""192 random bits: it guards code execution."""
SCRIPTED_MODEL: Final = "scripted/scripted"
CONTEXT_LIMIT: Final = 200_000
OUTPUT_LIMIT: Final = 8_000
"""Tokens the scripted model claims to take and give; more input than the first makes OpenCode compact."""

HERMETIC_SWITCHES: Final = (
    "OPENCODE_DISABLE_PROJECT_CONFIG",
    "OPENCODE_PURE",
    "OPENCODE_DISABLE_DEFAULT_PLUGINS",
    "OPENCODE_DISABLE_EXTERNAL_SKILLS",
    "OPENCODE_DISABLE_CLAUDE_CODE",
    "OPENCODE_DISABLE_AUTOUPDATE",
    "OPENCODE_DISABLE_MODELS_FETCH",
    "OPENCODE_DISABLE_LSP_DOWNLOAD",
    "OPENCODE_DISABLE_SHARE",
    "OPENCODE_EXPERIMENTAL_DISABLE_FILEWATCHER",
)
"""No plugins, no foreign configuration, no calls home, no watcher noise."""
_INHERITED: Final = ("PATH", "LANG", "LC_ALL", "TZ", "TERM", "TMPDIR", "SHELL", "USER", "LOGNAME")
"""All a hermetic server takes from our environment: what its shell tool needs, no keys."""
_OURS: Final = "TURNKEEPER_"
"""Our own variables, which hold keys and tokens, are no business of an agent with a shell."""

Permissions = Mapping[str, JsonValue]


class OpenCodeServer:
    """One server process. Make it with `hermetic` or `for_user`."""

    def __init__(
        self,
        *,
        log: Path,
        environment: Mapping[str, str],
        directory: Path,
        program: Path | None,
        port: int,
        password: str | None,
        boot_marker: bool,
    ) -> None:
        """`directory` is the server's own working directory, used for calls that name none."""
        self.username = USERNAME
        self.password = password or secrets.token_urlsafe(PASSWORD_BYTES)
        self.version = ""
        self.boot_id: str | None = None
        self.port = choose_port(port, program="OpenCode", setting="opencode port")
        self._environment = dict(environment)
        self._environment |= {"OPENCODE_SERVER_USERNAME": self.username, "OPENCODE_SERVER_PASSWORD": self.password}
        self._mark = str(uuid.uuid4())
        self._environment[MARK] = self._mark
        self._boot_marker = boot_marker
        self._probe: httpx.AsyncClient | None = None  # one for a whole start: making a client costs 20 ms
        directory.mkdir(parents=True, exist_ok=True)
        command = (str(find_opencode(program)), "serve", "--hostname", LOOPBACK, "--port", str(self.port))
        self.process = SupervisedProcess(
            "OpenCode", command, log=log, ready=self._is_healthy, start_deadline=START_DEADLINE, directory=directory
        )

    @classmethod
    def hermetic(  # noqa: PLR0913 - independent settings, all by keyword
        cls,
        *,
        state: Path,
        log: Path,
        model_url: str,
        permissions: Permissions | None = None,
        provider_options: Mapping[str, JsonValue] | None = None,
        extra_config: Mapping[str, JsonValue] | None = None,
        program: Path | None = None,
        port: int = 0,
        password: str | None = None,
    ) -> Self:
        """A server that keeps everything under `state` and asks the model at `model_url` (an OpenAI base URL).

        `permissions` are OpenCode's rules, for example `{"bash": {"*": "allow", "rm *": "ask"}}`; `provider_options`
        go to the provider (`headerTimeout`, `chunkTimeout` in ms); `extra_config` is merged over the rest.
        """
        config = scripted_config(model_url, permissions or {}, provider_options or {}) | dict(extra_config or {})
        environment = hermetic_environment(state) | {"OPENCODE_CONFIG_CONTENT": json.dumps(config)}
        directory = state / "server"
        return cls(
            log=log, environment=environment, directory=directory, program=program, port=port, password=password,
            boot_marker=True,
        )  # fmt: skip

    @classmethod
    def for_user(
        cls,
        *,
        log: Path,
        directory: Path,
        program: Path | None = None,
        port: int = 0,
        password: str | None = None,
    ) -> Self:
        """A server with the person's own home, configuration and login, and a database of its own beside `directory`.

        Two servers on one database have no lock between them: both would run one session at the same time (measured
        on 1.18.33), and the person's own OpenCode may well be open.
        """
        theirs = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        environment = {**theirs, "OPENCODE_DB": str(directory.resolve().parent / "opencode.db")}
        return cls(
            log=log, environment=environment, directory=directory, program=program, port=port, password=password,
            boot_marker=False,
        )  # fmt: skip

    @property
    def base_url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def client(self, *, timeout: float = 10.0) -> httpx.AsyncClient:
        """A client with address and password set, deaf to the environment's proxies."""
        auth = httpx.BasicAuth(self.username, self.password)
        return httpx.AsyncClient(base_url=self.base_url, auth=auth, timeout=timeout, trust_env=False)

    async def start(self) -> Self:
        if not self.process.running:
            self.process.environment = self._environment_of_this_boot()
        async with self.client(timeout=PROBE_TIMEOUT) as self._probe:
            await self.process.start()
        return self

    async def stop(self) -> None:
        """The server, and what its tools left running."""
        await self.process.stop(STOP_GRACE)
        await end_tools(self._mark)

    async def kill(self) -> None:
        """Kill -9. Running tools survive it, as they would in production without a container."""
        await self.process.kill()

    async def restart(self) -> None:
        """Again on the same port, with the same data and password and a new boot id."""
        await self.stop()
        await self.start()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _environment_of_this_boot(self) -> dict[str, str]:
        if not self._boot_marker:
            return self._environment
        # OpenCode has no boot id; `username` of its configuration is free to carry one (read it by GET /config).
        self.boot_id = str(uuid.uuid4())
        config = json.loads(self._environment["OPENCODE_CONFIG_CONTENT"]) | {"username": self.boot_id}
        return self._environment | {"OPENCODE_CONFIG_CONTENT": json.dumps(config)}

    async def _is_healthy(self) -> bool:
        if self._probe is None:
            return False
        try:
            answer = await self._probe.get("/global/health")
            # Unknown paths answer 200 with a web page, so the body decides.
            health = answer.json() if answer.is_success else {}
        except (httpx.HTTPError, ValueError):
            return False
        self.version = str(health.get("version", ""))
        return health.get("healthy") is True


def hermetic_environment(state: Path) -> dict[str, str]:
    """The environment of a server that neither reads nor leaves anything outside `state`."""
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    folders = {"HOME": "home", "XDG_DATA_HOME": "data", "XDG_CONFIG_HOME": "config"}
    folders |= {"XDG_CACHE_HOME": "cache", "XDG_STATE_HOME": "state"}
    for variable, name in folders.items():
        folder = (state / name).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        environment[variable] = str(folder)
    return environment | dict.fromkeys(HERMETIC_SWITCHES, "1")


def scripted_config(
    model_url: str, permissions: Permissions, provider_options: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """OpenCode's configuration for the scripted model."""
    model: dict[str, JsonValue] = {
        "name": "Scripted model",
        "tool_call": True,
        "limit": {"context": CONTEXT_LIMIT, "output": OUTPUT_LIMIT},
    }
    provider: dict[str, JsonValue] = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "Scripted",
        # A key must be there for OpenCode to offer the provider; the scripted model reads none.
        "options": {"baseURL": model_url, "apiKey": "none", **provider_options},
        "models": {"scripted": model},
    }
    return {
        "share": "disabled",
        "autoupdate": False,
        "snapshot": False,
        "model": SCRIPTED_MODEL,
        "small_model": SCRIPTED_MODEL,
        "provider": {"scripted": provider},
        "enabled_providers": ["scripted"],
        "permission": dict(permissions),
    }
