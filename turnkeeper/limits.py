"""Every limit of a turn and of what is sent, with its unit and its reason.

These travel in messages (a running turn keeps the limits that it began with), so they live apart from the worker's
settings. Figures on OpenCode's behaviour were measured on 1.18.33; docs/settings.md is generated from here.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

MAX_PAYLOAD_BYTES: Final = 2_000_000
"""Bytes of one payload at most. Temporal takes 2 MiB (2,097,152); the rest is for encryption."""

MAX_PROMPT_CHARACTERS: Final = 256 * 1024
"""Characters of one prompt: more than a model reads with attention."""

MAX_PROMPT_BYTES: Final = 3 * MAX_PROMPT_CHARACTERS + 2
"""Bytes of one prompt as JSON: the longest in any alphabet of up to 3 bytes a character. Control characters take 6."""

MAX_RULES_BYTES: Final = 64 * 1024
"""Bytes of a thread's permission rules together, as JSON: they travel with every prompt that gives them."""

MAX_WAITING_BYTES: Final = 900_000
"""Bytes of all waiting prompts of a thread together with all that was given with them, and of those taken out of the
queue and remembered: they travel in one payload when it continues as new."""

MAX_ANSWER_BYTES: Final = 64 * 1024
"""Bytes of all answers to one request together, as JSON."""

MAX_FOLLOW_UP_BYTES: Final = 100_000
"""Bytes that a lost turn's follow-up takes in the queue: no prompt of its own, but the rules of the lost one."""

MAX_LISTED_BYTES: Final = 192 * 1024
"""Bytes of the waiting turns in a list, without their prompts: 51 of them with keys of control characters."""

MAX_RUNNING_TEXT: Final = 16 * 1024
"""Characters of the text so far that a look brings while a turn runs: a long turn looks hundreds of times, and Temporal
ends a workflow whose history has 50 MB."""

MAX_TEXT_BYTES: Final = 512 * 1024
"""Bytes of an outcome's text as JSON, whatever `text_limit` says: a snapshot holds it twice."""

MAX_REQUESTS_BYTES: Final = 256 * 1024
"""Bytes of the requests of one reading together, as JSON; the others show as these are answered."""

MAX_ANSWERS_SHOWN_BYTES: Final = 256 * 1024
"""Bytes of the answers in a turn's snapshot, as JSON: the newest of them."""

MAX_ID_CHARACTERS: Final = 200
"""Characters of an id that somebody else gave out. OpenCode's have 30, Temporal's run ids 36."""

MAX_NAMESPACE_CHARACTERS: Final = 1000
"""Temporal's own limit for names."""

MAX_RUN_ID_CHARACTERS: Final = 36
"""Characters of a run id of Temporal, a UUID."""

MAX_TURN_ID_CHARACTERS: Final = 40
"""Characters of a turn's id, which a thread gives out: `t1`, `t2`."""

MAX_QUOTED_CHARACTERS: Final = 500
"""Characters of an error or advice that a thread remembers of a turn."""

MAX_DIGEST_CHARACTERS: Final = 16
"""Characters of a prompt's digest."""

PROMPT_START_CHARACTERS: Final = 80
"""Characters of a prompt kept for lists: one line of a terminal."""

MAX_LABEL_CHARACTERS: Final = 200
"""Characters of a title, a tool's name or what stands for a whole text in a list."""

MAX_SAID_CHARACTERS: Final = 1500
"""Characters of a sentence about what happened: some of them quote a provider, cut to 500, and say what follows."""

MAX_QUEUED_TURNS: Final = 50
"""Prompts waiting in one thread. More is a caller in a loop, not a person."""

MAX_QUEUED_CHARACTERS: Final = 256 * 1024
"""Characters of all waiting prompts of a thread together: they travel in one payload when it continues as new."""

MAX_DIRECTORY_CHARACTERS: Final = 4096
"""Linux's own PATH_MAX."""

MAX_KEY_CHARACTERS: Final = 200
"""Characters of an idempotency key: room for two UUIDs and a prefix."""

MAX_SESSION_ID_CHARACTERS: Final = 100
"""Characters of a provider session's id. OpenCode's have 30."""

