"""The worker's settings: endpoints and process limits, from one TOML file and the environment.

The environment wins over the file. Secrets stay here: `EndpointSettings` never enters a message, and its `repr`
shows neither address nor password. Temporal's own connection comes from the standard `TEMPORAL_*` variables and
profiles (`temporalio.envconfig`), never from here.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr, ValidationError, model_validator

from turnkeeper.errors import ConfigurationError
from turnkeeper.limits import MAX_RUNNING_TURNS, TurnLimits
from turnkeeper.messages import WORKFLOW_TASK_QUEUE
from turnkeeper.vocabulary import EndpointName

CONFIG_VARIABLE: Final = "TURNKEEPER_CONFIG"
ENDPOINT_PREFIX: Final = "TURNKEEPER_ENDPOINT_"
WORKER_PREFIX: Final = "TURNKEEPER_WORKER_"

WORKER_READY: Final = "turnkeeper worker is ready"
"""What a worker logs once it polls: supervisors wait for it."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EndpointSettings(_Strict):
    """One provider server. Only its name ever enters Temporal."""

    url: HttpUrl = Field(repr=False, description="base address of the OpenCode server")
    username: str = Field(default="opencode", description="HTTP Basic user; OpenCode's own default")
    password: SecretStr | None = Field(default=None, description="better: `password_env` or `password_file`")
    password_env: str | None = Field(default=None, description="name of the variable that holds the password")
    password_file: Path | None = Field(default=None, description="file that holds the password (a mounted secret)")
    ca_file: Path | None = Field(
        default=None, description="file with the CA that signed its certificate (PEM); no other is trusted then"
    )
    client_cert_file: Path | None = Field(
        default=None, description="certificate that it wants of its clients (PEM, a mounted secret)"
    )
    client_key_file: Path | None = Field(default=None, description="the private key of `client_cert_file`")
    roots: tuple[Path, ...] = Field(
        min_length=1, description="directories, on the provider's machine, that threads may work in"
    )
    shares_filesystem: bool = Field(
        default=True,
        description="the worker sees the provider's directories, so that links can be resolved and existence checked",
    )
    task_queue: str = Field(
        default=WORKFLOW_TASK_QUEUE, min_length=1, max_length=200, description="queue of the endpoint's activities"
    )
    limits: TurnLimits = TurnLimits()
    max_running_turns: Annotated[int, Field(ge=1, le=MAX_RUNNING_TURNS)] | None = Field(
        default=None,
        description="turns that run at once at this endpoint; others wait in their threads, first come, first served. "
        "None: no limit, and nothing is asked; one OpenCode process is planned at tens of live turns",
    )

    request_timeout: Annotated[float, Field(gt=0, le=60)] = Field(
        default=5.0, description="seconds for one provider call; the slowest seen under load was 2.5 s"
    )
    connect_timeout: Annotated[float, Field(gt=0, le=60)] = Field(
        default=2.0, description="seconds to connect; loopback or one network away"
    )
    stream_silence: Annotated[float, Field(gt=10, le=600)] = Field(
        default=30.0,
        description="seconds without a frame until the event stream counts as dead; OpenCode beats at 10",
    )
    max_response_bytes: Annotated[int, Field(ge=64 * 1024)] = Field(
        default=16 * 1024 * 1024,
        description="bytes of one answer; a bigger one is cut off while it comes in, and the messages are asked for in "
        "smaller pages. Reading so many keeps the worker from everything else for up to half a second",
    )

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        given = [self.password is not None, self.password_env is not None, self.password_file is not None]
        if sum(given) > 1:
            raise ValueError("give one of password, password_env and password_file")
        if not all(root.is_absolute() for root in self.roots):
            raise ValueError("roots must be absolute paths")
        return self

    @model_validator(mode="after")
    def _whole_tls(self) -> Self:
        if (self.client_cert_file is None) != (self.client_key_file is None):
            raise ValueError("give both of client_cert_file and client_key_file, or neither")
        files = (self.ca_file, self.client_cert_file)
        if self.url.scheme != "https" and any(file is not None for file in files):
            raise ValueError("ca_file and client_cert_file need an https address")
        return self

    def secret(self, environ: Mapping[str, str] = os.environ) -> str | None:
        """The password, read where the settings say; None when the endpoint has none.

        Raises:
            ConfigurationError: the variable is not set or the file cannot be read. Shows neither if it does not
                look like one: a password may have been put there by mistake.

        """
        if self.password_env is not None:
            value = environ.get(self.password_env)
            if value is None:
                found = self.password_env if re.fullmatch("[A-Z][A-Z0-9_]*", self.password_env) else "a name"
                raise ConfigurationError("password_env", f"{found}, which is not set", "the name of a set variable")
            return value
        if self.password_file is not None:
            try:
                return self.password_file.read_text().strip()
            except (OSError, UnicodeDecodeError, ValueError) as error:
                found = str(self.password_file) if self.password_file.is_absolute() else "a file"
                problem = f"{found} ({type(error).__name__})"
                raise ConfigurationError("password_file", problem, "a readable text file") from None
        return self.password.get_secret_value() if self.password else None

    def resolved(self, environ: Mapping[str, str]) -> EndpointSettings:
        """The same with the password in place; raises as `secret` does."""
        secret = self.secret(environ)
        password = SecretStr(secret) if secret is not None else None
        return self.model_copy(update={"password": password, "password_env": None, "password_file": None})


