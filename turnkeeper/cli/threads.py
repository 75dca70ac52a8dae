"""`turnkeeper threads`, `show` and `follow`: what runs, one thread, its turn."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from turnkeeper import own_place
from turnkeeper.cli import lines
from turnkeeper.cli.choice import choose_view
from turnkeeper.cli.endings import Exit, complain
from turnkeeper.cli.figures import ago, one_line
from turnkeeper.cli.following import Follower
from turnkeeper.cli.json_lines import write_entry
from turnkeeper.cli.keeper import Keeper
from turnkeeper.cli.presses import ctrl_c
from turnkeeper.cli.reporting import follow_to_exit
from turnkeeper.cli.service import Connector, Service
from turnkeeper.cli.table import columns
from turnkeeper.cli.views import Subject
from turnkeeper.client import ThreadSummary
from turnkeeper.errors import RefusedError, ServiceUnavailableError, TurnkeeperError
from turnkeeper.messages import TurnRecord, TurnSnapshot
from turnkeeper.thread_messages import ThreadSnapshot
from turnkeeper.threads import next_step, notes

ASKED_AT_ONCE: Final = 8
"""Threads asked at the same time for a list: quick for a person, no load for a worker."""

PROMPT_SHOWN: Final = 60
"""Characters of a prompt in a list."""


Listed = tuple[ThreadSummary, ThreadSnapshot | None]
"""A thread, and what it says of itself if a worker answers."""


async def list_threads(connector: Connector, state_dir: Path, limit: int, *, as_json: bool) -> Exit:
    """The latest threads, open ones first."""
    service = await connector(state_dir)
    shown = await _began(service.keeper, limit + 1)
    shown, more = shown[:limit], shown[limit:]
    if as_json:
        for summary, snapshot in shown:
            write_entry(sys.stdout, _thread_entry(summary, snapshot))
        return Exit.OK
    if not shown:
        sys.stdout.write('There is no thread yet. Start one with: turnkeeper run "your prompt"\n')
        return Exit.OK
    now = datetime.now(UTC)
    rows = [_thread_row(summary, snapshot, now) for summary, snapshot in shown]
    sys.stdout.writelines(columns(("THREAD", "ENDPOINT", "STATUS", "LAST TURN", "PROMPT", "BEGUN"), rows))
    if any(snapshot is None for _, snapshot in shown):
        complain("no worker answers for the threads marked ?; see `turnkeeper doctor`.")
    if more:
        complain(f"these are the latest {limit}; --limit shows more.")
    return Exit.OK


async def _began(keeper: Keeper, enough: int) -> list[Listed]:
    """Threads with what they say of themselves, as many as are `enough`, or all."""
    at_once = asyncio.Semaphore(ASKED_AT_ONCE)
    shown: list[Listed] = []
    listed = keeper.threads(None)
    while len(shown) < enough:
        found = [summary async for summary in _next(listed, enough - len(shown))]
        if not found:
            break
        snapshots = await asyncio.gather(*(_ask(keeper, summary, at_once) for summary in found))
        shown += [pair for pair in zip(found, snapshots, strict=True) if not _never_began(*pair)]
    return shown


async def _next(listed: AsyncIterator[ThreadSummary], many: int) -> AsyncIterator[ThreadSummary]:
    for _ in range(many):
        try:
            yield await anext(listed)
        except StopAsyncIteration:
            return


async def _ask(keeper: Keeper, summary: ThreadSummary, at_once: asyncio.Semaphore) -> ThreadSnapshot | None:
    """The thread itself, or None when no worker answers: the list does not need it."""
    async with at_once:
        try:
            return await keeper.thread(summary.thread_id)
        except TurnkeeperError:
            return None


def _never_began(summary: ThreadSummary, thread: ThreadSnapshot | None) -> bool:
    """A start that was refused at the door leaves a closed workflow behind, which is no thread to a person."""
    return not summary.open and thread is not None and _latest(thread) is None


def _latest(thread: ThreadSnapshot) -> TurnRecord | None:
    return thread.active or (thread.recent[-1] if thread.recent else None)


def _thread_row(summary: ThreadSummary, thread: ThreadSnapshot | None, now: datetime) -> tuple[str, ...]:
    begun = ago(summary.started_at, now)
    if thread is None:
        return (summary.thread_id, summary.endpoint, "unknown" if summary.open else "closed", "?", "?", begun)
    turn = _latest(thread)
    status = str(thread.status) if summary.open else "closed"
    prompt = one_line(turn.prompt_start, PROMPT_SHOWN) if turn else ""
    return (summary.thread_id, summary.endpoint, status, _turn_words(turn), prompt, begun)


def _turn_words(turn: TurnRecord | None) -> str:
    if turn is None:
        return ""
    reason = f": {turn.reason}" if turn.reason else ""
    unconfirmed = ", unconfirmed" if turn.confirmed is False else ""
    return ", ".join([f"{turn.turn_id} {turn.state}{reason}{unconfirmed}", *notes(turn)])


def _thread_entry(summary: ThreadSummary, thread: ThreadSnapshot | None) -> dict[str, object]:
    turn = _latest(thread) if thread else None
    return {
        "thread": summary.thread_id,
        "endpoint": summary.endpoint,
        "open": summary.open,
        "started_at": summary.started_at.isoformat(),
        "status": thread.status if thread else None,
        "directory": thread.directory if thread else None,
        "turn": turn.model_dump(mode="json") if turn else None,
        "queued": len(thread.queued) if thread else None,
    }


async def show(connector: Connector, state_dir: Path, thread_id: str, *, as_json: bool) -> Exit:
    """One thread: where it works, what runs, what waits, how the latest turns ended."""
    service = await connector(state_dir)
    thread = await service.keeper.thread(thread_id)
    if thread.active is None and not thread.queued and not thread.recent:
        raise _without_turn(thread)
    turn = await _running_turn(service.keeper, thread)
    if as_json:
        entry = {
            "event": "thread",
            **thread.model_dump(mode="json"),
            "turn": turn.model_dump(mode="json") if turn else None,
            "link": _latest_link(service, thread),
        }
        write_entry(sys.stdout, entry)
        return Exit.OK
    sys.stdout.writelines(f"{line}\n" for line in _thread_lines(service, thread, turn))
    return Exit.OK


def _without_turn(thread: ThreadSnapshot) -> RefusedError:
    """A thread that ended with the refusal of its first prompt, or is about to check it: nothing to show or stop."""
    why = f" {thread.last_error}" if thread.last_error else ""
    return RefusedError(f"Thread {thread.thread_id!r} has no turn: no prompt was accepted.{why}", code="no_turn")


async def _running_turn(keeper: Keeper, thread: ThreadSnapshot) -> TurnSnapshot | None:
    if thread.active is None or thread.active.run_id is None:
        return None
    try:
        return await keeper.turn(thread.thread_id, thread.active.run_id)
    except ServiceUnavailableError:
        return None  # it ended this moment, or its worker is busy: the thread's own words stand


def _latest_link(service: Service, thread: ThreadSnapshot) -> str | None:
    turn = _latest(thread)
    return service.link(thread.thread_id, turn.run_id) if turn and turn.run_id else None


def _thread_lines(service: Service, thread: ThreadSnapshot, turn: TurnSnapshot | None) -> list[str]:
    found = [
        f"thread {thread.thread_id}: {'closed' if thread.closed else thread.status}",
        f"endpoint {thread.endpoint}, directory {one_line(thread.directory, PROMPT_SHOWN * 4)}",
        f"provider session {thread.session_id or (turn.session_id if turn else None) or 'none yet'}",
    ]
    if thread.closed:
        again = f"; the prompts that waited were not sent: turnkeeper close {thread.thread_id}" if thread.queued else ""
        found.append(f"it takes no more prompts; the same name begins a new thread{again}")
    if thread.permissions:
        rules = ", ".join(f"{rule.action} {rule.permission}:{rule.target}" for rule in thread.permissions)
        found.append(f"permission rules, the first match decides: {one_line(rules, PROMPT_SHOWN * 4)}")
    if thread.last_error:
        found.append(f"last error: {one_line(thread.last_error, lines.LINE_CHARACTERS)}")
    if what_to_do := next_step(thread):
        found.append(f"what to do: {one_line(what_to_do, lines.LINE_CHARACTERS)}")
    found += _line_for_place(thread)
    if turn is not None:
        found.append(f"running: {turn.turn_id} {turn.state}, {turn.doing}")
        if turn.retry_at is not None:
            found.append(f"the model failed; the provider tries again by itself at {turn.retry_at:%H:%M:%S} UTC")
        for request in turn.open_requests:
            found.append(f"waiting for you: {one_line(f'{request.kind} {request.title}', lines.LINE_CHARACTERS)}")
            found += [f"    {line}" for line in lines.answering(thread.thread_id, request)]
        for answer in turn.answers:
            if answer.failure is not None:
                why = f"{answer.state} {answer.failure.message} {answer.failure.next_step}"
                found.append(f"answer to {answer.request_id}: {one_line(why, lines.LINE_CHARACTERS)}")
    turns = [*thread.recent, *([thread.active] if thread.active else []), *thread.queued]
    if turns:
        rows = [(_turn_words(item), one_line(item.prompt_start, PROMPT_SHOWN), item.error or "") for item in turns]
        found += ["", *(line.rstrip("\n") for line in columns(("TURN", "PROMPT", "ERROR"), rows))]
    if link := _latest_link(service, thread):
        found += ["", f"see it: {link}"]
    return found


def _line_for_place(thread: ThreadSnapshot) -> list[str]:
    place = thread.place
    if place is None or place.granted:
        return []
    return [one_line(own_place.words(place, thread.endpoint), lines.LINE_CHARACTERS)]


async def follow(connector: Connector, state_dir: Path, thread_id: str, *, as_json: bool) -> Exit:
    """Follow the thread's turn, or say how the latest one ended. Ctrl-C leaves; it stops nothing."""
    with ctrl_c() as presses:
        service = await connector(state_dir)
        thread = await service.keeper.thread(thread_id)
        turn = thread.active or next(iter(thread.queued), None) or _latest(thread)
        if turn is None:
            raise _without_turn(thread)
        link = service.link(thread_id, turn.run_id) if turn.run_id else None
        subject = Subject(thread_id, turn.turn_id, turn.run_id, turn.idempotency_key, link=link)
        view = choose_view(as_json=as_json, stops=False)
        follower = Follower(service.keeper, view, presses, service.link, stops=False, outage=service.outage)
        try:
            view.begun(subject)
            return await follow_to_exit(follower, view, subject)
        finally:
            view.close()
