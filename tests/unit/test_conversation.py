"""What a request to the scripted model means, and what plain words make it do."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from turnkeeper.dev.conversation import Call, ChatRequest, Purpose, understand
from turnkeeper.dev.script import TextStep, ToolCall, ToolStep
from turnkeeper.dev.shortcuts import plan_for_words


def call(prompt: str, *, directory: str = "/project", rounds: int = 0, result: str = "") -> Call:
    return Call(Purpose.TURN, "ses_1", "", directory, prompt, 1, rounds, result)


def request(*messages: dict[str, JsonValue]) -> ChatRequest:
    return ChatRequest.model_validate({"messages": list(messages), "stream": True})


def user(text: str) -> dict[str, JsonValue]:
    return {"role": "user", "content": text}


ASSISTANT: dict[str, JsonValue] = {"role": "assistant", "content": "", "tool_calls": []}
RESULT: dict[str, JsonValue] = {"role": "tool", "tool_call_id": "c", "content": "42"}
SYSTEM: dict[str, JsonValue] = {"role": "system", "content": "You are…\n<env>\n  Working directory: /a b/c\n</env>"}


def test_rounds_are_counted_from_the_last_user_message() -> None:
    understood = understand(
        request(SYSTEM, user("first"), ASSISTANT, RESULT, ASSISTANT, user("second"), ASSISTANT, RESULT),
        {"x-session-id": "ses_9", "x-parent-session-id": "ses_1"},
    )
    assert understood == Call(Purpose.TURN, "ses_9", "ses_1", "/a b/c", "second", 2, 1, "42")


def test_a_result_of_an_earlier_turn_is_not_this_turns() -> None:
    understood = understand(request(user("first"), ASSISTANT, RESULT, ASSISTANT, user("second")), {})
    assert (understood.rounds, understood.result, understood.session) == (0, "", "")


@pytest.mark.parametrize(
    ("opening", "purpose"),
    [
        ("You are a title generator. You output", Purpose.TITLE),
        ("You are a context summarization agent. You", Purpose.COMPACTION),
        ("You are opencode", Purpose.TURN),
    ],
)
def test_housekeeping_is_known_by_its_system_prompt(opening: str, purpose: Purpose) -> None:
    assert understand(request({"role": "system", "content": opening}, user("x")), {}).purpose is purpose


def test_a_prompt_in_several_parts_is_one_text() -> None:
    parts: JsonValue = [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]
    assert understand(request({"role": "user", "content": parts}), {}).prompt == "a\nb"


# Plain words.


@pytest.mark.parametrize(
    ("prompt", "name", "arguments"),
    [
        ("write hello.txt: some text", "write", {"filePath": "/project/hello.txt", "content": "some text\n"}),
        ("Write /else/x.md: # Title\n\nbody", "write", {"filePath": "/else/x.md", "content": "# Title\n\nbody\n"}),
        ("bash: ls -l | wc", "bash", {"command": "ls -l | wc"}),
    ],
)
def test_plain_words_become_a_tool_call(prompt: str, name: str, arguments: dict[str, JsonValue]) -> None:
    step = plan_for_words(call(prompt))[0]
    assert isinstance(step, ToolStep)
    assert step.calls == (ToolCall(name=name, arguments=arguments),)


@pytest.mark.parametrize(
    ("prompt", "question", "labels"),
    [
        ("ask Which one? red, green", "Which one?", ["red", "green"]),
        ("ask: Sure?", "Sure?", ["Yes", "No"]),
        ("ask Go on", "Go on", ["Yes", "No"]),
    ],
)
def test_ask_puts_a_question(prompt: str, question: str, labels: list[str]) -> None:
    step = plan_for_words(call(prompt))[0]
    assert isinstance(step, ToolStep)
    arguments = json.loads(json.dumps(step.calls[0].arguments))["questions"][0]
    assert arguments["question"] == question
    assert [option["label"] for option in arguments["options"]] == labels


def test_a_sub_agent_is_given_the_plan_behind_it() -> None:
    step = plan_for_words(call('sub-agent: look <<<[{"kind": "text"}]>>>'))[0]
    assert isinstance(step, ToolStep)
    assert step.calls[0].name == "task"
    assert isinstance(step.calls[0].arguments, dict)
    assert step.calls[0].arguments["prompt"] == 'look <<<[{"kind": "text"}]>>>'


def test_counting_is_slow_enough_to_watch() -> None:
    step = plan_for_words(call("count to 3"))[0]
    assert isinstance(step, TextStep)
    assert (step.say, step.interval > 0) == ("1 2 3", True)


@given(prompt=st.text(), result=st.text())
def test_every_prompt_gets_a_plan_with_an_answer(prompt: str, result: str) -> None:
    last = plan_for_words(call(prompt, result=result))[-1]
    assert isinstance(last, TextStep)
    assert last.say
