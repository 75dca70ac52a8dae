"""The script of the scripted model: what a plan may say, and how one is read out of a prompt. Pure.

A plan is a JSON list between `<<<` and `>>>`, one step for each model call of the turn:

    do it <<<[{"kind": "tool", "name": "bash", "arguments": {"command": "ls"}}, {"kind": "text", "say": "done"}]>>>

Two families of steps, because OpenCode's message history is the only clock a stateless model has:

* *answering* steps (`text`, `tool`, `reasoning`, `finish`, `eof`) leave an assistant message behind, which the next
  request of the turn shows; each uses up one call;
* *failing* steps (`http`, `stall`, `reset`, `malformed`, `error_chunk`) leave nothing behind. They happen `times`
  times ("always" for ever) and are then passed over, so `[http 500, text]` is "fail once, then answer".
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError, model_validator

from turnkeeper.dev.errors import ScriptError

PLAN_OPENS: Final = "<<<"
PLAN_CLOSES: Final = ">>>"
MAX_STEPS: Final = 500
"""Steps in one plan: an endless tool loop is tested with fewer; more is a mistake in a generated plan."""
MAX_TOKENS: Final = 200_000
"""Tokens in one step: the context limit the embedded OpenCode is told."""
MAX_INTERVAL: Final = 3600.0
"""Seconds between two tokens: beyond every provider timeout worth testing, so more is a unit mistake."""
DEFAULT_TOKENS: Final = 5
"""Tokens of a step that names none: an answer one can see, at the price of few events."""

Tokens = Annotated[int, Field(ge=0, le=MAX_TOKENS)]
Seconds = Annotated[float, Field(ge=0, le=MAX_INTERVAL, allow_inf_nan=False)]
Times = Annotated[int, Field(ge=1, le=1_000_000)] | Literal["always"]


class _Step(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Answer(_Step):
    input_tokens: Annotated[int, Field(ge=0, le=10_000_000)] = Field(
        default=10, description="prompt tokens reported as used; over the model's limit, OpenCode compacts"
    )


class TextStep(_Answer):
    """Words: `tokens` of them, or exactly those of `say`; `interval` seconds between two."""

    kind: Literal["text"] = "text"
    tokens: Tokens = DEFAULT_TOKENS
    interval: Seconds = 0.0
    say: str | None = None


class ReasoningStep(_Answer):
    """Reasoning tokens, then the answer `say`, in one model call."""

    kind: Literal["reasoning"] = "reasoning"
    tokens: Tokens = DEFAULT_TOKENS
    interval: Seconds = 0.0
    say: str = "Thought about it."


class ToolCall(_Step):
    """One call. Arguments as an object, or as a string that is sent as it is (to test broken ones)."""

    name: Annotated[str, Field(min_length=1)]
    arguments: dict[str, JsonValue] | str = Field(default_factory=dict)


class ToolStep(_Answer):
    """One call (`name`, `arguments`) or several at once (`calls`), after an optional sentence."""

    kind: Literal["tool"] = "tool"
    calls: Annotated[tuple[ToolCall, ...], Field(min_length=1)]
    say: str = ""

    @model_validator(mode="before")
    @classmethod
    def _single_call(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever was in the JSON
        if not isinstance(data, dict) or "name" not in data:
            return data
        if "calls" in data:
            raise ValueError("give either name and arguments, or calls, not both")
        rest = {key: value for key, value in data.items() if key not in {"name", "arguments"}}
        return rest | {"calls": [{key: data[key] for key in ("name", "arguments") if key in data}]}


class FinishStep(_Answer):
    """A few words, then this `finish_reason`. `unknown` is one that no OpenAI client knows."""

    kind: Literal["finish"] = "finish"
    reason: Literal["stop", "length", "content_filter", "tool_calls", "unknown"]
    tokens: Tokens = DEFAULT_TOKENS


class EofStep(_Answer):
    """A clean end of the stream without finish_reason. OpenCode then simply calls again.

    At least one token: without any, OpenCode would send the same history again, and the step would never be over.
    """

    kind: Literal["eof"] = "eof"
    after: Annotated[int, Field(ge=1, le=MAX_TOKENS)] = DEFAULT_TOKENS


class HttpStep(_Step):
    """An HTTP error before any stream. OpenCode retries 429 and 5xx (2 s, doubling; `retry_after` wins)."""

    kind: Literal["http"] = "http"
    status: Annotated[int, Field(ge=400, le=599)]
    times: Times = 1
    retry_after: Seconds | None = None
    message: str = "scripted failure"
    code: str | None = None


class StallStep(_Step):
    """Accept, perhaps send some tokens, then silence until the client goes away."""

    kind: Literal["stall"] = "stall"
    after: Tokens = 0
    times: Times = "always"


class ResetStep(_Step):
    """Break the connection (TCP RST), before the answer or after some tokens."""

    kind: Literal["reset"] = "reset"
    after: Tokens = 0
    times: Times = 1


class MalformedStep(_Step):
    """Broken JSON inside the stream."""

    kind: Literal["malformed"] = "malformed"
    after: Tokens = 0
    times: Times = 1


class ErrorChunkStep(_Step):
    """An OpenAI error object inside a stream that began with status 200."""

    kind: Literal["error_chunk"] = "error_chunk"
    type: str = "server_error"
    message: str = "scripted error in the stream"
    code: str | None = None
    after: Tokens = 0
    times: Times = 1


AnsweringStep = TextStep | ReasoningStep | ToolStep | FinishStep | EofStep
FailingStep = HttpStep | StallStep | ResetStep | MalformedStep | ErrorChunkStep
Step = AnsweringStep | FailingStep
KINDS: Final = (
    "text", "reasoning", "tool", "finish", "eof", "http", "stall", "reset", "malformed", "error_chunk",
)  # fmt: skip

Plan = tuple[Step, ...]
_PLAN: Final[TypeAdapter[Plan]] = TypeAdapter(
    Annotated[tuple[Annotated[Step, Field(discriminator="kind")], ...], Field(min_length=1, max_length=MAX_STEPS)]
)


class ScriptEntry(_Step):
    """One entry of a script file: prompts that contain `match` get these steps."""

    match: Annotated[str, Field(min_length=1)]
    steps: Annotated[
        tuple[Annotated[Step, Field(discriminator="kind")], ...], Field(min_length=1, max_length=MAX_STEPS)
    ]


class Script(BaseModel):
    """A script file: a JSON list of entries; the first whose `match` is in the prompt wins."""

    model_config = ConfigDict(frozen=True)

    entries: tuple[ScriptEntry, ...] = ()

    @classmethod
    def from_file(cls, path: Path) -> Self:
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ScriptError(f"The script file {path} cannot be read: {error.strerror}.") from error
        except ValueError as error:
            raise ScriptError(f"The script file {path} is not JSON: {error}.") from error
        try:
            return cls(entries=data)
        except ValidationError as error:
            raise ScriptError(f"The script file {path} is wrong: {explain(error)}") from error

    def plan_for(self, prompt: str) -> Plan | None:
        return next((entry.steps for entry in self.entries if entry.match in prompt), None)


def plan_in(prompt: str) -> Plan | None:
    """The plan a prompt carries, or None.

    `<<<` counts only before a `[`: shells and merge conflicts use it too. The JSON is decoded from there, so a plan
    may hold another one inside a string (the prompt of a sub-agent).

    Raises:
        ScriptError: there is a plan and it is wrong.
    """
    start = prompt.find(PLAN_OPENS)
    while start >= 0:
        rest = prompt[start + len(PLAN_OPENS) :].lstrip()
        if rest.startswith("["):
            return _decode(rest)
        start = prompt.find(PLAN_OPENS, start + 1)
    return None


def _decode(text: str) -> Plan:
    try:
        data, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise ScriptError(f"The plan after {PLAN_OPENS} is not JSON: {error}.") from error
    if not text[end:].lstrip().startswith(PLAN_CLOSES):
        raise ScriptError(f"The plan's JSON list must be followed by {PLAN_CLOSES}.")
    return read_plan(data)


def read_plan(data: object) -> Plan:
    """A plan from decoded JSON.

    Raises:
        ScriptError: names the step and what is allowed there.
    """
    try:
        return _PLAN.validate_python(data)
    except ValidationError as error:
        raise ScriptError(f"The plan is wrong: {explain(error)}") from error


def write_plan(plan: Plan) -> str:
    """The plan as it goes into a prompt, markers included."""
    return f"{PLAN_OPENS}{_PLAN.dump_json(plan, exclude_defaults=False).decode()}{PLAN_CLOSES}"


def explain(error: ValidationError) -> str:
    """The first mistake in one line: where, what, and which kinds exist."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = " ".join(str(part + 1) if isinstance(part, int) else str(part) for part in first["loc"])
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"step {where or '?'}: {first['msg']}{more}. Kinds: {', '.join(KINDS)}."


def step_now(plan: Plan, rounds: int, happens: Callable[[int, FailingStep], bool]) -> Step | None:
    """The step for a call after `rounds` assistant messages of this turn; None when the plan is used up.

    `happens(index, step)` says whether a failing step still has one of its `times` left, and takes it.
    """
    remaining = rounds
    for index, step in enumerate(plan):
        if isinstance(step, AnsweringStep):
            if remaining == 0:
                return step
            remaining -= 1
        elif remaining == 0 and happens(index, step):
            return step
    return None
