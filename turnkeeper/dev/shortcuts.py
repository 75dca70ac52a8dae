"""Prompts in plain words that make the scripted model do something real, for the demo. Pure.

`write hello.txt: some text`, `bash: ls`, `ask Which one? red, green`, `sub-agent: PROMPT`, `count to 100`.
"""

from __future__ import annotations

import re
from posixpath import join
from typing import Final

from pydantic import JsonValue

from turnkeeper.dev.conversation import Call
from turnkeeper.dev.script import Plan, TextStep, ToolCall, ToolStep

SUBAGENT: Final = re.compile(r"^\s*sub-?agent:\s*(?P<prompt>.+)", re.IGNORECASE | re.DOTALL)
_WRITE: Final = re.compile(r"^\s*write\s+(?P<path>\S+?):\s(?P<text>.+)", re.IGNORECASE | re.DOTALL)
_BASH: Final = re.compile(r"^\s*bash:\s*(?P<command>.+)", re.IGNORECASE | re.DOTALL)
_ASK: Final = re.compile(r"^\s*ask:?\s+(?P<question>[^?]+\??)(?P<options>.*)", re.IGNORECASE | re.DOTALL)
_COUNT: Final = re.compile(r"^\s*count to\s+(?P<number>\d{1,4})\b", re.IGNORECASE)
_COUNT_INTERVAL: Final = 0.2
"""Seconds between two numbers: slow enough to watch and to interrupt."""
_EXCERPT: Final = 160
"""Characters of a prompt or a tool's result that an answer repeats: a line on a terminal, few tokens."""
_QUOTE: Final = 40
"""Characters of the prompt in a plain answer: enough to see that it arrived."""
_HEADER: Final = 30
"""Characters of a question's label; OpenCode's schema of the `question` tool asks for at most so many."""


def plan_for_words(call: Call) -> Plan:
    """The plan for a prompt without one; a plain answer if the words mean nothing to us."""
    return hand_over(call) or _write(call) or _bash(call) or _ask(call) or _count(call) or (plain_answer(call.prompt),)


def hand_over(call: Call) -> Plan | None:
    """Everything after `sub-agent:` goes to a sub-agent, a plan included."""
    found = SUBAGENT.match(call.prompt)
    if found is None:
        return None
    prompt = found["prompt"].strip()
    arguments: dict[str, JsonValue] = {
        "description": "Scripted sub-task",
        "prompt": prompt,
        "subagent_type": "general",
    }
    return _tool_then("task", arguments, f"The sub-agent answered: {_excerpt(_task_result(call.result))}")


def plain_answer(prompt: str) -> TextStep:
    """Few tokens: every one is an event in OpenCode."""
    said = _excerpt(prompt, _QUOTE)
    orders = '"write FILE: TEXT", "bash: CMD", "count to N", "ask QUESTION? A, B" and "sub-agent: ORDER"'
    return TextStep(say=f'scripted model: you said "{said}". I only act on {orders}.')


def _write(call: Call) -> Plan | None:
    found = _WRITE.match(call.prompt)
    if found is None:
        return None
    path = found["path"]
    arguments: dict[str, JsonValue] = {
        # OpenCode's write tool asks for an absolute path; join keeps one that already is.
        "filePath": join(call.directory, path),
        "content": found["text"].rstrip() + "\n",
    }
    return _tool_then("write", arguments, f"{path}: {_excerpt(call.result)}")


def _bash(call: Call) -> Plan | None:
    found = _BASH.match(call.prompt)
    if found is None:
        return None
    arguments: dict[str, JsonValue] = {"command": found["command"].strip()}
    return _tool_then("bash", arguments, f"The command said: {_excerpt(call.result)}")


def _ask(call: Call) -> Plan | None:
    found = _ASK.match(call.prompt)
    if found is None:
        return None
    question = found["question"].strip()
    labels = [label.strip() for label in re.split(r"[,/\n]", found["options"]) if label.strip()] or ["Yes", "No"]
    options: list[JsonValue] = [{"label": label, "description": label} for label in labels]
    asked: dict[str, JsonValue] = {"question": question, "header": question[:_HEADER], "options": options}
    return _tool_then("question", {"questions": [asked]}, f"Understood: {_excerpt(call.result)}")


def _count(call: Call) -> Plan | None:
    found = _COUNT.match(call.prompt)
    if found is None:
        return None
    say = " ".join(str(number) for number in range(1, int(found["number"]) + 1))
    return (TextStep(say=say or "0", interval=_COUNT_INTERVAL),)


def _tool_then(name: str, arguments: dict[str, JsonValue], answer: str) -> Plan:
    return (
        ToolStep(calls=(ToolCall(name=name, arguments=arguments),)),
        TextStep(say=f"scripted model: {answer}"),
    )


def _task_result(result: str) -> str:
    found = re.search(r"<task_result>\s*(.*?)\s*</task_result>", result, re.DOTALL)
    return found.group(1) if found else result


def _excerpt(text: str, limit: int = _EXCERPT) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
