"""Recorded runs are replayed by today's workflows: a change that would break turns in flight fails here first."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator

import pytest
from pydantic import JsonValue
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from tests.replay.endings import RECORDED
from tests.replay.mutations import MUTATIONS, Mutation
from tests.replay.record import HISTORIES, IDENTITY
from tests.replay.scenes import NAMES
from tests.workflow.stage import replayer, sandbox
from turnkeeper.vocabulary import Reason
from workflows.pinned_turn import PinnedTurnWorkflow

BROKEN = """The workflows no longer come to the commands of a recorded run: {failure}

Runs like this one exist. Deployed, this change would leave them stuck. The recording is right; give the change a guard:
a flag in the input if only new runs shall do it, `workflow.patched` if running ones shall do it from where they are.
docs/changing-workflows.md says which change needs what. Do not record this history again."""

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


async def test_a_recorded_turn_replays_on_a_versioned_worker() -> None:
    """Turns that run while versions are switched on come to such a worker."""
    versioned = Replayer(
        workflows=[PinnedTurnWorkflow], workflow_runner=sandbox(), data_converter=pydantic_data_converter
    )
    await versioned.replay_workflow(history("turn_asked"))


def test_every_recording_is_replayed() -> None:
    assert sorted(path.stem for path in HISTORIES.glob("*.json")) == sorted(NAMES)


def test_every_way_to_end_is_recorded() -> None:
    assert set(RECORDED) == set(Reason), "play the new reason in tests/replay/endings.py and record that scene alone"


SHOWN_IN_THREADS = {
    Reason.REMOVED: '"name": "remove_queued"',
    Reason.TURNKEEPER_ERROR: '"EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TERMINATED"',
}
"""What tells of an ending that no turn of its own reports."""


@pytest.mark.parametrize("reason", Reason)
def test_a_recording_of_an_ending_ends_so(reason: Reason) -> None:
    recorded = (HISTORIES / f"{RECORDED[reason]}.json").read_text(encoding="utf-8")
    if reason in SHOWN_IN_THREADS:
        assert SHOWN_IN_THREADS[reason] in recorded
        return
    last = "".join(texts(json.loads(recorded)["events"][-1]))
    assert re.findall(r'"reason":\s*"([a-z_]+)"', last) == [reason]


# The guard can fail.


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