class WorkerSettings(_Strict):
    """Limits of one worker process."""

    task_queue: str = Field(default=WORKFLOW_TASK_QUEUE, min_length=1, max_length=200)
    max_cached_workflows: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=1000,
        description="workflows kept in memory, 100 kB each, and 5 kB more for each call that they made, which the SDK "
        "keeps; others are replayed when woken. Not 0: without a cache the SDK runs local calls again",
    )
    max_concurrent_activities: Annotated[int, Field(ge=2, le=10_000)] = Field(
        default=100, description="provider calls at once; each is a short HTTP exchange"
    )
    max_concurrent_workflow_tasks: Annotated[int, Field(ge=2, le=1000)] = Field(
        default=40, description="workflow tasks at once; they are CPU work in one process"
    )
    workflow_pollers: Annotated[int, Field(ge=2, le=100)] = Field(
        default=16,
        description="open polls for workflow tasks, half of them for new workflows: of the SDK's 5 only one asks for "
        "those, and 20 turns started at once waited half a second for it (measured)",
    )
    sticky_timeout: Annotated[float, Field(gt=0, le=60)] = Field(
        default=1.0,
        description="seconds until another worker takes over from a killed one (10 s by default)",
    )
    graceful_shutdown: Annotated[float, Field(ge=0, le=600)] = Field(
        default=20.0, description="seconds for calls in flight at shutdown; longer than any one activity"
    )
    deployment_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")] | None = Field(
        default=None,
        description="with `build_id`: a versioned worker, so that a running turn ends on the build that it began with. "
        "The same for all builds; see docs/versions.md",
    )
    build_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] | None = Field(
        default=None,
        description="which code this worker runs, such as an image's digest or a commit; another one for each. Nothing "
        "begins on it until `turnkeeper versions --promote` made it current",
    )
    run_relays: bool = Field(default=True, description="start the Endpoint workflows of the configured endpoints")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @model_validator(mode="after")
    def _whole_version(self) -> Self:
        if (self.deployment_name is None) != (self.build_id is None):
            raise ValueError("give both deployment_name and build_id, or neither")
        return self


class Settings(_Strict):
    """Everything a worker is configured with."""

    endpoints: dict[EndpointName, EndpointSettings] = Field(min_length=1)
    worker: WorkerSettings = WorkerSettings()

    @model_validator(mode="after")
    def _slots_beside_relays(self) -> Self:
        """A relay holds a slot for as long as it runs, whoever started it: all of a queue may come to one worker."""
        slots = self.worker.max_concurrent_activities
        for queue, relays in Counter(endpoint.task_queue for endpoint in self.endpoints.values()).items():
            if relays >= slots:
                raise ValueError(
                    f"worker.max_concurrent_activities is {slots}, and the relays of {relays} endpoints on the queue"
                    f" {queue!r} would take them all: set it to {relays + 1} at least"
                )
        return self


