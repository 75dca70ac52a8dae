"""Keys that cannot be used are refused at start, in one line that shows nothing of them."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.encryption import KEYS, NEW, OLD, line, ring
from turnkeeper.encryption_keys import load_keys, parse_keys
from turnkeeper.errors import ConfigurationError

FILE = "TURNKEEPER_ENCRYPTION_KEYS_FILE"
INLINE = "TURNKEEPER_ENCRYPTION_KEYS"
PLAIN = "TURNKEEPER_ENCRYPTION_PLAIN"


def key_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "keys"
    path.write_text(text)
    path.chmod(mode)
    return path


def complaint(environ: dict[str, str]) -> str:
    with pytest.raises(ConfigurationError) as refused:
        load_keys(environ)
    said = str(refused.value)
    assert len(said.splitlines()) == 1
    assert "found " in said
    assert "allowed: " in said
    return said


def test_without_a_setting_encryption_is_off() -> None:
    assert load_keys({}) is None
    assert load_keys({PLAIN: "accept"}) is None


def test_a_file_of_keys(tmp_path: Path) -> None:
    text = f"# rotated in November\n{line(NEW)}\n\n  {line(OLD)}  # until June\n"
    assert load_keys({FILE: str(key_file(tmp_path, text))}) == ring(NEW, OLD)


def test_keys_in_the_environment() -> None:
    assert load_keys({INLINE: f"{line(OLD)},{line(NEW)}"}) == ring(OLD, NEW)
    assert load_keys({INLINE: line(OLD), PLAIN: "refuse"}) == ring(OLD, accepts_plain=False)


def test_nothing_shows_a_key() -> None:
    shown = repr(load_keys({INLINE: line(OLD)}))
    assert OLD in shown
    assert repr(KEYS[OLD])[2:-1] not in shown
    assert base64.b64encode(KEYS[OLD]).decode() not in shown


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440, 0o640])
def test_a_mounted_secret_may_be_readable_by_a_group(tmp_path: Path, mode: int) -> None:
    assert load_keys({FILE: str(key_file(tmp_path, line(OLD), mode))}) == ring()


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o620, 0o666])
def test_a_file_that_others_can_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    said = complaint({FILE: str(key_file(tmp_path, line(OLD), mode))})
    assert f"with mode {mode:04o}; allowed: one that others can neither read nor change (chmod 600 " in said


BAD_LINES = {
    "no key with an id": ["secretsecret", ":c2VjcmV0", "a b:c2VjcmV0", "=:c2VjcmV0", "x" * 65 + ":c2VjcmV0"],
    "a key that is not base64": ["a:sécret", "a:secret!", "a:c2VjcmV", "a:c2Vj cmV0"],
    "a key of 0 bytes": ["a:"],
    "a key of 6 bytes": ["a:c2VjcmV0"],
    "a key of 33 bytes": ["a:" + base64.b64encode(b"secret" * 5 + b"sec").decode()],
}


@pytest.mark.parametrize(("why", "wrong"), [(why, wrong) for why, lines in BAD_LINES.items() for wrong in lines])
def test_a_wrong_line_is_named_by_its_number(why: str, wrong: str) -> None:
    said = complaint({INLINE: f"{line(OLD)}\n{wrong}"})
    assert said.startswith(f"{INLINE}, line 2: found {why}; allowed: ")
    assert "secret" not in said
    assert "c2Vj" not in said


def test_the_same_id_twice_is_refused() -> None:
    assert f"{INLINE}, line 2: found the id of an earlier key; allowed: each id once" in complaint(
        {INLINE: f"{line(OLD)},{OLD}:{base64.b64encode(KEYS[NEW]).decode()}"}
    )


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing yet\n"])
def test_no_key_at_all_is_not_off(text: str) -> None:
    assert f"{INLINE}: found no key" in complaint({INLINE: text})


@pytest.mark.parametrize("name", ["TURNKEEPER_ENCRYPTION_KEY", "TURNKEEPER_ENCRYPTION_KEY_FILE"])
def test_a_misspelt_setting_does_not_leave_encryption_off(name: str) -> None:
    said = complaint({name: "hush"})
    assert said.startswith(f"{name}: found an unknown setting; allowed: {FILE}, ")
    assert "hush" not in said


def test_refusing_plain_payloads_without_keys_would_refuse_everything() -> None:
    assert "'refuse' without keys" in complaint({PLAIN: "refuse"})
    assert f"{PLAIN}: found a wrong value" in complaint({PLAIN: "reject", INLINE: line(OLD)})


def test_a_file_and_keys_of_its_own_are_one_too_many(tmp_path: Path) -> None:
    assert "allowed: one of them" in complaint({FILE: str(key_file(tmp_path, line(OLD))), INLINE: line(OLD)})


def test_a_file_that_is_none(tmp_path: Path) -> None:
    assert "FileNotFoundError" in complaint({FILE: str(tmp_path / "none")})
    assert "no file of secrets" in complaint({FILE: str(tmp_path)})
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    assert "no file of secrets" in complaint({FILE: str(pipe)})
    assert "no file of secrets" in complaint({FILE: str(key_file(tmp_path, "#" * 70_000))})
    binary = key_file(tmp_path, "")
    binary.write_bytes(b"\xff\xfe")
    assert "which is no text" in complaint({FILE: str(binary)})


def test_a_key_that_was_put_where_the_path_belongs_is_not_shown() -> None:
    said = complaint({FILE: line(OLD)})
    assert line(OLD) not in said
    assert "allowed: the absolute path of a file" in said


@given(st.text(max_size=60))
def test_whatever_is_given_is_no_key_and_said_in_one_line(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_keys(text, INLINE)
    assert len(str(refused.value).splitlines()) == 1


def test_the_modes_of_the_tests_are_real(tmp_path: Path) -> None:
    assert stat.S_IMODE(key_file(tmp_path, "", 0o604).stat().st_mode) == 0o604
