"""What is refused at the door because of its form or its size, in words that name both. Pure.

The limits of the contract's types count characters; what Temporal bounds is bytes, and a character is up to six of them
in JSON (a control character, as in the colours of a terminal). So the big texts have a limit in bytes too.
"""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError

from turnkeeper.errors import RefusedError, bounded
from turnkeeper.limits import MAX_ANSWER_BYTES, MAX_PROMPT_BYTES, MAX_RULES_BYTES
from turnkeeper.messages import Answer
from turnkeeper.sizes import encoded
from turnkeeper.thread_messages import StartTurn

IN_A_FILE: Final = "Write it to a file in the directory, and let the prompt name that."
SHORTER: Final = "Shorten it; nothing was started."


def bad_input(error: ValidationError) -> RefusedError:
    """A value that no message may hold, in one line: which field, what is wrong, how long it is and may be."""
    problem = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in problem["loc"])
    context, found = problem.get("ctx", {}), problem["input"]
    match problem["type"]:
        case "string_too_long":
            words = f"has {len(found)} characters; {context['max_length']} are allowed"
        case "too_long":
            words = f"has {len(found)} entries; {context['max_length']} are allowed"
        case _:
            return RefusedError(f"{bounded(field)}: {problem['msg']}.", code="invalid_input")
    return RefusedError(f"{bounded(field)}: {words}.", code="invalid_input", next_step=SHORTER)


def start_too_big(start: StartTurn) -> RefusedError | None:
    """Why a start is too big to be sent, or None."""
    if (size := encoded(start.prompt)) > MAX_PROMPT_BYTES:
        counted = f"{size} bytes ({len(start.prompt)} characters)"
        return _too_big(f"The prompt has {counted}", MAX_PROMPT_BYTES, IN_A_FILE)
    if (size := encoded(start.permissions)) > MAX_RULES_BYTES:
        return _too_big(f"The permission rules have {size} bytes together", MAX_RULES_BYTES, SHORTER)
    return None


def answer_too_big(answer: Answer) -> RefusedError | None:
    """Why an answer is too big to be sent, or None."""
    if (size := encoded(answer.answers)) <= MAX_ANSWER_BYTES:
        return None
    return _too_big(f"The answers have {size} bytes together", MAX_ANSWER_BYTES, IN_A_FILE.replace("prompt", "answer"))


def _too_big(what: str, limit: int, next_step: str) -> RefusedError:
    return RefusedError(f"{what}; {limit} are allowed.", code="too_big", next_step=next_step)


def refuse(error: RefusedError | None) -> None:
    """Raise what there is."""
    if error is not None:
        raise error
