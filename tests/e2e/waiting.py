"""Waiting in tests: on a condition, with a deadline. Only that something does *not* happen takes a fixed time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

DEADLINE = 20.0
"""Seconds a condition may take: the slowest is one retry of OpenCode (2 to 2.5 s), on a busy machine."""
POLL = 0.05
"""Seconds between two looks."""

Value = TypeVar("Value")


async def until(
    ask: Callable[[], Awaitable[Value]], holds: Callable[[Value], object] = bool, *, deadline: float = DEADLINE
) -> Value:
    """Ask until the answer holds; the last answer is in the error when it never does."""
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline
    while not holds(value := await ask()):
        if loop.time() > end:
            raise AssertionError(f"not within {deadline:g} s; last: {value!r}")
        await asyncio.sleep(POLL)
    return value


async def stays(check: Callable[[], Awaitable[None]], *, seconds: float) -> None:
    """What `check` asserts holds all the time: the only way to see that nothing happens."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        await check()
        await asyncio.sleep(POLL)


async def until_true(check: Callable[[], object], *, deadline: float = DEADLINE) -> None:
    """The same for a condition that needs no await."""

    async def ask() -> object:
        return check()

    await until(ask, deadline=deadline)
