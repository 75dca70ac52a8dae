"""Settings of the codec server, from the environment. It does not start without a token and the UI's origin."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from turnkeeper.errors import ConfigurationError
from turnkeeper.private_files import read_private

PREFIX: Final = "TURNKEEPER_CODEC_SERVER_"

TOKEN_CHARACTERS: Final = 32
"""At least: a token that nobody guesses, however many tries the server answers. openssl rand -hex 32 gives 64."""

_ORIGIN: Final = re.compile(r"https?://[a-z0-9.\[\]:-]+")


class CodecServerSettings(BaseModel):
    """What the codec server is started with; its keys are those of everybody."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ui_origin: str = Field(
        description="origin of the Temporal UI, as `https://temporal.example.com`; several with commas. Pages from "
        "elsewhere are refused"
    )
    token_file: Path | None = Field(
        default=None, description=f"file with the token that opens it, at least {TOKEN_CHARACTERS} characters"
    )
    token: SecretStr | None = Field(default=None, description="the token itself; better: `token_file`")
    namespace: str = Field(default="default", min_length=1, description="Temporal namespace that is served")
    host: str = Field(default="127.0.0.1", description="address to listen at; elsewhere only behind a proxy with TLS")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(default=8081, description="port to listen at; 0 for a free one")
    max_body_bytes: Annotated[int, Field(ge=1024, le=1024**3)] = Field(
        default=16 * 1024 * 1024,
        description="bytes of one request: what Temporal answers at once (4 MB), as JSON, and slack",
    )

    @field_validator("ui_origin")
    @classmethod
    def _origins(cls, value: str) -> str:
        for origin in value.split(","):
            if not _ORIGIN.fullmatch(origin.strip()):
                raise ValueError("an origin is scheme://host[:port] in lower case, without a path")
        return value

    @model_validator(mode="after")
    def _a_token(self) -> Self:
        if (self.token is None) == (self.token_file is None):
            raise ValueError(f"one of {PREFIX}TOKEN_FILE and {PREFIX}TOKEN")
        return self

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of the UI."""
        return tuple(origin.strip() for origin in self.ui_origin.split(","))

    @property
    def secret(self) -> str:
        """The token, once `load_codec_server` has read it."""
        return self.token.get_secret_value() if self.token is not None else ""


def load_codec_server(environ: Mapping[str, str] = os.environ) -> CodecServerSettings:
    """Settings with the token in place.

    Raises:
        ConfigurationError: one line that says which setting, and shows no token.

    """
    given = {name.removeprefix(PREFIX).lower(): value for name, value in environ.items() if name.startswith(PREFIX)}
    try:
        settings = CodecServerSettings.model_validate(given)
    except ValidationError as error:
        raise _explain(error) from None
    if settings.token_file is not None:
        token = read_private(settings.token_file, f"{PREFIX}TOKEN_FILE").strip()
        settings = settings.model_copy(update={"token": SecretStr(token)})
    if len(settings.secret) < TOKEN_CHARACTERS or not settings.secret.isascii():
        allowed = f"at least {TOKEN_CHARACTERS} ASCII characters (openssl rand -hex 32)"
        raise ConfigurationError(f"{PREFIX}TOKEN", f"{len(settings.secret)} characters", allowed)
    return settings


def _explain(error: ValidationError) -> ConfigurationError:
    problem: Any = error.errors(include_url=False, include_input=False)[0]
    name = str(problem["loc"][0]) if problem["loc"] else "token_file"
    variable = PREFIX + name.upper()
    if problem["type"] == "missing":
        meaning = CodecServerSettings.model_fields[name].description or ""
        return ConfigurationError(variable, "nothing", meaning)
    if problem["type"] == "extra_forbidden":
        known = ", ".join(PREFIX + name.upper() for name in CodecServerSettings.model_fields)
        return ConfigurationError(variable, "an unknown setting", known)
    return ConfigurationError(variable, "a wrong value", problem["msg"].removeprefix("Value error, "))