MAX_REASON_CHARACTERS: Final = 1000
"""Characters of the reason given with a stop."""

MAX_REQUEST_ID_CHARACTERS: Final = 100
"""Characters of a request's id. OpenCode's have 30."""

MAX_ANSWERS: Final = 20
"""Answers to one request, and choices in one of them. A request with more questions is no question to a person."""

MAX_ANSWER_CHARACTERS: Final = 8000
"""Characters of one answer to a question: a page or two of text."""

MAX_PERMISSION_RULES: Final = 100
"""Permission rules of a thread: they travel with every turn."""

MAX_PATTERN_CHARACTERS: Final = 500
"""Characters of a permission rule's pattern."""

MAX_PATTERNS: Final = 20
"""Patterns of one permission that somebody is asked for. They enter histories with every look."""

MAX_OPTIONS: Final = 12
"""Options of one question; what is not among them can be answered in one's own words."""

LATEST_TOOLS: Final = 8
"""Tool calls shown: what fits on a person's screen beside the rest."""

MAX_BATCH: Final = 100
"""Events of one signal: Temporal buffers at most 100 signals per workflow task."""

MAX_READING_BYTES: Final = 512 * 1024
"""Bytes of what the relay read beside a full batch of events. A bigger one is left out, and the turn looks itself."""

ANSWERS_SHOWN: Final = 20
"""Answers in a turn's snapshot: what a person reads, not an archive."""

MAX_IDS: Final = 200
"""Message ids of prompts in one list: waiting, steering and removed ones together are fewer."""

MAX_REQUESTS_KEPT: Final = 200
"""Requests of one turn that it remembers with their answers, newest last."""

MAX_RECENT_TURNS: Final = 20
"""Settled turns that a thread remembers itself. Older ones are in Temporal's visibility."""

MAX_REMEMBERED_KEYS: Final = 200
"""Idempotency keys that a thread remembers: far more than any client retries."""

MAX_REMEMBERED_STOPS: Final = 50
"""Keys of stops that a thread remembers: a stop is repeated within seconds or not at all."""

MAX_TEXT_LIMIT: Final = 512 * 1024
"""Highest `text_limit` of a turn, in characters."""

MAX_THREAD_EVENTS: Final = 2000
"""History events after which a thread continues as new: a takeover replays 0.25 ms of CPU an event."""

MAX_RUNNING_TURNS: Final = 500
"""Most that an endpoint's limit may be. One OpenCode process is planned at tens of live turns."""

PLACES_SHOWN: Final = 20
"""Waiting threads that are shown by name."""

MAX_PLACES_HELD: Final = 1000
"""Places that an endpoint keeps account of, 250 bytes each: twice the highest limit, for turns found running."""

MAX_WAITING_THREADS: Final = 1000
"""Threads in an endpoint's line, 200 bytes each; they travel in one payload. One more asks again later."""

MAX_ENDPOINT_EVENTS: Final = 2000
"""History events after which an endpoint continues as new. A stream that is lost and found costs eight each time,
and Temporal ends a workflow at 51,200: five hours of a stream that comes and goes every three seconds.
With places 140 turns are as many."""

Duration = Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(days=30))]


def _seconds(value: float, reason: str) -> timedelta:
    default: timedelta = Field(default=timedelta(seconds=value), description=reason)
    return default


