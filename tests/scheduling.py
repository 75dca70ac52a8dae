"""Which process runs which files, also after one of them died.

pytest-xdist 3.8 gives every file of a dead process out again, those that it had done, too. A process that gets such a
file has nothing to report, so it is never given another one: the run waits for ever, and nobody learns which test
killed the process.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]  # it has none


class Files(LoadFileScheduling):  # type: ignore[misc]  # as above
    """`--dist loadfile`, and the death of a process costs one test."""

    def remove_node(self, node: Any) -> str | None:  # noqa: ANN401 - pytest-xdist has no types
        """The tests that it had not done go to others, but not the one that killed it: that one has failed."""
        work = self.assigned_work.pop(node)
        killer = next((test for tests in work.values() for test, done in tests.items() if not done), None)
        for file, tests in work.items():
            undone = {test: done or test == killer for test, done in tests.items()}
            if not all(undone.values()):
                self.workqueue[file] = undone
        for other in self.assigned_work:
            self._reschedule(other)
        return killer


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Files | None:  # noqa: ANN401 - as above
    """Only the process that hands out asks for it."""
    return Files(config, log) if config.getoption("dist") == "loadfile" else None
