"""`make compat`: our tests on an older temporalio than is promised, and on other versions of OpenCode.

Each version gets a folder of its own under build/compat; what was installed there once is used again. The last lines
say which passed; the exit code is 1 if any did not.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.compatibility.versions import OLDER_TEMPORALIO, OTHER_OPENCODE
from turnkeeper.dev.opencode_binary import find_opencode

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / "build" / "compat"

ENDS: Final = ("tests/e2e/turns/test_answers.py", "tests/e2e/turns/test_stops.py")
"""A short look at the real servers: answers, tools, stops."""

LEVELS: Final = ("tests/unit", "tests/workflow", "tests/replay", *ENDS)
ADAPTER: Final = (*ENDS, "tests/e2e/test_opencode_adapter.py", "tests/e2e/turns/test_requests.py")


def run(*command: str | Path, environment: dict[str, str] | None = None) -> bool:
    """Run it in the checkout; what it prints is shown."""
    completed = subprocess.run(command, cwd=ROOT, env={**os.environ, **(environment or {})}, check=False)  # noqa: S603 - our own commands
    return completed.returncode == 0


def older_temporalio() -> bool:
    """Everything as pinned, only temporalio replaced."""
    folder = FOLDER / f"temporalio-{OLDER_TEMPORALIO}"
    pip = (folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    installed = folder.exists() or (
        run(sys.executable, "-m", "venv", folder)
        and run(*pip, "--require-hashes", "-r", "requirements-dev.txt")
        and run(*pip, "--require-hashes", "--no-deps", "-r", "requirements-older.txt")
    )
    return installed and run(
        folder / "bin" / "python", "-m", "pytest", "-q", *LEVELS, environment={"PYTHONPATH": str(ROOT)}
    )


def other_opencode(version: str) -> bool:
    """The adapter and whole turns on another server."""
    folder = FOLDER / f"opencode-{version}"
    quiet = ("--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    if not folder.exists():
        folder.mkdir(parents=True)
        if not run("npm", "install", "--prefix", folder, *quiet, f"opencode-ai@{version}"):
            return False
    program = find_opencode(checkout=folder, search_path="")
    named = {"TURNKEEPER_TEST_OPENCODE": str(program), "PYTHONPATH": str(ROOT)}
    return run(sys.executable, "-m", "pytest", "-q", *ADAPTER, environment=named)


def main() -> int:
    """Run all, one after the other."""
    results = {f"temporalio {OLDER_TEMPORALIO}": older_temporalio()}
    results |= {f"OpenCode {version}": other_opencode(version) for version in OTHER_OPENCODE}
    for name, passed in results.items():
        sys.stdout.write(f"{name}: {'passed' if passed else 'FAILED'}\n")
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
