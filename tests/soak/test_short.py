"""`make chaos-short`: a soak of a minute. It is too short for a trend; everything else is judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.report import problems
from tests.soak.soak import soak

LONGEST = 600
"""Seconds: a turn may take 150 to its own deadline, and processes start."""


@pytest.mark.timeout(LONGEST)
async def test_a_minute_of_load_with_faults_leaves_nothing_behind(tmp_path: Path) -> None:
    seen = await soak(tmp_path, seconds=60, seed=20_261_123)
    assert problems(seen) == []
    assert len(seen.verdicts) > 10
    assert seen.struck
    assert seen.lines
