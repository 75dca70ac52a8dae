"""Recorded runs are replayed by today's workflows: a change that would break turns in flight fails here first."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Final

import pytest
from pydantic import JsonValue
from temporalio import workflow
from temporalio.client import WorkflowHistory

import workflows.thread
import workflows.turn
from tests.replay.record import HISTORIES, IDENTITY
from tests.replay.scenes import NAMES
from tests.workflow.stage import replayer
from turnkeeper import adoption, queueing, replies, steering
from workflows import calls
from workflows.thread import ThreadWorkflow
from workflows.turn import TurnWorkflow

BROKEN = """The workflows no longer come to the commands of a recorded run: {failure}

Turns that run while this is deployed would be stuck. If the change is meant: keep the old order behind
`workflow.patched` or deploy with pinned workers, then record again with `python -m tests.replay.record`."""

MACHINE = re.compile(
    r"https?://|localhost|(?:\d{1,3}\.){3}\d{1,3}"
    r"|/(?:home|root|tmp|work|Users|var|usr|opt|private)/|\d+@\w|Bearer |Basic "
)
"""Addresses, paths, process identities and credentials."""


def history(name: str) -> WorkflowHistory:
    return WorkflowHistory.from_json(name, (HISTORIES / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
async def test_a_recorded_run_replays(name: str) -> None:
    replayed = await replayer().replay_workflow(history(name), raise_on_replay_failure=False)
    assert replayed.replay_failure is None, BROKEN.format(failure=replayed.replay_failure)


def test_every_recording_is_replayed() -> None:
    assert sorted(path.stem for path in HISTORIES.glob("*.json")) == sorted(NAMES)


# The guard can fail.


Mutation = Callable[[pytest.MonkeyPatch], None]


def opens_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """An activity more."""
    open_once = TurnWorkflow._open_session  # noqa: SLF001 - a mutation of the inside

    async def open_session(self: TurnWorkflow, *, resume: bool, again: bool) -> None:
        await workflow.execute_activity("admit", "x", start_to_close_timeout=timedelta(seconds=1))
        await open_once(self, resume=resume, again=again)

    monkeypatch.setattr(TurnWorkflow, "_open_session", open_session)


def submits_by_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """An activity renamed."""
    monkeypatch.setattr(calls, "SUBMIT", calls.Call("send", calls.SUBMIT.result_type, calls.SUBMIT.limit))


def calls_nothing_locally(monkeypatch: pytest.MonkeyPatch) -> None:
    """Local calls made remote ones."""
    monkeypatch.setattr(TurnWorkflow, "_start_quick", TurnWorkflow._start)  # noqa: SLF001 - as above


def forgets_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command less."""
    monkeypatch.setattr(TurnWorkflow, "_show", lambda _: None)


def lets_people_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that are never given to the provider."""
    monkeypatch.setattr(replies, "due_reply", lambda *_: None)


def sends_what_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt that runs already, sent again."""
    monkeypatch.setattr(workflows.turn, "adopted", lambda turn, _: turn)


def pauses_before_each_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer more, in the thread."""
    start_at_once = ThreadWorkflow._start_child  # noqa: SLF001 - as above

    async def start_child(self: ThreadWorkflow, queued: object) -> object:
        await workflow.sleep(1)
        return await start_at_once(self, queued)  # type: ignore[arg-type]  # whatever it takes

    monkeypatch.setattr(ThreadWorkflow, "_start_child", start_child)


def forgets_what_it_adopts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is live, and that no turn follows."""
    monkeypatch.setattr(adoption, "_following", lambda state, *_: state)


def gives_up_what_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """No turn that goes on with a lost one."""
    monkeypatch.setattr(workflows.thread, "continued", lambda state, *_, **__: state)


def holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue goes on behind the back of whoever stopped its turn."""
    monkeypatch.setattr(queueing, "would_hold", lambda *_: False)


def stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal less, from the thread to its turn."""

    async def stop(*_: object) -> None:
        """Tells nobody."""

    monkeypatch.setattr(ThreadWorkflow, "_stop", stop)


def knows_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """What today's workflows do, also where an earlier one did not."""
    monkeypatch.setattr(workflow, "patched", lambda _: True)


def hands_nothing_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt for a running turn that its thread keeps to itself."""

    async def steer(*_: object) -> None:
        """Tells nobody."""

    monkeypatch.setattr(ThreadWorkflow, "_steer", steer)


def steers_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt that its turn was given and does not send."""
    monkeypatch.setattr(steering, "due", lambda *_: None)


def rests_after_a_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    """The endpoint's activity under other terms: one that a replay compares."""
    monkeypatch.setattr(workflow, "execute_activity", lambda *_, **__: workflow.sleep(1))


MUTATIONS: Final[tuple[tuple[Mutation, str], ...]] = (
    (opens_twice, "turn_lost"),
    (submits_by_another_name, "turn_lost"),
    (calls_nothing_locally, "turn_normal"),
    (forgets_its_state, "turn_interrupted"),
    (lets_people_wait, "turn_asked"),
    (sends_what_was_sent, "turn_adopted"),
    (opens_twice, "turn_resumed"),
    (pauses_before_each_turn, "thread_normal"),
    (pauses_before_each_turn, "thread_lost"),
    (pauses_before_each_turn, "thread_continued_before"),
    (pauses_before_each_turn, "thread_continued_after"),
    (stops_nothing, "thread_interrupted"),
    (forgets_what_it_adopts, "thread_adopted"),
    (gives_up_what_is_lost, "thread_resumed"),
    (holds_nothing, "thread_edited"),
    (stops_nothing, "thread_edited"),
    (pauses_before_each_turn, "thread_stopped"),
    (knows_no_version, "thread_stopped_unasked"),
    (hands_nothing_on, "thread_steered"),
    (steers_nowhere, "turn_steered"),
    (rests_after_a_relay, "endpoint_relayed"),
)


@pytest.mark.parametrize(("mutate", "name"), MUTATIONS)
async def test_a_changed_workflow_does_not_replay(monkeypatch: pytest.MonkeyPatch, mutate: Mutation, name: str) -> None:
    mutate(monkeypatch)
    replayed = await replayer().replay_workflow(history(name), raise_on_replay_failure=False)
    assert isinstance(replayed.replay_failure, workflow.NondeterminismError)


def test_every_recording_was_seen_to_fail() -> None:
    assert {name for _, name in MUTATIONS} == set(NAMES)


# What a recording may hold.


def texts(value: JsonValue) -> Iterator[str]:
    """Every text of a history, payloads decoded."""
    match value:
        case dict():
            for key, inner in value.items():
                yield from payload(inner) if key == "data" and isinstance(inner, str) else texts(inner)
        case list():
            for inner in value:
                yield from texts(inner)
        case str():
            yield value


def payload(data: str) -> Iterator[str]:
    try:
        yield base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        yield data


def identities(value: JsonValue) -> Iterator[JsonValue]:
    match value:
        case dict():
            for key, inner in value.items():
                yield from [inner] if key == "identity" else identities(inner)
        case list():
            for inner in value:
                yield from identities(inner)


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_says_nothing_of_the_machine(name: str) -> None:
    path = HISTORIES / f"{name}.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    said = list(texts(document))
    leaks = [text for text in said if MACHINE.search(text)]
    assert not leaks
    assert set(identities(document)) <= {IDENTITY}
    assert path.stat().st_size < 200_000
