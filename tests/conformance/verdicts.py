"""The rows that are not simply performed and judged, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from tests.conformance.judge import DROPPED


@dataclass(frozen=True)
class Differs:
    """Turnkeeper does something else on purpose: `instead` replaces these parts of the row's `then`, and holds."""

    why: str
    instead: dict[str, Any]


@dataclass(frozen=True)
class Overruled(Differs):
    """Other rows of the same file say the contrary, and count: they have to pass."""

    by: tuple[str, ...]


NOT_APPLICABLE: Final = {
    "ing-009": "A thread without a running turn does not follow its provider; the next prompt asks it.",
    "ing-010": "A thread without a running turn does not follow its provider; the next prompt asks it.",
    "rct-021": "There is one protocol: a prompt that perhaps left is looked for (`rct-020`), any other is sent.",
    "rct-022": "A prompt travels with its command, so there is no command whose message is missing.",
    "stp-005": "A worker that ends leaves turns as they are; another one takes over (`st-004`, `rct-020`).",
    "oc-005": "The cursor is the provider's session id; it has no versions.",
    "oc-033": "A start does not wait for the event stream: events only wake, and a turn also looks by its own clock.",
    "oc-040": "A run that somebody else began is followed only when somebody adopts it.",
    "oc-051": "A worker holds no session that it would have to close; when it ends, nothing of a turn is lost.",
}
"""Rows without a meaning here."""

DIFFERS: Final = {
    "ing-020": Differs(
        "A session that was lost says what happened and what to do next: a `stopped` without a text helps nobody.",
        {"session": {"lastError": "$contains:was deleted while the turn ran"}},
    ),
    "ing-033": Differs(
        "A session that was lost says what happened to this turn; an earlier error was cleared when it began.",
        {"session": {"lastError": "$contains:no longer runs this turn"}},
    ),
    "rct-006": Differs(
        "A prompt that the provider refuses is a failed turn, so its session is `error`; the next prompt is welcome.",
        {"session": {"status": "error"}},
    ),
    "svc-002": Differs(
        "A thread without a provider session gets one with its next prompt.",
        {"error_to_caller": DROPPED, "no_calls": DROPPED, "calls": ["opencode.session.create", "sendTurn"]},
    ),
    "svc-004": Differs(
        "A thread belongs to one endpoint; a prompt for another one is refused and touches nothing.",
        {"calls": DROPPED, "rejected": True},
    ),
    "stp-004": Differs(
        "The abort comes before a look: for a second a new prompt shows nowhere, and a stop must not be lost then.",
        {"no_calls": DROPPED},
    ),
    "oc-046": Differs(
        "A thread works in one directory: a session of another one is refused, not forked behind its owner's back.",
        {"calls": DROPPED, "resumeCursor": DROPPED, "error_to_caller": True},
    ),
}
"""Rows that are performed, and judged by what Turnkeeper decided to do instead."""

OVERRULED: Final = {
    "st-002": Overruled(
        "A prompt that had not reached the provider is delivered after a restart.",
        {"session": {"status": "running", "activeTurnId": "turn-1", "lastError": None}},
        by=("rct-019", "st-011"),
    ),
    "st-003": Overruled(
        "A run that the provider lost leaves the session `stopped`, and says so.",
        {"session": {"status": "stopped", "lastError": "$contains:no longer runs this turn"}},
        by=("p26-006",),
    ),
    "stp-002": Overruled(
        "A stop that failed is remembered as the last error.",
        {"session": {"lastError": "busy"}},
        by=("p26-008",),
    ),
}
"""Rows that contradict others of the same file; where two sources disagree, the file itself puts #2666 first."""

PENDING: Final[dict[str, str]] = {}
"""Rows that wait for a feature that is being built."""

FAILING: Final[dict[str, str]] = {}
"""Rows that should hold here and do not: what happens instead."""
