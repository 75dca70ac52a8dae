"""A wrong configuration gives one line that says which setting, what was found and what is allowed, and no secret."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from turnkeeper.errors import ConfigurationError
from turnkeeper.settings import EndpointSettings, Settings, load_settings

ENDPOINT: Final = '[endpoints.local]\nurl = "http://127.0.0.1:4096"\nroots = ["/work"]\n'
PREFIX: Final = "TURNKEEPER_ENDPOINT_LOCAL_"
COMPLETE: Final = {PREFIX + "URL": "http://127.0.0.1:4096", PREFIX + "ROOTS": "/work"}


def load(tmp_path: Path, text: str, **environ: str) -> Settings:
    path = tmp_path / "turnkeeper.toml"
    path.write_text(text)
    return load_settings(environ, path)


def complaint(tmp_path: Path, text: str, **environ: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text, **environ)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    assert "found " in line
    assert "allowed: " in line
    return line


# --- what is right --------------------------------------------------------------------------------------------------


def test_a_file_with_an_address_and_a_root_is_enough(tmp_path: Path) -> None:
    settings = load(tmp_path, ENDPOINT)
    assert settings.endpoints["local"].roots == (Path("/work"),)
    assert settings.endpoints["local"].secret() is None
    assert settings.worker.task_queue == "turnkeeper"


def test_the_environment_alone_is_enough() -> None:
    settings = load_settings({**COMPLETE, PREFIX + "ROOTS": f"/work{os.pathsep}/srv"})
    assert settings.endpoints["local"].roots == (Path("/work"), Path("/srv"))


def test_the_file_is_found_by_its_variable(tmp_path: Path) -> None:
    path = tmp_path / "turnkeeper.toml"
    path.write_text(ENDPOINT)
    assert "local" in load_settings({"TURNKEEPER_CONFIG": str(path)}).endpoints


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        ENDPOINT + "request_timeout = 3\n[worker]\nlog_level = 'INFO'\n",
        TURNKEEPER_ENDPOINT_LOCAL_REQUEST_TIMEOUT="7.5",
        TURNKEEPER_ENDPOINT_LOCAL_SHARES_FILESYSTEM="false",
        TURNKEEPER_WORKER_LOG_LEVEL="DEBUG",
        TURNKEEPER_WORKER_RUN_RELAYS="0",
    )
    assert settings.endpoints["local"].request_timeout == 7.5
    assert not settings.endpoints["local"].shares_filesystem
    assert settings.worker.log_level == "DEBUG"
    assert not settings.worker.run_relays


@pytest.mark.parametrize("field", sorted(EndpointSettings.model_fields.keys() - {"limits"}))
def test_every_field_of_an_endpoint_can_be_told_from_its_name(field: str) -> None:
    """No field's name ends with another's, so `A_B_FIELD` has one meaning; a dash in a name is an underscore here."""
    variable = f"TURNKEEPER_ENDPOINT_BIG_BOX_{field.upper()}"
    with pytest.raises(ConfigurationError, match=r"endpoints\.big-box"):
        load_settings({variable: "\0"})


def test_limits_of_an_endpoint_are_read_as_seconds_or_iso(tmp_path: Path) -> None:
    limits = load(tmp_path, ENDPOINT + 'limits = { deadline = "PT2H", look_interval = 5 }').endpoints["local"].limits
    assert (limits.deadline.total_seconds(), limits.look_interval.total_seconds()) == (7200, 5)


def test_a_password_comes_from_a_variable_or_a_mounted_file(tmp_path: Path) -> None:
    loaded = load(tmp_path, ENDPOINT + 'password_env = "BOX_VARIABLE"', BOX_VARIABLE="hunter2")
    assert loaded.endpoints["local"].secret() == "hunter2"
    mounted = tmp_path / "password"
    mounted.write_text("hunter3\n")
    assert load(tmp_path, ENDPOINT + f'password_file = "{mounted}"').endpoints["local"].secret() == "hunter3"
    assert load(tmp_path, ENDPOINT + 'password = "hunter4"').endpoints["local"].secret() == "hunter4"


def test_the_password_is_looked_for_in_the_given_environment(tmp_path: Path) -> None:
    loaded = load(tmp_path, ENDPOINT + 'password_env = "GIVEN_HERE"', GIVEN_HERE="hunter2")
    assert loaded.endpoints["local"].secret() == "hunter2"


# --- what is wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "setting", "said"),
    [
        ("", "endpoints", "found nothing; allowed: [endpoints.NAME] in the file that TURNKEEPER_CONFIG names"),
        ("[endpoints]", "endpoints", "at least 1"),
        ("[endpoints.local]\nroots = ['/work']", "endpoints.local.url", "base address of the OpenCode server"),
        ("[endpoints.local]\nurl = 'http://h'", "endpoints.local.roots", "that threads may work in"),
        ("[endpoints.local]\nurl = 'http://h'\nroots = []", "endpoints.local.roots", "at least 1"),
        ("[endpoints.local]\nurl = 'http://h'\nroots = ['work']", "endpoints.local", "absolute"),
        ("[endpoints.local]\nurl = 'box:4096'\nroots = ['/work']", "endpoints.local.url", "http"),
        (ENDPOINT.replace("local", "Local_Box"), "endpoints.Local_Box", "pattern"),
        (ENDPOINT + "request_timeout = 0", "endpoints.local.request_timeout", "greater than 0"),
        (ENDPOINT + "request_timeout = 'soon'", "endpoints.local.request_timeout", "'soon'"),
        (ENDPOINT + "stream_silence = 10", "endpoints.local.stream_silence", "greater than 10"),
        (ENDPOINT + "limits = { deadline = 0 }", "endpoints.local.limits.deadline", "greater than 0"),
        (ENDPOINT + "limits = { dedline = 60 }", "endpoints.local.limits.dedline", "stall_timeout"),
        (ENDPOINT + "limits = { look_interval = 200 }", "endpoints.local.limits", "look_interval_max"),
        (ENDPOINT + "limits = { retry_interval = 9 }", "endpoints.local.limits", "retry_interval_max"),
        (ENDPOINT + "limits = { stop_quiet = 12 }", "endpoints.local.limits", "interrupt_grace"),
        (
            ENDPOINT + "tiemout = 3",
            "endpoints.local.tiemout",
            "an unknown setting; allowed: ca_file, client_cert_file,",
        ),
        (ENDPOINT + "[worker]\ntiemout = 3", "worker.tiemout", "graceful_shutdown"),
        (ENDPOINT + "[worker]\nlog_level = 'LOUD'", "worker.log_level", "'DEBUG'"),
        (ENDPOINT + "[worker]\nmax_concurrent_activities = 1", "worker.max_concurrent_activities", "1"),
        (
            ENDPOINT + ENDPOINT.replace("local", "other") + "[worker]\nmax_concurrent_activities = 2",
            "configuration",
            "the relays of 2 endpoints on the queue 'turnkeeper' would take them all: set it to 3 at least",
        ),
        (ENDPOINT + "[woker]", "woker", "an unknown setting; allowed: endpoints, worker."),
        (ENDPOINT + "password = 'a'\npassword_env = 'B'", "endpoints.local", "one of password"),
        (ENDPOINT + "password_env = 'NOT_SET_ANYWHERE'", "password_env", "NOT_SET_ANYWHERE"),
        (ENDPOINT + "password_file = '/nowhere/password'", "password_file", "/nowhere/password"),
        ("endpoints = [", "TURNKEEPER_CONFIG", "not TOML"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(tmp_path: Path, text: str, setting: str, said: str) -> None:
    line = complaint(tmp_path, text)
    assert setting in line.partition(": found")[0]
    assert said in line


@pytest.mark.parametrize(
    ("variable", "allowed"),
    [
        ("TURNKEEPER_WORKER_LOGLEVEL", "LOG_LEVEL"),
        ("TURNKEEPER_ENDPOINT_LOCAL_ADDRESS", "URL"),
        ("TURNKEEPER_ENDPOINT_URL", "URL"),
    ],
)
def test_a_variable_that_means_nothing_is_named_with_what_does(tmp_path: Path, variable: str, allowed: str) -> None:
    line = complaint(tmp_path, ENDPOINT, **{variable: "1"})
    assert line.startswith(variable)
    assert allowed in line


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="TURNKEEPER_CONFIG"):
        load_settings({"TURNKEEPER_CONFIG": str(tmp_path / "nothing.toml")})
    with pytest.raises(ConfigurationError, match="TURNKEEPER_CONFIG"):
        load_settings({}, tmp_path)


@pytest.mark.parametrize("text", ["endpoints = 3", "worker = 3", "[endpoints]\nlocal = 3"])
def test_a_setting_of_a_wrong_shape_is_named_though_a_variable_sets_a_part_of_it(tmp_path: Path, text: str) -> None:
    complaint(tmp_path, text, **COMPLETE, TURNKEEPER_WORKER_LOG_LEVEL="DEBUG")


@pytest.mark.parametrize("which", ["config", "password"])
def test_a_file_that_is_not_text_is_named(tmp_path: Path, which: str) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    given_path = binary if which == "config" else None
    environ = COMPLETE if which == "config" else {**COMPLETE, PREFIX + "PASSWORD_FILE": str(binary)}
    with pytest.raises(ConfigurationError):
        load_settings(environ, given_path)


# --- what is secret -------------------------------------------------------------------------------------------------

secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="'\\"), min_size=6).map(
    lambda text: f"s3cr3t{text}"
)
SECRETLY = settings(
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # one file, written anew by each example
)


def silent_about(secret: str, tmp_path: Path, text: str) -> None:
    line = complaint(tmp_path, text)
    assert secret not in line


@SECRETLY
@given(secret=secrets)
@pytest.mark.parametrize(
    "text",
    [
        ENDPOINT + "password = ['{}']",
        ENDPOINT + "password = '{}'\npassword_env = 'B'",
        ENDPOINT + "password = '{}'\nrequest_timeout = 0",
        "[endpoints.local]\nurl = 'ftp://opencode:{}@h'\nroots = ['/work']",
        "[endpoints.local]\nurl = '{}'\nroots = ['/work']",
        "[endpoints.local]\nurl = 'http://h/{}'\nroots = ['work']",
    ],
)
def test_no_complaint_shows_a_password_or_an_address(tmp_path: Path, text: str, secret: str) -> None:
    silent_about(secret, tmp_path, text.format(secret))


@pytest.mark.parametrize(
    "text",
    [
        ENDPOINT + "pasword = 's3cr3t'",
        "[endpoints]\nlocal = 'http://opencode:s3cr3t@h'",
        "endpoints = ['http://opencode:s3cr3t@h']",
        ENDPOINT + "password_env = 's3cr3t'",
    ],
)
def test_no_complaint_about_a_mistake_of_place_shows_one_either(tmp_path: Path, text: str) -> None:
    silent_about("s3cr3t", tmp_path, text)


@SECRETLY
@given(secret=secrets)
def test_printed_settings_show_neither(secret: str) -> None:
    loaded = load_settings({**COMPLETE, PREFIX + "URL": "http://hidden-box:4096", PREFIX + "PASSWORD": secret})
    for text in (repr(loaded), str(loaded), repr(loaded.endpoints["local"])):
        assert secret not in text
        assert "hidden-box" not in text
    assert secret not in loaded.model_dump_json()
