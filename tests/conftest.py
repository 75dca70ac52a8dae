"""What every run prints: only here does the process of pytest-xdist that prints load these hooks."""

from __future__ import annotations

from tests.conformance.printing import (  # noqa: F401 - hooks
    pytest_sessionfinish,
    pytest_terminal_summary,
    pytest_testnodedown,
)
