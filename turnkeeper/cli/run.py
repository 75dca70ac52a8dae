"""`turnkeeper run`: start a turn and follow it to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from turnkeeper.cli.choice import choose_view
from turnkeeper.cli.endings import Exit, complain
from turnkeeper.cli.following import Follower
from turnkeeper.cli.names import fresh_thread, thread_for_key
from turnkeeper.cli.presses import Press, Presses, ctrl_c
from turnkeeper.cli.reporting import follow_to_exit
from turnkeeper.cli.service import Connector, Service
from turnkeeper.cli.views import Subject
from turnkeeper.client import StartedTurn
from turnkeeper.errors import RefusedError, ServiceUnavailableError
from turnkeeper.limits import MAX_PROMPT_CHARACTERS, TurnLimits
from turnkeeper.messages import PermissionRule
from turnkeeper.vocabulary import ModelName, OnBusy, OnLost, ThreadId

LIST_HINT: Final = "See `turnkeeper threads`."
INTO_HINT: Final = "Add `--on-busy steer`."

SLOW_START: Final = 5.0
"""Seconds of a start without an answer until the person is told so: it takes less than one where all is well."""

SLOW: Final = "no answer yet, still trying; see `turnkeeper doctor` in another terminal if this lasts."

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Order:
    """What the person typed."""

    prompt: str
    thread: str | None = None
    directory: Path | None = None
    endpoint: str | None = None
    model: str | None = None
    agent: str | None = None
    deadline: timedelta | None = None
    key: str | None = None
    on_lost: OnLost = OnLost.SETTLE
    permissions: tuple[PermissionRule, ...] | None = None
    request_timeout: timedelta | None = None
    on_busy: OnBusy = OnBusy.QUEUE
    into: str | None = None


async def run(connector: Connector, state_dir: Path, order: Order, *, as_json: bool) -> Exit:
    """Start the turn, show it, and say how it ended. Ctrl-C once stops the turn, twice leaves it.

    Raises:
        TurnkeeperError: the turn was not started, or nothing answers any more.

    """
    with ctrl_c() as presses:
        return await run_with(presses, connector, state_dir, order, as_json=as_json)


async def run_with(presses: Presses, connector: Connector, state_dir: Path, order: Order, *, as_json: bool) -> Exit:
    """`run` for a caller that listens for Ctrl-C itself."""
    _check(order)
    service, started = await _unless_left(_connect_and_start(connector, state_dir, order), presses)
    subject = _subject(started, service, shared=order.thread is not None)
    view = choose_view(as_json=as_json)
    try:
        view.begun(subject)
        follower = Follower(service.keeper, view, presses, service.link, outage=service.outage)
        return await follow_to_exit(follower, view, subject)
    finally:
        view.close()


async def _connect_and_start(connector: Connector, state_dir: Path, order: Order) -> tuple[Service, StartedTurn]:
    service = await connector(state_dir)
    return service, await _start(service, order)


def _check(order: Order) -> None:
    """What needs no server, in words for a terminal; everything else is checked at the door of the thread."""
    if not order.prompt.strip():
        raise RefusedError("The prompt is empty.", code="invalid_input")
    if len(order.prompt) > MAX_PROMPT_CHARACTERS:
        message = f"The prompt has {len(order.prompt):,} characters; {MAX_PROMPT_CHARACTERS:,} are allowed."
        raise RefusedError(message, code="invalid_input", next_step="Write the material to a file and name that.")
    if order.into is not None and order.on_busy is not OnBusy.STEER:
        raise RefusedError("--into names the turn of a prompt that steers.", code="invalid_input", next_step=INTO_HINT)
    _check_form("--thread", order.thread, TypeAdapter(ThreadId), "letters, digits, '.', '_' and '-', at most 100")
    _check_form("--model", order.model, TypeAdapter(ModelName), "provider/model")


def _check_form(option: str, value: str | None, form: TypeAdapter[str], allowed: str) -> None:
    if value is None:
        return
    try:
        form.validate_python(value)
    except ValidationError:
        raise RefusedError(f"{option} {value!r}: write {allowed}.", code="invalid_input") from None


def _limits(order: Order) -> TurnLimits | None:
    """None keeps the endpoint's own."""
    given = {"deadline": order.deadline, "request_timeout": order.request_timeout}
    set_here = {name: value for name, value in given.items() if value is not None}
    try:
        return TurnLimits.model_validate(set_here) if set_here else None
    except ValidationError as error:
        problem = error.errors()[0]
        option = str(problem["loc"][0]).replace("_", "-") if problem["loc"] else "deadline"
        raise RefusedError(f"--{option}: {problem['msg']}.", code="invalid_input") from None


