"""Permissions and questions of OpenCode in our words. Pure.

Patterns and options are kept as they are, only bounded: rules must match the ones, answers must be the others.
"""

from __future__ import annotations

from typing import Final

from turnkeeper.limits import MAX_ANSWERS
from turnkeeper.observations import OpenRequest, Option, Question
from turnkeeper.opencode.wire import PermissionRequest, QuestionItem, QuestionRequest
from turnkeeper.opencode.wording import foreign

MAX_TITLE: Final = 200  # characters of a request's title: one line on a terminal

MAX_PATTERNS: Final = 20
"""Of one permission. They enter histories with every look."""

MAX_PATTERN: Final = 500
"""Characters of each: longer than most command lines."""

MAX_QUESTION: Final = 1000
"""Characters of a question: what a person reads before an answer."""

MAX_OPTIONS: Final = 12
"""Of one question; what is not among them can be answered in one's own words."""

MAX_LABEL: Final = 120  # characters; OpenCode asks its model for one to five words
MAX_DESCRIPTION: Final = 200  # characters of what an option means


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
    kept = tuple(pattern[:MAX_PATTERN] for pattern in request.patterns[:MAX_PATTERNS])
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
