"""When a test kills its process, the run ends, names it, and has run all others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FILE = """
import os
import pytest

@pytest.fixture
def deadly(request):
    yield
    if request.node.nodeid == os.environ["KILLER"]:
        os._exit(1)

@pytest.mark.parametrize("number", range(3))
def test_it(number, deadly):
    pass
"""


@pytest.mark.parametrize("killer", ["test_a.py::test_it[0]", "test_b.py::test_it[2]", "test_f.py::test_it[2]"])
def test_the_death_of_a_process_costs_one_test(tmp_path: Path, killer: str) -> None:
    (tmp_path / "conftest.py").write_text("from tests.scheduling import pytest_xdist_make_scheduler")
    for name in "abcdef":
        (tmp_path / f"test_{name}.py").write_text(FILE)
    ended = subprocess.run(
        (sys.executable, "-m", "pytest", "--rootdir", ".", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"),
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "KILLER": killer},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert f"crashed while running '{killer}'" in ended.stdout
    # Its report had been sent before its fixture ended.
    assert "1 failed, 18 passed" in ended.stdout
