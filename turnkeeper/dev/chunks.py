"""A step as the pieces of an OpenAI chat completion: what is sent, when, and where it breaks. Pure."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final, NamedTuple, assert_never

from turnkeeper.dev.script import (
    EofStep,
    ErrorChunkStep,
    FinishStep,
    HttpStep,
    MalformedStep,
    ReasoningStep,
    ResetStep,
    StallStep,
    Step,
    TextStep,
    ToolStep,
)

MODEL_ID: Final = "scripted"
Json = dict[str, object]


class Wait(NamedTuple):
    """Silence before the next piece."""

    seconds: float


class Break(StrEnum):
    """How a stream ends without its proper end."""

    SILENCE = "silence"  # nothing more until the client goes away
    RESET = "reset"  # TCP RST
    EOF = "eof"  # the body ends cleanly, no finish_reason and no [DONE]


Piece = Json | bytes | Wait | Break
"""A JSON chunk, raw bytes for the body, a pause, or a break (always the last piece)."""

_CALL_TOKENS: Final = 20
"""Tokens reported for one tool call; the order of magnitude of a short one."""
_BROKEN_JSON: Final = b'data: {"choices": [{"delta": {"content": "bro\n\n'


def pieces(step: Step) -> Iterator[Piece]:
    """Everything after the response's head. `http` steps have no stream and yield nothing."""
    match step:
        case TextStep():
            yield from _text(step)
        case ReasoningStep():
            yield from _spaced((_delta({"reasoning_content": word}) for word in _tokens(step.tokens)), step.interval)
            yield _delta({"content": step.say})
            yield from _end("stop", step.input_tokens, step.tokens + 1)
        case ToolStep():
            yield from _tools(step)
        case FinishStep():
            yield from _words(step.tokens)
            yield from _end("other" if step.reason == "unknown" else step.reason, step.input_tokens, step.tokens)
        case EofStep():
            yield from _words(step.after)
            yield Break.EOF
        case StallStep():
            yield from _words(step.after)
            yield Break.SILENCE
        case ResetStep():
            yield from _words(step.after)
            yield Break.RESET
        case MalformedStep():
            yield from _words(step.after)
            yield _BROKEN_JSON
            yield Break.EOF
        case ErrorChunkStep():
            yield from _words(step.after)
            yield error_body(step.message, kind=step.type, code=step.code)
            yield Break.EOF
        case HttpStep():
            return
        case _:
            assert_never(step)


def error_body(message: str, *, kind: str, code: str | None = None) -> Json:
    """OpenAI's error object."""
    return {"error": {"message": message, "type": kind, "code": code}}


def _text(step: TextStep) -> Iterator[Piece]:
    words = _tokens(step.tokens) if step.say is None else _split(step.say)
    yield from _spaced((_delta({"content": word}) for word in words), step.interval)
    yield from _end("stop", step.input_tokens, len(words))


def _tools(step: ToolStep) -> Iterator[Piece]:
    if step.say:
        yield _delta({"content": step.say})
    for index, call in enumerate(step.calls):
        arguments = call.arguments if isinstance(call.arguments, str) else _dumps(call.arguments)
        function = {"name": call.name, "arguments": arguments}
        identity = f"call_{secrets.token_hex(8)}"  # unique over the session: OpenCode pairs results by it
        yield _delta({"tool_calls": [{"index": index, "id": identity, "type": "function", "function": function}]})
    yield from _end("tool_calls", step.input_tokens, _CALL_TOKENS * len(step.calls))


def _end(reason: str, input_tokens: int, output_tokens: int) -> Iterator[Json]:
    yield _chunk([{"index": 0, "delta": {}, "finish_reason": reason}])
    usage = {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
    }
    yield _chunk([]) | {"usage": usage}


def _words(number: int) -> Iterator[Json]:
    return (_delta({"content": word}) for word in _tokens(number))


def _tokens(number: int) -> list[str]:
    return [f"tok{index} " for index in range(number)]


def _split(text: str) -> list[str]:
    """Words with the white space after them, so that they add up to the text again."""
    words: list[str] = []
    for part in text.split(" "):
        if words:
            words[-1] += " "
        words.append(part)
    return [word for word in words if word]


def _spaced(chunks: Iterable[Json], interval: float) -> Iterator[Piece]:
    for index, chunk in enumerate(chunks):
        if index and interval:
            yield Wait(interval)
        yield chunk


def _delta(delta: Json) -> Json:
    return _chunk([{"index": 0, "delta": {"role": "assistant"} | delta, "finish_reason": None}])


def _chunk(choices: list[Json]) -> Json:
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": MODEL_ID,
        "choices": choices,
    }


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
