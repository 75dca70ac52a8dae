"""The contract: bad input is refused at the door, and what is written can be read again, by older and newer workers."""

from __future__ import annotations

import json
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from tests.unit.scripted_turn import T0, seconds, seen
from turnkeeper import messages, observations, thread_messages
from turnkeeper.limits import MAX_KEY_CHARACTERS, MAX_PROMPT_CHARACTERS, MAX_REASON_CHARACTERS, TurnLimits
from turnkeeper.messages import Answer, Evidence, Interrupt, InterruptResult, Outcome, PermissionRule, TurnInput
from turnkeeper.observations import Observation, RelayStatus
from turnkeeper.thread_messages import QueuedTurn, StartTurn, ThreadInput, ThreadState
from turnkeeper.vocabulary import Command, EvidenceKind, Reason, Record, Standing, TurnState

START: Final = {"prompt": "fix the tests", "idempotency_key": "one"}
THREAD: Final = {"thread_id": "t", "endpoint": "local", "directory": "/work"}


def refused(model: type[BaseModel], fields: dict[str, object]) -> str:
    """What is said about `fields`, sent as JSON like everything that comes through Temporal."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(json.dumps(fields))
    return str(caught.value)


OUTCOME: Final = Outcome(
    state=TurnState.COMPLETED,
    reason=Reason.FINISHED,
    evidence=Evidence(kind=EvidenceKind.SNAPSHOT, at=T0, detail="seen"),
    started_at=T0,
    completed_at=T0 + seconds(3),
)


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": " \n\t "}, "prompt"),
        ({"prompt": "x" * (MAX_PROMPT_CHARACTERS + 1)}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": ["fix"]}, "prompt"),
        ({"prompt": "half a \ud800 pair"}, "Invalid JSON"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"idempotency_key": "k" * (MAX_KEY_CHARACTERS + 1)}, "idempotency_key"),
        ({"model": "gpt"}, "model"),
        ({"model": "openai/"}, "model"),
        ({"model": "/gpt"}, "model"),
        ({"model": "open ai/gpt"}, "model"),
        ({"agent": ""}, "agent"),
        ({"agent": "two words"}, "agent"),
        ({"on_busy": "steal"}, "on_busy"),
        ({"endpoint": "Local"}, "endpoint"),
        ({"limits": {"deadline": 0}}, "deadline"),
        ({"limits": {"deadline": "soon"}}, "deadline"),
        ({"limits": {"deadline": 31 * 24 * 3600}}, "deadline"),
        ({"limits": {"dedline": 60}}, "dedline"),
        ({"limits": {"text_limit": 0}}, "text_limit"),
        ({"promt": "a typo"}, "promt"),
    ],
)
def test_a_bad_start_is_refused_by_the_name_of_its_field(change: dict[str, object], field: str) -> None:
    assert field in refused(StartTurn, {**START, **change})


@pytest.mark.parametrize("missing", ["prompt", "idempotency_key"])
def test_a_start_needs_a_prompt_and_a_key(missing: str) -> None:
    assert missing in refused(StartTurn, {name: value for name, value in START.items() if name != missing})


def test_the_biggest_prompt_is_taken_in_any_alphabet() -> None:
    start = StartTurn.model_validate_json(json.dumps({**START, "prompt": "\U0001f9ea" * MAX_PROMPT_CHARACTERS}))
    assert len(start.prompt) == MAX_PROMPT_CHARACTERS


@pytest.mark.parametrize("thread_id", ["", " ", "-a", ".a", "a b", "a/b", "a:b", "a\n", "ä", "a" * 101])
def test_a_thread_id_is_a_plain_word(thread_id: str) -> None:
    assert "thread_id" in refused(ThreadInput, {**THREAD, "thread_id": thread_id})


@pytest.mark.parametrize("name", ["", "Local", "a_b", "a b", "-a", "a" * 64, "a\n"])
def test_an_endpoint_name_is_a_plain_word(name: str) -> None:
    assert "endpoint" in refused(ThreadInput, {**THREAD, "endpoint": name})


def test_a_directory_is_bounded() -> None:
    """An empty one is that of an adopted session; a start that gives one is refused when it is admitted."""
    assert "directory" in refused(ThreadInput, {**THREAD, "directory": "/" * 4097})


def test_the_reason_of_a_stop_is_bounded() -> None:
    assert "why" in refused(Interrupt, {"why": "x" * (MAX_REASON_CHARACTERS + 1)})
    assert Interrupt.model_validate_json("{}") == Interrupt()


# --- what an operator types -----------------------------------------------------------------------------------------


def limited(deadline: str) -> str:
    return f'{{"deadline": {deadline}}}'


@pytest.mark.parametrize(
    ("typed", "meant"),
    [('"PT10S"', 10), ('"PT1H30M"', 5400), ('"P1D"', 86400), ("10", 10), ("0.5", 0.5), ('"00:01:30"', 90)],
)
def test_durations_are_plain_json(typed: str, meant: float) -> None:
    start = f'{{"prompt": "go", "idempotency_key": "k", "limits": {limited(typed)}}}'
    limits = StartTurn.model_validate_json(start).limits
    assert limits is not None
    assert limits.deadline == seconds(meant)


@pytest.mark.parametrize("typed", ['"10"', '"10s"', '"-PT1S"', "-1", "0", "true", '"ten"'])
def test_durations_that_may_mean_anything_are_refused(typed: str) -> None:
    with pytest.raises(ValidationError):
        TurnLimits.model_validate_json(limited(typed))


# --- what travels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        TurnLimits(deadline=seconds(90)),
        StartTurn(prompt="go\non", idempotency_key="k", limits=TurnLimits(look_interval=seconds(0.5))),
        TurnInput(thread_id="t", turn_id="t1", endpoint="local", task_queue="q", directory="/work", prompt="go"),
        OUTCOME,
        ThreadState(
            queue=(
                QueuedTurn(
                    turn_id="t1",
                    start=StartTurn(prompt="go", idempotency_key="k"),
                    limits=TurnLimits(),
                    accepted_at=T0,
                ),
            ),
            idempotency=(("k", "t1"),),
        ),
        InterruptResult(turn_id="t1", was_running=True, outcome=OUTCOME),
        seen(Standing.RUNNING, "one", retry_at=T0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_written_is_read_again(value: BaseModel) -> None:
    written = value.model_dump_json()
    assert type(value).model_validate_json(written) == value
    assert type(value).model_validate_json(written).model_dump_json() == written


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.fractions(min_value="0.001", max_value=2_000_000, max_denominator=1000).map(float))
def test_no_duration_changes_on_its_way(value: float) -> None:
    limits = TurnLimits(deadline=seconds(value))
    assert TurnLimits.model_validate_json(limits.model_dump_json()) == limits


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"permission": "once", "reject": True},
        {"permission": "once", "answers": [["red"]]},
        {"permission": "once", "message": "but be quick"},
        {"answers": [["red"]], "message": "why"},
        {"permission": "perhaps"},
    ],
)
def test_an_answer_says_one_thing(fields: dict[str, object]) -> None:
    refused(Answer, {"request_id": "per_1", **fields})


def test_an_answer_that_says_one_thing_is_taken() -> None:
    given: tuple[dict[str, object], ...] = (
        {"permission": "always"},
        {"permission": "reject", "message": "use ls"},
        {"reject": True, "message": "use ls"},
        {"answers": [["red"], ["S", "L"]]},
    )
    for fields in given:
        Answer.model_validate_json(json.dumps({"request_id": "per_1", **fields}))


@pytest.mark.parametrize("kind", ["seen", "not_there", "unreachable"])
def test_the_three_observations_are_never_mixed_up(kind: str) -> None:
    fields: dict[str, dict[str, object]] = {
        "seen": {"standing": "running", "detail": "d"},
        "not_there": {"what": "prompt"},
        "unreachable": {"failure": {"code": "c", "fault": "provider", "message": "m"}},
    }
    adapter: TypeAdapter[Observation] = TypeAdapter(Observation)
    assert adapter.validate_json(json.dumps({"kind": kind, **fields[kind]})).kind == kind
    with pytest.raises(ValidationError):
        adapter.validate_json(json.dumps(fields[kind]))


def models() -> list[type[BaseModel]]:
    found = [*vars(messages).values(), *vars(thread_messages).values(), *vars(observations).values()]
    unique = {value for value in found if isinstance(value, type) and issubclass(value, Record | Command)}
    return sorted(unique - {Record, Command}, key=lambda model: model.__name__)


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_everything_is_immutable_and_knows_what_to_do_with_a_strange_field(model: type[BaseModel]) -> None:
    assert model.model_config["frozen"]
    sent_by_others = {StartTurn, Interrupt, Answer, PermissionRule, RelayStatus}
    assert (model.model_config["extra"] == "forbid") == (model in sent_by_others)
    assert issubclass(model, Command) == (model in sent_by_others)


def test_a_record_of_a_newer_worker_can_be_read() -> None:
    newer = {**json.loads(OUTCOME.model_dump_json()), "colour": "green"}
    assert Outcome.model_validate(newer) == OUTCOME


def test_a_stop_that_found_nothing_is_confirmed_and_an_unconfirmed_one_is_not() -> None:
    assert InterruptResult(turn_id=None, was_running=False).confirmed
    assert InterruptResult(turn_id="t1", was_running=True, outcome=OUTCOME).confirmed
    unconfirmed = OUTCOME.model_copy(update={"confirmed": False})
    assert not InterruptResult(turn_id="t1", was_running=True, outcome=unconfirmed).confirmed
