"""The keys of payload encryption: where they are read from, and what is refused before anything starts.

One key a line, `ID:BASE64` of 32 random bytes; `#` begins a comment. The first key writes, every key reads. To rotate:
add the new key below everywhere, then move it to the top everywhere; take an old one away once nothing that it wrote is
kept. No text here ever shows what is in a line: half a key is still a secret.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from turnkeeper.errors import ConfigurationError
from turnkeeper.private_files import read_private

PREFIX: Final = "TURNKEEPER_ENCRYPTION_"
KEYS: Final = f"{PREFIX}KEYS"
KEYS_FILE: Final = f"{PREFIX}KEYS_FILE"

KEY_BYTES: Final = 32
"""AES-256."""

LINE_FORM: Final = f"ID:BASE64, where BASE64 is {KEY_BYTES} random bytes (openssl rand -base64 {KEY_BYTES})"

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class EncryptionSettings(BaseModel):
    """Read by everything that talks to Temporal: worker, client, command line, codec server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys_file: Path | None = Field(
        default=None,
        description="file with the keys (a mounted secret that others cannot read); switches encryption on. "
        f"One line a key, `ID:BASE64` of {KEY_BYTES} random bytes; the first writes, all read",
    )
    keys: SecretStr | None = Field(
        default=None, description="instead of the file: the same lines, joined by commas or line breaks"
    )
    plain: Literal["accept", "refuse"] = Field(
        default="accept",
        description="payloads that are not encrypted: `accept` while what was written before encryption is still "
        "there, `refuse` after that. A refused one holds its workflow up, and is never lost",
    )


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Keys by id. `write` is the id of the one that encrypts."""

    write: str
    keys: Mapping[str, bytes] = field(repr=False)
    accepts_plain: bool = True


def load_keys(environ: Mapping[str, str] = os.environ) -> KeyRing | None:
    """The keys that the environment names; None when encryption is off.

    Raises:
        ConfigurationError: one line without any key. A misspelt variable counts: it would leave encryption off.

    """
    given = {name.removeprefix(PREFIX).lower(): value for name, value in environ.items() if name.startswith(PREFIX)}
    try:
        settings = EncryptionSettings.model_validate(given)
    except ValidationError as error:
        raise _explain(error) from None
    if settings.keys is not None and settings.keys_file is not None:
        raise ConfigurationError(KEYS, f"{KEYS_FILE} as well", "one of them")
    if settings.keys_file is not None:
        text = read_private(settings.keys_file, KEYS_FILE)
        return parse_keys(text, KEYS_FILE, accepts_plain=settings.plain == "accept")
    if settings.keys is not None:
        text = settings.keys.get_secret_value().replace(",", "\n")
        return parse_keys(text, KEYS, accepts_plain=settings.plain == "accept")
    if "plain" in given and settings.plain == "refuse":
        raise ConfigurationError(f"{PREFIX}PLAIN", "'refuse' without keys", f"it with {KEYS_FILE}")
    return None


def parse_keys(text: str, setting: str, *, accepts_plain: bool = True) -> KeyRing:
    """The keys in `text`, which came from `setting`.

    Raises:
        ConfigurationError: names the line by its number, never by its content.

    """
    keys: dict[str, bytes] = {}
    for number, line in _lines(text):
        key_id, colon, encoded = (part.strip() for part in line.partition(":"))
        where = f"{setting}, line {number}"
        if not colon or not _ID.fullmatch(key_id):
            allowed = f"{LINE_FORM}, and ID is up to 64 letters, digits, dots, dashes and underscores"
            raise ConfigurationError(where, "no key with an id", allowed)
        if key_id in keys:
            raise ConfigurationError(where, "the id of an earlier key", "each id once")
        keys[key_id] = _key(encoded, where)
    if not keys:
        raise ConfigurationError(setting, "no key", f"lines of the form {LINE_FORM}")
    return KeyRing(next(iter(keys)), keys, accepts_plain)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if content := line.partition("#")[0].strip():
            yield number, content


def _key(encoded: str, where: str) -> bytes:
    try:
        key = base64.b64decode(encoded.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ConfigurationError(where, "a key that is not base64", LINE_FORM) from None
    if len(key) != KEY_BYTES:
        raise ConfigurationError(where, f"a key of {len(key)} bytes", LINE_FORM)
    return key


def _explain(error: ValidationError) -> ConfigurationError:
    problem = error.errors(include_url=False, include_input=False)[0]
    variable = PREFIX + str(problem["loc"][0]).upper()
    if problem["type"] == "extra_forbidden":
        known = ", ".join(PREFIX + name.upper() for name in EncryptionSettings.model_fields)
        return ConfigurationError(variable, "an unknown setting", known)
    return ConfigurationError(variable, "a wrong value", problem["msg"])
