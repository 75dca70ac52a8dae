"""`turnkeeper interrupt`, `stop`, `close` and `queue`: end what a thread runs, and see and edit what waits in it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from turnkeeper.cli import lines
from turnkeeper.cli.endings import Exit
from turnkeeper.cli.figures import one_line, printable
from turnkeeper.cli.json_lines import write_entry
from turnkeeper.cli.service import Connector
from turnkeeper.cli.table import columns
from turnkeeper.commands import QueueView
from turnkeeper.messages import InterruptResult, TurnRecord
from turnkeeper.thread_messages import QueuedTurn

PROMPT_SHOWN: Final = 60
"""Characters of a prompt in a list."""


async def interrupt(connector: Connector, state_dir: Path, thread_id: str, why: str, *, as_json: bool) -> Exit:
    """Stop the thread's turn and wait for the confirmation."""
    service = await connector(state_dir)
    result = await service.keeper.interrupt(thread_id, why=why)
    return _say_stopped("interrupted", thread_id, result, as_json=as_json)


async def stop(connector: Connector, state_dir: Path, thread_id: str, why: str, *, as_json: bool) -> Exit:
    """Stop the turn and the session, which the next prompt resumes."""
    service = await connector(state_dir)
    result = await service.keeper.stop_session(thread_id, why=why)
    return _say_stopped("stopped", thread_id, result, as_json=as_json)


async def close(connector: Connector, state_dir: Path, thread_id: str, why: str, *, as_json: bool) -> Exit:
    """End the thread and hand back what waited."""
    service = await connector(state_dir)
    closed = await service.keeper.close(thread_id, why=why)
    confirmed = closed.stopped is None or closed.stopped.confirmed
    if as_json:
        write_entry(sys.stdout, {"event": "closed", "thread": thread_id, **closed.model_dump(mode="json")})
        return Exit.OK if confirmed else Exit.ENDED_OTHERWISE
    if closed.stopped is not None and closed.stopped.was_running:
        sys.stdout.write(_stop_words(thread_id, closed.stopped))
    sys.stdout.write(f"thread {thread_id} is closed\n")
    for turn in closed.returned:
        sys.stdout.write(_handed_back(turn))
    return Exit.OK if confirmed else Exit.ENDED_OTHERWISE


async def show_queue(connector: Connector, state_dir: Path, thread_id: str, *, as_json: bool) -> Exit:
    """What waits, first to run first."""
    service = await connector(state_dir)
    waiting = await service.keeper.waiting(thread_id)
    if as_json:
        write_entry(sys.stdout, {"event": "queue", "thread": thread_id, **waiting.model_dump(mode="json")})
    else:
        sys.stdout.writelines(_queue_lines(thread_id, waiting))
    return Exit.OK


async def remove(connector: Connector, state_dir: Path, thread_id: str, turn_id: str, *, as_json: bool) -> Exit:
    """Take a waiting prompt out and print it whole, so that it is not lost."""
    service = await connector(state_dir)
    removed = await service.keeper.remove_queued(thread_id, turn_id)
    if as_json:
        write_entry(sys.stdout, {"event": "removed", "thread": thread_id, **removed.model_dump(mode="json")})
    else:
        sys.stdout.write(_handed_back(removed.removed))
        sys.stdout.writelines(_queue_lines(thread_id, removed))
    return Exit.OK


async def send_now(connector: Connector, state_dir: Path, thread_id: str, turn_id: str, *, as_json: bool) -> Exit:
    """Run a waiting prompt at once."""
    service = await connector(state_dir)
    sent = await service.keeper.send_now(thread_id, turn_id)
    if as_json:
        write_entry(sys.stdout, {"event": "sent", "thread": thread_id, **sent.model_dump(mode="json")})
        return Exit.OK
    if sent.stopped is not None:
        sys.stdout.write(_stop_words(thread_id, sent.stopped))
    sys.stdout.write(f"thread {thread_id}, turn {turn_id}: {sent.turn.state}\n")
    sys.stdout.writelines(_queue_lines(thread_id, sent))
    return Exit.OK


async def resume(connector: Connector, state_dir: Path, thread_id: str, *, as_json: bool) -> Exit:
    """Let a held queue go on."""
    service = await connector(state_dir)
    view = await service.keeper.resume_queue(thread_id)
    if as_json:
        write_entry(sys.stdout, {"event": "resumed", "thread": thread_id, **view.model_dump(mode="json")})
    else:
        sys.stdout.write(f"thread {thread_id} goes on\n")
        sys.stdout.writelines(_queue_lines(thread_id, view))
    return Exit.OK


def _say_stopped(event: str, thread_id: str, result: InterruptResult, *, as_json: bool) -> Exit:
    if as_json:
        entry = {
            "event": event,
            "thread": thread_id,
            "turn": result.turn_id,
            "was_running": result.was_running,
            "confirmed": result.confirmed,
            "outcome": result.outcome.model_dump(mode="json") if result.outcome else None,
            "failure": result.failure,
            "queued": [turn.model_dump(mode="json") for turn in result.queued],
            "held": result.held,
        }
        write_entry(sys.stdout, entry)
    else:
        words = _stop_words if result.was_running else _rest_words
        sys.stdout.write(words(thread_id, result))
        sys.stdout.writelines(_held_lines(thread_id, result.queued, held=result.held))
    return Exit.OK if result.confirmed else Exit.ENDED_OTHERWISE


def _rest_words(thread_id: str, result: InterruptResult) -> str:
    if result.failure is None:
        return "No turn was running.\n"
    why = printable(result.failure)
    return f"thread {thread_id}: no turn was running, and its session is not known to be stopped. {why}\n"


def _stop_words(thread_id: str, result: InterruptResult) -> str:
    if result.failure is not None:
        why = printable(result.failure)
        return f"thread {thread_id}, turn {result.turn_id}: not stopped, it is followed as before. {why}\n"
    verdict = lines.verdict(result.outcome) if result.outcome else "ended"
    failure = result.outcome.failure if result.outcome else None
    why = printable(f"{failure.message} {failure.next_step}".rstrip()) + "\n" if failure else ""
    return f"thread {thread_id}, turn {result.turn_id}: {verdict}\n{why}"


def _handed_back(turn: QueuedTurn) -> str:
    return f"{turn.turn_id} was not sent. Its prompt:\n{printable(turn.start.prompt)}\n"


def _queue_lines(thread_id: str, view: QueueView) -> list[str]:
    if not view.queued:
        return ["Nothing waits.\n"]
    rows = [(turn.turn_id, one_line(turn.prompt_start, PROMPT_SHOWN)) for turn in view.queued]
    table = list(columns(("TURN", "PROMPT"), rows))
    return [*table, *(_go_on(thread_id) if view.held else [])]


def _held_lines(thread_id: str, queued: Sequence[TurnRecord], *, held: bool) -> list[str]:
    if not held:
        return []
    waits = f"{len(queued)} prompt{'s wait' if len(queued) != 1 else ' waits'}, untouched: "
    return [waits + ", ".join(turn.turn_id for turn in queued) + ".\n", *_go_on(thread_id)]


def _go_on(thread_id: str) -> list[str]:
    return [f"Held since the stop. Go on with: turnkeeper queue {thread_id} --resume\n"]
