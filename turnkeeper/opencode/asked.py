"""Permissions and questions of OpenCode in our words. Pure.

Patterns and options are kept as they are, only bounded: rules must match the ones, answers must be the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from turnkeeper.limits import MAX_ANSWERS, MAX_OPTIONS, MAX_PATTERN_CHARACTERS, MAX_PATTERNS, MAX_REQUESTS_BYTES
from turnkeeper.observations import OpenRequest, Option, Question
from turnkeeper.opencode.wire import PermissionRequest, QuestionItem, QuestionRequest
from turnkeeper.opencode.wording import foreign
from turnkeeper.sizes import encoded

MAX_TITLE: Final = 200  # characters of a request's title: one line on a terminal

MAX_QUESTION: Final = 1000
"""Characters of a question: what a person reads before an answer."""

MAX_LABEL: Final = 120  # characters; OpenCode asks its model for one to five words
MAX_DESCRIPTION: Final = 200  # characters of what an option means


MAX_SHORT_QUESTION: Final = 200
"""Characters of a question whose request would be too big, which then has no descriptions either."""


def open_requests(requests: Iterable[PermissionRequest | QuestionRequest]) -> tuple[OpenRequest, ...]:
    """As many of them as one reading may hold; the others show as these are answered."""
    kept: list[OpenRequest] = []
    left = MAX_REQUESTS_BYTES
    for request in requests:
        said = _fitting(open_request(request))
        left -= encoded(said) + 1
        if left < 0:
            break
        kept.append(said)
    return tuple(kept)


def _fitting(request: OpenRequest) -> OpenRequest:
    """Labels stay as they are: they are the answers."""
    if encoded(request) < MAX_REQUESTS_BYTES:
        return request
    short = tuple(
        question.model_copy(
            update={
                "text": question.text[:MAX_SHORT_QUESTION],
                "options": tuple(option.model_copy(update={"description": ""}) for option in question.options),
            }
        )
        for question in request.questions
    )
    return request.model_copy(update={"questions": short})


def open_request(request: PermissionRequest | QuestionRequest) -> OpenRequest:
    """In our words, bounded."""
    if isinstance(request, QuestionRequest):
        title = " / ".join(item.question or item.header for item in request.questions)
        return OpenRequest(
            request_id=request.id,
            kind="question",
            session_id=request.session_id,
            title=foreign(title, MAX_TITLE),
            questions=tuple(_question(item) for item in request.questions[:MAX_ANSWERS]),
        )
    kept = tuple(pattern[:MAX_PATTERN_CHARACTERS] for pattern in request.patterns[:MAX_PATTERNS])
    title = f"{request.permission}: {', '.join(request.patterns)}" if request.patterns else request.permission
    return OpenRequest(
        request_id=request.id,
        kind="permission",
        session_id=request.session_id,
        title=foreign(title, MAX_TITLE),
        permission=request.permission[:MAX_LABEL],
        patterns=kept,
        patterns_cut=kept != request.patterns,
    )


def _question(item: QuestionItem) -> Question:
    return Question(
        text=item.question[:MAX_QUESTION],
        header=item.header[:MAX_LABEL],
        options=tuple(
            Option(label=option.label[:MAX_LABEL], description=option.description[:MAX_DESCRIPTION])
            for option in item.options[:MAX_OPTIONS]
        ),
        multiple=item.multiple,
    )
