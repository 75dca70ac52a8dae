"""`turnkeeper dev` with keys: terminals that have them use it as ever; its database holds no word of what was said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.test_cli import Machine
from tests.encryption import OLD, line
from turnkeeper.encryption_keys import KEYS_FILE

PROMPT: Final = "write hello.txt: Words-of-Ada"


@dataclass
class SealedMachine(Machine):
    """Its terminals have the keys, until they are taken away."""

    keys: Path | None = None

    def environment(self) -> dict[str, str]:
        return super().environment() | ({KEYS_FILE: str(self.keys)} if self.keys else {})

    def database(self) -> bytes:
        """Every byte that Temporal keeps."""
        return b"".join(file.read_bytes() for file in (self.state / "temporal").iterdir())


@pytest.fixture(params=[True, False], ids=["encrypted", "plain"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SealedMachine]:
    machine = SealedMachine(tmp_path)
    if request.param:
        machine.keys = tmp_path / "keys"
        machine.keys.touch(0o600)
        machine.keys.write_text(line(OLD))
    machine.workspace.mkdir()
    machine.start()
    yield machine
    if machine.stack is not None and machine.stack.process.poll() is None:
        machine.stack.process.terminate()
        machine.stack.ends()


def test_what_is_said_is_in_the_database_only_without_keys(machine: SealedMachine) -> None:
    code, said = machine.call("run", "--thread", "ada", PROMPT)
    assert code == 0, said
    assert (machine.workspace / "hello.txt").read_text() == "Words-of-Ada\n"
    code, said = machine.call("show", "ada")
    assert code == 0
    assert "Words-of-Ada" in said
    encrypted, machine.keys = machine.keys is not None, None
    code, said = machine.call("show", "ada")
    if encrypted:
        assert code == 2
        assert f"A payload is encrypted with the key '{OLD}', and encryption is off in this process" in said
        assert len(said.splitlines()) == 1
    password = machine.facts()["opencode_password"]
    assert machine.stop() == 0
    kept = machine.database()
    assert b"thread:ada" in kept
    assert (b"Words-of-Ada" in kept) is not encrypted
    assert password.encode() not in kept