def load_settings(environ: Mapping[str, str] = os.environ, path: Path | None = None) -> Settings:
    """Settings from the file (`path`, else `TURNKEEPER_CONFIG`) and the environment.

    `TURNKEEPER_ENDPOINT_<NAME>_<FIELD>` sets a field of an endpoint (`_ROOTS` takes paths joined by colons; a dash
    in a name is an underscore there), `TURNKEEPER_WORKER_<FIELD>` one of the worker.

    Raises:
        ConfigurationError: one line that says which setting, what was found and what is allowed.

    """
    source = path or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    document = _read(source) if source else {}
    _overlay(document, environ)
    try:
        settings = Settings.model_validate(document)
    except ValidationError as error:
        raise _explain(error) from None
    resolved = {name: endpoint.resolved(environ) for name, endpoint in settings.endpoints.items()}
    return settings.model_copy(update={"endpoints": resolved})


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigurationError(CONFIG_VARIABLE, f"{path} ({error.strerror})", "a readable TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(CONFIG_VARIABLE, f"{path}, which is not TOML ({error})", "a TOML file") from error


def _overlay(document: dict[str, Any], environ: Mapping[str, str]) -> None:
    endpoint_fields = {name.upper(): name for name in EndpointSettings.model_fields if name != "limits"}
    worker_fields = {name.upper(): name for name in WorkerSettings.model_fields}
    for variable, value in environ.items():
        if variable.startswith(WORKER_PREFIX):
            field = worker_fields.get(variable.removeprefix(WORKER_PREFIX))
            if field is None:
                raise ConfigurationError(variable, "an unknown worker setting", ", ".join(sorted(worker_fields)))
            _table(document, "worker")[field] = value
        elif variable.startswith(ENDPOINT_PREFIX):
            rest = variable.removeprefix(ENDPOINT_PREFIX)
            match = next((key for key in endpoint_fields if rest.endswith(f"_{key}") and rest != f"_{key}"), None)
            if match is None:
                raise ConfigurationError(variable, "no known field at its end", ", ".join(sorted(endpoint_fields)))
            name = rest.removesuffix(f"_{match}").lower().replace("_", "-")
            parsed = value.split(os.pathsep) if match == "ROOTS" else value
            _table(_table(document, "endpoints"), name)[endpoint_fields[match]] = parsed


def _table(document: dict[str, Any], name: str) -> dict[str, Any]:
    """A table of the file, made if it is not there.

    Raises:
        ConfigurationError: the file has something else under that name.

    """
    table = document.setdefault(name, {})
    if not isinstance(table, dict):
        raise ConfigurationError(name, "a single value", "a table")
    return table


_SHOWN: Final = (
    {*EndpointSettings.model_fields, *WorkerSettings.model_fields, *TurnLimits.model_fields}
    - {"url", "password", "password_env", "password_file", "ca_file", "client_cert_file", "client_key_file"}
)  # fmt: skip
"""Settings whose wrong value is shown: none that holds a secret or an address, and none that is mistyped."""


def _explain(error: ValidationError) -> ConfigurationError:
    """The first problem as one line."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"]) or "configuration"
    field, value = (problem["loc"] or ("",))[-1], problem["input"]
    allowed = problem["msg"]
    if problem["type"] == "missing":
        found, allowed = "nothing", _meaning(problem["loc"])
    elif problem["type"] == "extra_forbidden":
        found, allowed = "an unknown setting", ", ".join(sorted(_table_of(problem["loc"]).model_fields))
    elif field in _SHOWN and not isinstance(value, dict):
        found = repr(value)[:200]
    else:
        found = "a wrong value"
    return ConfigurationError(where, found, allowed)


def _meaning(place: tuple[int | str, ...]) -> str:
    """What a required setting is."""
    if place == ("endpoints",):
        return f"[endpoints.NAME] in the file that {CONFIG_VARIABLE} names, or {ENDPOINT_PREFIX}NAME_URL and …_ROOTS"
    field = _table_of(place).model_fields.get(str(place[-1]))
    return (field.description if field is not None else None) or "a value"


def _table_of(place: tuple[int | str, ...]) -> type[BaseModel]:
    """The model of the table that a setting stands in."""
    match place:
        case ("endpoints", _, "limits", *_):
            return TurnLimits
        case ("endpoints", _, _, *_):
            return EndpointSettings
        case ("worker", _, *_):
            return WorkerSettings
        case _:
            return Settings
