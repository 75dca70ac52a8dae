"""A run of pytest whose test or teardown hangs ends, and shows where it hung."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CONFTEST = """
from tests import deadlines
from tests.deadlines import (
    pytest_runtest_call, pytest_runtest_teardown, pytest_timeout_cancel_timer, pytest_timeout_set_timer
)
deadlines.GENTLE = 0.05
deadlines.TEARDOWN_WITHIN = 0.5
"""

TESTS = """
import asyncio
import pytest

async def for_ever():
    await asyncio.Event().wait()

@pytest.fixture
async def hanging():
    yield
    await for_ever()

async def test_late():
    await for_ever()

async def test_deaf():
    while True:
        try:
            await for_ever()
        except asyncio.CancelledError:
            pass

async def test_failing(hanging):
    assert hanging, "the first failure"

@pytest.fixture
async def deafened():
    yield
    await test_deaf()

async def test_passing(deafened):
    pass
"""


def run(directory: Path, test: str, seconds: int) -> subprocess.CompletedProcess[str]:
    (directory / "conftest.py").write_text(CONFTEST)
    (directory / "test_it.py").write_text(TESTS)
    options = ("--rootdir", ".", "-o", "asyncio_mode=auto", "--timeout", str(seconds), "-k", test)
    return subprocess.run(  # noqa: S603 - our own words
        (sys.executable, "-m", "pytest", *options),
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_late_coroutine_fails_where_it_waits(tmp_path: Path) -> None:
    told = run(tmp_path, "late", 40).stdout
    assert "in for_ever" in told
    assert "TimeoutError" in told
    assert "1 failed" in told


def test_the_end_of_a_fixture_fails_where_it_waits(tmp_path: Path) -> None:
    """After a failure too: pytest-timeout calls its own timer off there."""
    ended = run(tmp_path, "failing", 40)
    assert "the first failure" in ended.stdout
    assert "in for_ever" in ended.stdout
    assert "1 failed, 3 deselected, 1 error" in ended.stdout
    assert "the end of a fixture is cancelled after" in ended.stderr
    assert " for_ever\n" in ended.stderr


@pytest.mark.parametrize(("test", "seconds", "where"), [("deaf", 2, "test_deaf"), ("passing", 40, "deafened")])
def test_whatever_hangs_ends_the_process_and_is_shown(tmp_path: Path, test: str, seconds: int, where: str) -> None:
    ended = run(tmp_path, test, seconds)
    assert ended.returncode == 1
    assert f"test_it.py::test_{test}" in ended.stderr
    assert f" {where}\n" in ended.stderr
    assert " for_ever\n" in ended.stderr
