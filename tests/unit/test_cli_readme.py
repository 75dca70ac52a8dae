"""The README says what the code does: commands, reasons, variables and the configuration it shows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import typer

from turnkeeper.cli.app import app
from turnkeeper.cli.dev import StackOrder, addresses, choose_model
from turnkeeper.cli.endings import DEBUG_VARIABLE
from turnkeeper.cli.service import STATE_VARIABLE, UI_VARIABLE
from turnkeeper.dev.opencode_setup import UserSetup
from turnkeeper.dev.stack_state import Ports, StackState
from turnkeeper.settings import CONFIG_VARIABLE, ENDPOINT_PREFIX, WORKER_PREFIX, Settings
from turnkeeper.vocabulary import Reason

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def test_every_reason_is_in_the_readme() -> None:
    assert [reason for reason in Reason if f"`{reason}`" not in README] == []


def test_every_command_and_variable_is_in_the_readme() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # it is a group
    assert [name for name in commands if not re.search(rf"`{name}[ `]", README)] == []
    variables = (STATE_VARIABLE, UI_VARIABLE, DEBUG_VARIABLE, CONFIG_VARIABLE, ENDPOINT_PREFIX, WORKER_PREFIX)
    assert [name for name in variables if name not in README] == []


def test_what_dev_prints_is_in_the_readme_as_it_is() -> None:
    found = re.search(
        r"  Temporal UI   (http\S+)\n  Temporal      (\S+), namespace.*\n  OpenCode      (http\S+), version", README
    )
    assert found is not None
    ui, temporal, opencode = found.groups()
    assert {"7233", "8233"}.isdisjoint({temporal.rpartition(":")[2], ui.rpartition(":")[2]}), "ports are free ones"
    state = StackState(
        pid=1,
        started_at=0.0,
        model_source="scripted",
        temporal_address=temporal,
        temporal_ui=ui,
        namespace="default",
        opencode_url=opencode,
        opencode_username="opencode",
        opencode_password="",
        opencode_version="1.18.33",
        opencode_boot_id=None,
        model_url=None,
        pids={},
        logs=Path("/home/you/.local/state/turnkeeper/logs"),
    )
    order = StackOrder(Path("/home/you/.local/state/turnkeeper"), (Path("/home/you/shop"),), Ports())
    shown = addresses(state, order, choose_model(None, UserSetup(())))
    assert [line for line in shown if line not in README.splitlines()] == []


def test_the_configuration_that_the_readme_shows_is_accepted() -> None:
    (shown,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    settings = Settings.model_validate(tomllib.loads(shown))
    assert settings.endpoints["build-box"].limits.stall_timeout.total_seconds() == 600


def test_every_link_into_the_repository_leads_somewhere() -> None:
    for page in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        text = (ROOT / page).read_text()
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (ROOT / target).exists(), f"{page}: {target}"
