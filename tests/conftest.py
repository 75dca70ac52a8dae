"""What holds for every run: what it prints, that it ends, and that no property fails because the machine is busy.

Only here does the process of pytest-xdist that prints load these hooks.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.conformance.printing import (  # noqa: F401 - hooks
    pytest_sessionfinish,
    pytest_terminal_summary,
    pytest_testnodedown,
)
from tests.deadlines import (  # noqa: F401 - hooks
    pytest_runtest_teardown,
    pytest_timeout_cancel_timer,
    pytest_timeout_set_timer,
)

# Both measure the machine, not the rule: beside other runs, two properties that hold failed for being slow.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
