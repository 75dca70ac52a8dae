"""The grammar of plans and the counting of steps, without any server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from turnkeeper.dev.chunks import Break, Wait, pieces
from turnkeeper.dev.errors import ScriptError
from turnkeeper.dev.script import (
    AnsweringStep,
    EofStep,
    ErrorChunkStep,
    FailingStep,
    FinishStep,
    HttpStep,
    MalformedStep,
    Plan,
    ReasoningStep,
    ResetStep,
    Script,
    StallStep,
    Step,
    TextStep,
    ToolCall,
    ToolStep,
    plan_in,
    read_plan,
    step_now,
    write_plan,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
tokens = st.integers(0, 50)
seconds = st.floats(0, 3600, allow_nan=False)
times = st.integers(1, 5) | st.just("always")
answering: st.SearchStrategy[AnsweringStep] = st.one_of(
    st.builds(TextStep, tokens=tokens, interval=seconds, say=st.none() | st.text(max_size=30)),
    st.builds(ReasoningStep, tokens=tokens, interval=seconds, say=st.text(max_size=30)),
    st.builds(
        ToolStep,
        say=st.text(max_size=10),
        calls=st.lists(
            st.builds(
                ToolCall,
                name=st.text(min_size=1, max_size=10),
                arguments=st.dictionaries(st.text(max_size=5), json_values, max_size=3) | st.text(max_size=10),
            ),
            min_size=1,
            max_size=3,
        ).map(tuple),
    ),
    st.builds(FinishStep, reason=st.sampled_from(["stop", "length", "content_filter", "unknown"]), tokens=tokens),
    st.builds(EofStep, after=st.integers(1, 50)),
)
failing: st.SearchStrategy[FailingStep] = st.one_of(
    st.builds(HttpStep, status=st.integers(400, 599), times=times, retry_after=st.none() | seconds),
    st.builds(StallStep, after=tokens, times=times),
    st.builds(ResetStep, after=tokens, times=times),
    st.builds(MalformedStep, after=tokens, times=times),
    st.builds(ErrorChunkStep, type=st.text(max_size=10), code=st.none() | st.text(max_size=5), times=times),
)
plans: st.SearchStrategy[Plan] = st.lists(answering | failing, min_size=1, max_size=8).map(tuple)


def never(_index: int, _step: FailingStep) -> bool:
    return False


# Reading plans.


@given(plan=plans, before=st.text(max_size=20).filter(lambda text: "<<<" not in text), after=st.text(max_size=20))
def test_a_written_plan_reads_back_from_any_prompt(plan: Plan, before: str, after: str) -> None:
    before = before.rstrip("<")
    assert plan_in(f"{before}{write_plan(plan)}{after}") == plan


@given(inner=plans)
def test_a_plan_may_carry_another_in_a_string(inner: Plan) -> None:
    task = ToolStep(calls=(ToolCall(name="task", arguments={"prompt": write_plan(inner)}),))
    outer = plan_in(write_plan((task,)))
    assert outer == (task,)
    assert isinstance(outer[0], ToolStep)
    arguments = outer[0].calls[0].arguments
    assert isinstance(arguments, dict)
    assert plan_in(str(arguments["prompt"])) == inner


@given(text=st.text())
def test_any_text_is_a_plan_or_none_or_a_script_error(text: str) -> None:
    for prompt in (text, f"<<<[{text}", f"<<<[{text}]>>>"):
        try:
            plan_in(prompt)
        except ScriptError as error:
            assert str(error)  # noqa: PT017 - either end is right; an error must say something


@pytest.mark.parametrize("prompt", ["", "hello", "cat <<< word", "<<<<<<< HEAD\nmine\n=======", "<<<", "<<< {"])
def test_other_uses_of_the_marker_are_no_plan(prompt: str) -> None:
    assert plan_in(prompt) is None


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ("[]>>>", "at least 1 item"),
        ('[{"kind": "text"}', "not JSON"),
        ('[{"kind": "text"}] and no end', "must be followed by >>>"),
        ('[{"kind": "sing"}]>>>', "step 1: Input tag 'sing'"),
        ('[{"tokens": 3}]>>>', "step 1: Unable to extract tag"),
        ('[{"kind": "text"}, {"kind": "text", "tokns": 3}]>>>', "step 2 text tokns: Extra inputs are not permitted"),
        ('[{"kind": "http", "status": 200}]>>>', "step 1 http status: Input should be greater than or equal to 400"),
        ('[{"kind": "tool", "calls": []}]>>>', "step 1 tool calls: Tuple should have at least 1 item"),
        ('[{"kind": "tool", "name": "a", "calls": []}]>>>', "either name and arguments, or calls"),
        ('[{"kind": "text", "interval": 1e9}]>>>', "step 1 text interval: Input should be less than or equal to 3600"),
        ('[{"kind": "eof", "after": 0}]>>>', "step 1 eof after"),
    ],
)
def test_a_wrong_plan_names_the_step_and_what_is_allowed(plan: str, said: str) -> None:
    with pytest.raises(ScriptError) as raised:
        plan_in(f"do <<<{plan}")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_one_call_may_be_written_without_a_list() -> None:
    short: JsonValue = [{"kind": "tool", "name": "bash", "arguments": {"command": "ls"}}]
    long: JsonValue = [{"kind": "tool", "calls": [{"name": "bash", "arguments": {"command": "ls"}}]}]
    assert read_plan(short) == read_plan(long)


# Which step it is.


@given(steps=st.lists(answering, min_size=1, max_size=8).map(tuple), rounds=st.integers(0, 12))
def test_answering_steps_are_taken_one_each_round(steps: Plan, rounds: int) -> None:
    assert step_now(steps, rounds, never) == (steps[rounds] if rounds < len(steps) else None)


@given(plan=plans)
def test_a_plan_without_endless_steps_is_used_up_in_order(plan: Plan) -> None:
    """Play the client: an answering step adds a round, a failing one is called again."""
    left = {index: step.times for index, step in enumerate(plan) if not isinstance(step, AnsweringStep)}
    expected: list[Step] = []
    for step in plan:
        expected += (
            [step] if isinstance(step, AnsweringStep) else [step] * (3 if step.times == "always" else step.times)
        )
        if not isinstance(step, AnsweringStep) and step.times == "always":
            break

    def happens(index: int, _step: FailingStep) -> bool:
        remaining = left[index]
        if remaining == "always":
            return True
        left[index] = remaining - 1
        return remaining > 0

    seen: list[Step] = []
    rounds = 0
    while len(seen) < len(expected) and (step_or_none := step_now(plan, rounds, happens)) is not None:
        seen.append(step_or_none)
        rounds += isinstance(step_or_none, AnsweringStep)
    assert seen == expected


# What goes over the wire.


@given(say=st.text())
def test_the_words_of_an_answer_add_up_to_it(say: str) -> None:
    sent = [piece for piece in pieces(TextStep(say=say)) if isinstance(piece, dict)]
    words = [
        choice["delta"].get("content", "") for piece in sent for choice in json.loads(json.dumps(piece["choices"]))
    ]
    assert "".join(words) == say


@given(step=answering | failing)
def test_a_stream_ends_once_and_properly_or_breaks(step: Step) -> None:
    sent = list(pieces(step))
    breaks = [index for index, piece in enumerate(sent) if isinstance(piece, Break)]
    assert breaks in ([], [len(sent) - 1])
    proper = isinstance(step, TextStep | ReasoningStep | ToolStep | FinishStep)
    ended = [piece for piece in sent if isinstance(piece, dict) and '"usage"' in json.dumps(piece)]
    assert len(ended) == (1 if proper else 0)
    assert not (proper and breaks)


def test_pauses_lie_between_tokens_only() -> None:
    sent = list(pieces(TextStep(tokens=3, interval=0.5)))
    assert [isinstance(piece, Wait) for piece in sent] == [False, True, False, True, False, False, False]


# Script files.


def test_a_script_file_answers_prompts_that_contain_its_words(tmp_path: Path) -> None:
    file = tmp_path / "script.json"
    file.write_text(json.dumps([{"match": "release", "steps": [{"kind": "text", "say": "shipped"}]}]))
    script = Script.from_file(file)
    assert script.plan_for("make a release") == (TextStep(say="shipped"),)
    assert script.plan_for("hello") is None


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "is not JSON"), ('[{"match": "", "steps": []}]', "is wrong"), ("[1]", "is wrong")],
)
def test_a_wrong_script_file_is_named(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "script.json"
    file.write_text(content)
    with pytest.raises(ScriptError, match=said):
        Script.from_file(file)
    with pytest.raises(ScriptError, match="cannot be read"):
        Script.from_file(tmp_path / "none.json")