class TurnLimits(BaseModel):
    """The clocks of a turn. Each `running` has one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    look_interval: Duration = _seconds(
        10,
        "Look this long after the last look when no event came. Bounds the cost of a lost event, and of a lost stream:"
        " a turn that knows that none come looks no more rarely for an hour, and is settled within this and 2 s.",
    )
    look_interval_max: Duration = _seconds(
        180,
        "Each look that finds the turn at work doubles the interval up to this while the relay reads events: they make"
        " a turn look when there is something to see, and each look costs 11 history events.",
    )
    accept_budget: Duration = _seconds(
        30,
        "How long a prompt may be missing from the message list after it was sent. OpenCode needs 1.25 s at worst."
        " Where the provider was away since the prompt left, or cut it off, `confirm_delay` is enough.",
    )
    start_budget: Duration = _seconds(
        10,
        "How long a stored prompt may be without a run before it is sent again. OpenCode needs 0.75 s at worst; the"
        " rest is for load. As above, `confirm_delay` is enough where the provider was away.",
    )
    confirm_delay: Duration = _seconds(
        2,
        "Two readings this far apart must agree that nothing runs. OpenCode is idle up to 0.35 s before final. Of a run"
        " that was with a provider that was away since, 1 s at most is enough.",
    )
    retry_interval: Duration = _seconds(
        1, "First pause after an unreachable provider; doubles up to `retry_interval_max`."
    )
    retry_interval_max: Duration = _seconds(
        3,
        "Longest pause while the provider is away. The relay tries every second and makes turns look at once: the 5 s"
        " from a return to a lost turn's end are that second, two looks and a second between them.",
    )
    unreachable_timeout: Duration = _seconds(
        300,
        "Give up on a provider that does not answer at all. A restart takes 7 s, a node's replacement minutes.",
    )
    session_busy_timeout: Duration = _seconds(
        300,
        "How long a prompt waits for a session that works on something else, as after an unconfirmed stop. Sent into"
        " that, OpenCode may drop it.",
    )
    stall_timeout: Duration = _seconds(
        360,
        "Busy without progress, no tool open. OpenCode's own chunk timeout is 300 s; it must be the first to act.",
    )
    tool_stall_timeout: Duration = _seconds(
        3600, "The same while a tool or child session is open: builds and test suites are silent for long."
    )
    interrupt_grace: Duration = _seconds(
        12, "From a stop to `confirmed` or `unconfirmed`; with one last call's timeout still under 15 s."
    )
    abort_interval: Duration = _seconds(
        1, "Pause between aborts: one that arrives in a prompt's first 1.25 s is answered `true` and lost."
    )
    stop_quiet: Duration = _seconds(
        5,
        "After a stop, how long a prompt must stay without a run before that counts as confirmed (1.25 s at worst).",
    )
    request_timeout: Duration | None = Field(
        default=None,
        description="Nobody answered a permission or question for so long: it is rejected, which ends the turn unless "
        "a sub-agent asked. None waits for a person until the deadline.",
    )
    deadline: Duration = _seconds(8 * 3600, "The hard end of a turn; nothing extends it. A working day of an agent.")
    max_continues: Annotated[int, Field(ge=1, le=20)] = Field(
        default=2,
        description="Follow-ups in a row with `on_lost: continue`: work that kills the provider each time must end.",
    )
    text_limit: Annotated[int, Field(gt=0, le=MAX_TEXT_LIMIT)] = Field(
        default=64 * 1024,
        description="Characters of the final text kept in the outcome; the rest stays in the provider.",
    )

    @model_serializer(mode="wrap")
    def _only_what_is_set(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A caller's `TurnLimits(deadline=…)` says nothing about the others. Admitted limits have all of them set."""
        return {name: value for name, value in whole(self).items() if name in self.model_fields_set}

    def overridden_by(self, other: TurnLimits | None) -> TurnLimits:
        """All limits, explicitly: those set in `other`, else ours. Raises `ValidationError` when they contradict."""
        names = other.model_fields_set if other is not None else set()
        return TurnLimits(**{name: getattr(other if name in names else self, name) for name in TurnLimits.model_fields})

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.look_interval > self.look_interval_max:
            raise ValueError("look_interval must not exceed look_interval_max")
        if self.retry_interval > self.retry_interval_max:
            raise ValueError("retry_interval must not exceed retry_interval_max")
        if 2 * self.confirm_delay >= self.interrupt_grace:
            raise ValueError("interrupt_grace must be longer than two confirm_delay, or no stop could be confirmed")
        if self.stop_quiet >= self.interrupt_grace:
            raise ValueError("stop_quiet must be shorter than interrupt_grace, or no early stop could be confirmed")
        return self


MAX_SUBMITS: Final = 3
"""Times a prompt is sent when the provider is *confirmed* not to have it, or to have stored it and never run it. After
that the provider refuses it, or drops it."""


def in_words(length: timedelta) -> str:
    """A limit as people say it: `5 s`, `90 s`, `15 min`, `8 h`. The largest unit that needs no fraction."""
    seconds = length.total_seconds()
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
