"""Does this person have an OpenCode that can reach a model? Looks at logins, configuration and API keys.

Only names ever leave this file: never a key, a token or a line of a configuration.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

API_KEYS: Final = (
    "ANTHROPIC_API_KEY",
    "OPENAI_API_KEY",
    "OPENROUTER_API_KEY",
    "GOOGLE_GENERATIVE_AI_API_KEY",
    "GEMINI_API_KEY",
    "GROQ_API_KEY",
    "MISTRAL_API_KEY",
    "DEEPSEEK_API_KEY",
    "XAI_API_KEY",
    "OPENCODE_API_KEY",
    "AZURE_API_KEY",
    "AWS_BEARER_TOKEN_BEDROCK",
)
"""Variables that OpenCode's model catalogue names for the common providers."""
_CONFIG_NAMES: Final = ("opencode.json", "opencode.jsonc", "config.json")
_COMMENT_OR_STRING: Final = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING_COMMA: Final = re.compile(r",(?=\s*[}\]])")


class UserSetup(NamedTuple):
    """What was found, in words for a person."""

    found: tuple[str, ...]

    @property
    def usable(self) -> bool:
        """Something names a model or a login. Whether the provider accepts it is not known."""
        return bool(self.found)


def find_user_setup(environment: Mapping[str, str] | None = None) -> UserSetup:
    """The person's own OpenCode, by `environment` (default: this process's)."""
    env = os.environ if environment is None else environment
    return UserSetup((*_logins(env), *_configurations(env), *_keys(env)))


def _logins(env: Mapping[str, str]) -> Iterator[str]:
    data = _folder(env, "XDG_DATA_HOME", ".local/share")
    stored = _read_object(data / "opencode" / "auth.json") if data else {}
    if stored:
        yield f"login for {', '.join(sorted(stored))}"
    if env.get("OPENCODE_AUTH_CONTENT"):
        yield "login in OPENCODE_AUTH_CONTENT"


def _configurations(env: Mapping[str, str]) -> Iterator[str]:
    config = _folder(env, "XDG_CONFIG_HOME", ".config")
    files = [config / "opencode" / name for name in _CONFIG_NAMES] if config else []
    if named := env.get("OPENCODE_CONFIG"):
        files.append(Path(named))
    for file in files:
        if _names_a_model(_read_object(file)):
            yield f"configuration {file}"
    if _names_a_model(_parse(env.get("OPENCODE_CONFIG_CONTENT", ""))):
        yield "configuration in OPENCODE_CONFIG_CONTENT"


def _keys(env: Mapping[str, str]) -> Iterator[str]:
    for name in API_KEYS:
        if env.get(name):
            yield f"{name} in the environment"


def _folder(env: Mapping[str, str], variable: str, below_home: str) -> Path | None:
    if named := env.get(variable):
        return Path(named)
    home = env.get("HOME")
    return Path(home) / below_home if home else None


def _names_a_model(config: Mapping[str, object]) -> bool:
    return bool(config.get("model") or config.get("provider"))


def _read_object(file: Path) -> Mapping[str, object]:
    try:
        return _parse(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return {}


def _parse(text: str) -> Mapping[str, object]:
    """JSON with comments and trailing commas, as OpenCode reads it; anything broken counts as empty."""
    plain = _COMMENT_OR_STRING.sub(lambda found: found.group() if found.group().startswith('"') else " ", text)
    try:
        value = json.loads(_TRAILING_COMMA.sub("", plain))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
