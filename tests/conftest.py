"""What holds for every run: its order, what it prints, that it ends, and that no property fails for a busy machine.

Only here does the process of pytest-xdist that prints load these hooks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

from tests.conformance.printing import (  # noqa: F401 - hooks
    pytest_sessionfinish,
    pytest_terminal_summary,
    pytest_testnodedown,
)
from tests.deadlines import (  # noqa: F401 - hooks
    pytest_runtest_call,
    pytest_runtest_teardown,
    pytest_timeout_cancel_timer,
    pytest_timeout_set_timer,
)
from tests.scheduling import pytest_xdist_make_scheduler  # noqa: F401 - a hook

# Both measure the machine, not the rule: beside other runs, two properties that hold failed for being slow.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

LONG: Final = ("e2e", "chaos", "conformance", "workflow")
"""Levels whose files take from seconds to minutes, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, the many short ones last: no process ends up alone with a long one (`-n 2 --dist loadfile`)."""
    here = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        level = item.path.relative_to(here).parts[0]
        return LONG.index(level) if level in LONG else len(LONG)

    items.sort(key=rank)
