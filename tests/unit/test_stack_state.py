"""The lock and the state file of the embedded stack, and what is found of a person's own OpenCode."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from turnkeeper.dev.errors import BinaryMissingError, StackHeldError, StackNotFoundError, StateDirectoryError
from turnkeeper.dev.opencode_binary import find_opencode
from turnkeeper.dev.opencode_setup import find_user_setup
from turnkeeper.dev.stack_state import (
    LOCK_FILE,
    STATE_FILE,
    Ports,
    StackLock,
    StackState,
    prepare_state_directory,
    read_ports,
    read_stack,
    refuse_leftovers,
    write_ports,
    write_state,
)

DEAD_PID = 2**22 - 3
"""Above what a test machine hands out; a process that is not there."""


def some_state(folder: Path, *, pids: dict[str, int] | None = None) -> StackState:
    return StackState(
        pid=DEAD_PID,
        started_at=time.time(),
        model_source="scripted",
        temporal_address="127.0.0.1:1",
        temporal_ui=None,
        namespace="default",
        opencode_url="http://127.0.0.1:2",
        opencode_username="opencode",
        opencode_password="secret",  # noqa: S106 - no password of anything
        opencode_version="1.18.33",
        opencode_boot_id="b",
        model_url=None,
        pids=pids or {},
        logs=folder / "logs",
    )


def test_a_running_stack_is_read_back_and_its_password_not_shown(tmp_path: Path) -> None:
    state = some_state(tmp_path)
    lock = StackLock(tmp_path).take()
    write_state(tmp_path, state)
    assert read_stack(tmp_path) == state
    assert "secret" not in repr(state)
    lock.release()


def test_a_file_without_a_lock_is_stale(tmp_path: Path) -> None:
    write_state(tmp_path, some_state(tmp_path))
    with pytest.raises(StackNotFoundError, match=f"pid {DEAD_PID}.* ended without cleaning up"):
        read_stack(tmp_path)
    StackLock(tmp_path).take().release()
    refuse_leftovers(tmp_path)
    assert not (tmp_path / STATE_FILE).exists()


@pytest.mark.parametrize("content", ["", "{", '{"pid": 1}', "[]"])
def test_a_broken_file_is_no_stack(tmp_path: Path, content: str) -> None:
    (tmp_path / STATE_FILE).write_text(content)
    with pytest.raises(StackNotFoundError, match="No stack runs"):
        read_stack(tmp_path)
    lock = StackLock(tmp_path).take()
    with pytest.raises(StackNotFoundError, match="is starting or stopping"):
        read_stack(tmp_path)
    lock.release()


def test_nothing_at_all_is_no_stack(tmp_path: Path) -> None:
    with pytest.raises(StackNotFoundError, match="turnkeeper dev"):
        read_stack(tmp_path / "nowhere")


def test_a_second_owner_is_told_about_the_first(tmp_path: Path) -> None:
    first = StackLock(tmp_path).take()
    with pytest.raises(StackHeldError, match=f"pid {os.getpid()}"):
        StackLock(tmp_path).take()
    first.release()
    StackLock(tmp_path).take().release()
    assert (tmp_path / LOCK_FILE).exists()


def test_a_living_child_of_a_dead_stack_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnkeeper.dev.stack_state.LEFTOVER_GRACE", 0.05)
    write_state(tmp_path, some_state(tmp_path, pids={"python": os.getpid()}))
    with pytest.raises(StackHeldError, match=f"kill {os.getpid()}"):
        refuse_leftovers(tmp_path)


def test_a_pid_that_now_belongs_to_another_program_is_not_a_leftover(tmp_path: Path) -> None:
    write_state(tmp_path, some_state(tmp_path, pids={"opencode serve": os.getpid()}))
    refuse_leftovers(tmp_path)


def test_ports_are_remembered_and_a_broken_file_is_forgotten(tmp_path: Path) -> None:
    assert read_ports(tmp_path) == Ports()
    write_ports(tmp_path, Ports(temporal=7233))
    assert read_ports(tmp_path).temporal == 7233
    (tmp_path / "ports.json").write_text("no")
    assert read_ports(tmp_path) == Ports()


# The person's own OpenCode.


def test_an_empty_home_has_no_setup(tmp_path: Path) -> None:
    setup = find_user_setup({"HOME": str(tmp_path), "PATH": "/bin"})
    assert not setup.usable


def test_logins_configurations_and_keys_are_found_by_name_only(tmp_path: Path) -> None:
    login = tmp_path / ".local" / "share" / "opencode" / "auth.json"
    login.parent.mkdir(parents=True)
    login.write_text(json.dumps({"anthropic": {"type": "api", "key": "sk-secret"}}))
    config = tmp_path / "xdg" / "opencode" / "opencode.jsonc"
    config.parent.mkdir(parents=True)
    config.write_text('{\n  // mine\n  "model": "a/b", /* "x" */ "url": "http://x//y",\n}')
    setup = find_user_setup({"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "xdg"), "OPENAI_API_KEY": "sk-1"})
    assert setup.found == ("login for anthropic", f"configuration {config}", "OPENAI_API_KEY in the environment")
    assert "sk-" not in str(setup)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"theme": "dark"}'])
def test_files_that_name_no_model_do_not_count(tmp_path: Path, content: str) -> None:
    for file in ("data/opencode/auth.json", "config/opencode/opencode.json"):
        (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / "data/opencode/auth.json").write_text("{}" if content.startswith('{"') else content)
    (tmp_path / "config/opencode/opencode.json").write_text(content)
    env = {"XDG_DATA_HOME": str(tmp_path / "data"), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    assert not find_user_setup(env).usable


# The directory.


def mode(folder: Path) -> int:
    return folder.stat().st_mode & 0o777


def test_a_state_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    state = tmp_path / "new" / "state"
    prepare_state_directory(state)
    assert {mode(folder) for folder in (state, *state.iterdir())} == {0o700}
    assert {folder.name for folder in state.iterdir()} == {"logs", "temporal", "opencode"}


@pytest.mark.parametrize("before", [0o750, 0o755, 0o700])
def test_a_directory_that_was_there_keeps_its_mode_and_hides_what_is_put_into_it(tmp_path: Path, before: int) -> None:
    state = tmp_path / "mine"
    state.mkdir()
    state.chmod(before)
    prepare_state_directory(state)
    assert mode(state) == before
    assert {mode(folder) for folder in state.iterdir()} == {0o700}


@pytest.mark.parametrize("others", [0o770, 0o707, 0o1777])
def test_a_directory_that_others_can_write_to_is_refused_untouched(tmp_path: Path, others: int) -> None:
    state = tmp_path / "shared"
    state.mkdir()
    state.chmod(others)
    with pytest.raises(StateDirectoryError, match=r"can be written to by other users.*chmod go-w .*shared"):
        prepare_state_directory(state)
    assert state.stat().st_mode & 0o7777 == others
    assert not list(state.iterdir())


# Where the program is.


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_named_program_comes_first_then_path_then_the_checkout(tmp_path: Path) -> None:
    named = program(tmp_path / "named")
    on_path = program(tmp_path / "bin" / "opencode")
    assert find_opencode(named, search_path=str(on_path.parent)) == named
    assert find_opencode(search_path=str(on_path.parent)) == on_path
    assert find_opencode(search_path="").name == "opencode"


def test_npms_starter_on_path_leads_to_the_real_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = tmp_path / "lib" / "node_modules"
    starter = program(modules / "opencode-ai" / "bin" / "opencode")
    monkeypatch.setattr("turnkeeper.dev.opencode_binary._package_names", lambda: iter(["opencode-here"]))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "opencode").symlink_to(starter)
    assert find_opencode(search_path=str(tmp_path / "bin")) == starter
    real = program(modules / "opencode-here" / "bin" / "opencode")
    assert find_opencode(search_path=str(tmp_path / "bin")) == real


def test_no_program_anywhere_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(BinaryMissingError, match="npm install"):
        find_opencode(search_path="", checkout=tmp_path)
    with pytest.raises(BinaryMissingError, match="is not a file"):
        find_opencode(tmp_path / "none")
