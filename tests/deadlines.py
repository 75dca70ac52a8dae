"""No test and no teardown runs for ever, and what it waited for is shown.

pytest-timeout's own ways are not enough for tests that share an event loop. Its signal is raised wherever the loop just
is: inside a callback asyncio swallows it, inside another test's worker it ends that worker, and the test that was late
stays alive beside the teardown of its fixtures. Its thread ends the process without a word about any coroutine. And
both are called off as soon as something failed: the teardown after a failure had no bound, and one hung for minutes.

So a coroutine that is late, of a test or of the end of a fixture, is cancelled in its own loop: it fails where it
waited, and unwinds. Whatever does not react, and whatever else is late, ends its process after all stacks were shown;
pytest-xdist names the test and goes on (tests/scheduling.py).
"""

from __future__ import annotations

import asyncio
import faulthandler
import functools
import gc
import inspect
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, Final

import pytest

GENTLE: Final = 0.75
"""Share of a test's or teardown's time after which its coroutine is cancelled; the rest unwinds it."""

TEARDOWN_WITHIN: Final = 90.0
"""Seconds for all of a test's fixtures: after the last test five servers end, each with a grace of 5 s."""

FIXTURE_END: Final = "async_finalizer"
"""The coroutine that pytest-asyncio 1.5 runs for it. If it were renamed, a test of this file's would notice."""

_LIMIT: Final = pytest.StashKey[float]()
_TIMERS: Final = pytest.StashKey[list[threading.Timer]]()


def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool:  # noqa: ANN401 - pytest-timeout has no types
    """Instead of pytest-timeout's: it knows a test's limit, this what to do about it."""
    if inspect.iscoroutinefunction(function := getattr(item, "obj", None)):
        item.obj = _cancelled_after(settings.timeout * GENTLE, function)  # type: ignore[attr-defined]  # a Function
    item.stash[_LIMIT] = settings.timeout
    _give_up_after(settings.timeout, item)
    return True


def pytest_timeout_cancel_timer(item: pytest.Item) -> bool:
    """At the end of everything, and as soon as something fails."""
    for timer in item.stash.get(_TIMERS, []):
        timer.cancel()
    return True


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Servers that others use, too, may have been started for this test: its own time begins now."""
    _give_up_after(item.stash[_LIMIT], item)
    yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Has its own time, too, and also after a failure."""
    _give_up_after(TEARDOWN_WITHIN, item)
    _start_timer(TEARDOWN_WITHIN * GENTLE, _cancel_fixtures, item)
    yield
    pytest_timeout_cancel_timer(item)


def _cancelled_after(seconds: float, function: Any) -> Any:  # noqa: ANN401 - any test
    @functools.wraps(function)
    async def bounded(*args: object, **kwargs: object) -> None:
        async with asyncio.timeout(seconds):
            await function(*args, **kwargs)

    return bounded


def _give_up_after(seconds: float, item: pytest.Item) -> None:
    """From now on, instead of what counted before."""
    pytest_timeout_cancel_timer(item)
    item.stash[_TIMERS] = []
    _start_timer(seconds, _give_up, item)


def _start_timer(seconds: float, then: Callable[[pytest.Item, float], None], item: pytest.Item) -> None:
    timer = threading.Timer(seconds, then, (item, seconds))
    timer.daemon = True
    item.stash[_TIMERS].append(timer)
    timer.start()


def _cancel_fixtures(item: pytest.Item, seconds: float) -> None:
    """What pytest-asyncio runs of a fixture's end: it is reported as an error where it waited."""
    _show(item, f"the end of a fixture is cancelled after {seconds:g} s")
    for task in _open_tasks():
        if getattr(task.get_coro(), "__name__", "") == FIXTURE_END:
            task.get_loop().call_soon_threadsafe(task.cancel)


def _give_up(item: pytest.Item, seconds: float) -> None:
    """End this process, and with it what it started."""
    _show(item, f"not over after {seconds:g} s", stacks=True)
    _kill_children()
    os._exit(1)


def _show(item: pytest.Item, what: str, *, stacks: bool = False) -> None:
    """Of every task of every loop of this process: where it waits, outermost first. On the stderr of the process."""
    capture = item.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture is not None else nullcontext():
        out = sys.__stderr__ or sys.stderr
        out.write(f"\n+++ {what}: {item.nodeid}\n")
        for task in _open_tasks():
            out.write(f"+++ {task.get_name()}\n")
            out.writelines(f"    {place}\n" for place in _waits_in(task.get_coro()))
        if stacks:
            faulthandler.dump_traceback(out)
        out.flush()


def _open_tasks() -> list[asyncio.Task[Any]]:
    return [task for task in gc.get_objects() if issubclass(type(task), asyncio.Task) and not task.done()]


def _waits_in(awaited: object) -> Iterator[str]:
    while awaited is not None:
        if (frame := _part(awaited, "frame")) is not None:
            yield f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}"
            awaited = _part(awaited, "await") or _part(awaited, "yieldfrom")
        else:  # a step of an asynchronous generator, which only refers to it, or a future
            generator = next(filter(inspect.isasyncgen, gc.get_referents(awaited)), None)
            if generator is None:
                yield repr(awaited)
            awaited = generator


def _part(awaited: object, name: str) -> Any:  # noqa: ANN401 - a frame, or what is waited for
    """Coroutines, generators and asynchronous generators call it differently."""
    found = (getattr(awaited, f"{kind}_{name}", None) for kind in ("cr", "gi", "ag"))
    return next((part for part in found if part is not None), None)


def _kill_children() -> None:
    """Servers that the Temporal SDK starts outlive a process that ends like this."""
    for children in Path("/proc/self/task").glob("*/children"):  # nothing where there is no /proc
        for pid in children.read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