async def _start(service: Service, order: Order) -> StartedTurn:
    """Give the prompt to the thread that was named, in its own place, or to a new one in this directory."""
    directory = _directory(service, order.directory)
    if order.thread is None:
        thread_id = thread_for_key(order.key) if order.key else fresh_thread()
        return await _create(service, order, thread_id, directory)
    if directory is not None and order.endpoint is not None:
        return await _give(service, order, order.thread, directory, order.endpoint)
    try:
        return await _give(service, order, order.thread, directory, order.endpoint)
    except RefusedError as error:
        if error.detail_code != "not_found":
            raise
    return await _create(service, order, order.thread, directory)


async def _create(service: Service, order: Order, thread_id: str, directory: str | None) -> StartedTurn:
    here = directory or _directory(service, Path.cwd())
    return await _give(service, order, thread_id, here, order.endpoint or await service.default_endpoint())


async def _give(
    service: Service, order: Order, thread_id: str, directory: str | None, endpoint: str | None
) -> StartedTurn:
    return await service.keeper.start_turn(
        thread_id,
        order.prompt,
        endpoint=endpoint,
        directory=directory,
        model=order.model,
        agent=order.agent,
        idempotency_key=order.key,
        on_busy=order.on_busy,
        expected_turn_id=order.into,
        on_lost=order.on_lost,
        limits=_limits(order),
        permissions=order.permissions,
    )


def _directory(service: Service, given: Path | None) -> str | None:
    """Absolute, as the endpoint wants it. Only the embedded stack's directories are certain to be on this machine."""
    if given is None:
        return None
    directory = given.expanduser().absolute()
    if service.embedded:
        directory = directory.resolve()
        if not directory.is_dir():
            what = "is not a directory" if directory.exists() else "does not exist"
            raise RefusedError(f"{directory} {what}.", code="invalid_directory")
    return str(directory)


def _subject(started: StartedTurn, service: Service, *, shared: bool) -> Subject:
    result = started.result
    if result is None:
        return Subject(
            started.thread_id,
            key=started.idempotency_key,
            kept=True,
            shared=shared,
            prompt_digest=started.prompt_digest,
        )
    return Subject(
        started.thread_id,
        result.turn_id,
        result.run_id,
        started.idempotency_key,
        position=result.position,
        repeated=result.repeated,
        steered=result.steered is True,
        link=service.link(started.thread_id, result.run_id) if result.run_id else None,
    )


async def _unless_left(starting: Coroutine[Any, Any, T], presses: Presses) -> T:
    """The start. One Ctrl-C meanwhile stops the turn once it is accepted; a second one leaves at once."""
    task = asyncio.create_task(starting)
    pressed = told = False
    try:
        while True:
            press = asyncio.create_task(presses.get())
            done, _ = await asyncio.wait(
                {task, press}, timeout=None if told else SLOW_START, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                told = True
                complain(SLOW)
                press.cancel()
                continue
            if task.done():
                press.cancel()
                break
            if pressed or press.result() is Press.LEAVE:
                raise ServiceUnavailableError(
                    "Left while the turn was being started: it may run.", code="left", next_step=LIST_HINT
                )
            pressed = told = True
            complain("the turn is being started; it is stopped as soon as it is accepted (Ctrl-C again leaves).")
    finally:
        task.cancel()
    if pressed:
        presses.put_nowait(Press.CTRL_C)
    return task.result()
