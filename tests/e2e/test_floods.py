"""A provider that says too much does not take the worker down, nor keep it from other turns."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, Final

import pytest

from tests.e2e.flooding import MESSAGES, STREAMS, flooding
from turnkeeper.opencode.answers import TOO_BIG

MAX_GROWTH_MB: Final = 320
"""Of the whole process while two looks at once are flooded; without bounds one of them takes gigabytes."""

MAX_BLOCKED_SECONDS: Final = 2.0
"""Processor time that the event loop may be kept; heartbeats have four seconds."""

MAX_TOLD_BYTES: Final = 2000
"""Of the failure that enters the turn's history."""

TOO_SLOW: Final = {"provider_timeout", "provider_unreachable"}
"""What a busy machine may say instead."""

CODES: Final = {
    "a list of 500 MB": TOO_BIG,
    "a text of 500 MB": TOO_BIG,
    "no end": TOO_BIG,
    "no end of an error": "delivery_unknown",
    "compressed": "provider_contract",
    "nested": "provider_contract",
    "a header of 500 MB": "delivery_unknown",
    "many wrong entries": TOO_BIG,
    "many small messages": TOO_BIG,
    "many keys": TOO_BIG,
}


@pytest.fixture(scope="module")
async def told() -> dict[str, Any]:
    async with flooding() as address:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.e2e.flooded", address, stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(240):
            out, _ = await child.communicate()
    assert child.returncode == 0
    answer: dict[str, Any] = json.loads(out)
    return answer


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_look_that_is_flooded_says_that_it_could_not_ask_and_why(told: dict[str, Any], kind: str) -> None:
    for look in told["looks"][kind]:
        assert look["kind"] == "unreachable"
        assert look["code"] in {CODES[kind], *TOO_SLOW}
        assert look["size"] < MAX_TOLD_BYTES


def test_events_are_read_while_there_are_millions(told: dict[str, Any]) -> None:
    assert told["streams"].keys() == STREAMS.keys()
    assert told["streams"]["millions of events"] > 1000


def test_memory_stays_bounded(told: dict[str, Any]) -> None:
    assert told["grown_mb"] < MAX_GROWTH_MB


def test_the_event_loop_is_never_kept_for_long(told: dict[str, Any]) -> None:
    assert told["blocked"] < MAX_BLOCKED_SECONDS, told["within"]


def test_other_turns_are_looked_at_meanwhile(told: dict[str, Any]) -> None:
    assert told["sane"].count("not_there") > len(MESSAGES)
