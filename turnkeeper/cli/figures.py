"""How the terminal shows numbers and foreign text. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

from turnkeeper.observations import Usage

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 24 * _HOUR
_UNITS: Final = {"s": 1, "m": _MINUTE, "h": _HOUR, "d": _DAY, "": 1}
_DURATION: Final = re.compile(r"^\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[smhd]?)\s*$", re.IGNORECASE)

# Everything that a terminal obeys rather than shows (C0 and C1 without newline and tab, and the marks that reverse
# the direction of text): what a model or a tool wrote must not move the cursor, rename the window or hide a line.
_OBEYED: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """`text` without what would command the terminal."""
    return _OBEYED.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def one_line(text: str, limit: int) -> str:
    """`text` for one line of at most `limit` characters, marked where it was cut."""
    line = " ".join(printable(text).split())
    return line if len(line) <= limit else f"{line[: max(limit - 1, 0)]}…"


def span(seconds: float) -> str:
    """A length of time as people say it: `3.4 s`, `2 min 05 s`, `1 h 07 min`, `3 d 4 h`."""
    seconds = max(seconds, 0.0)
    # Rounded before the unit is chosen, so that 59.96 never reads "60.0 s".
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def clock(seconds: float) -> str:
    """Time since the start for a column: `   0.4s`, `  12.0s`, `1:02:03`."""
    if round(seconds, 1) < _HOUR:
        return f"{seconds:6.1f}s"
    whole = round(seconds)
    return f"{whole // _HOUR}:{whole % _HOUR // _MINUTE:02}:{whole % _MINUTE:02}"


def parse_span(text: str) -> timedelta:
    """`90s`, `15m`, `2h`, `1d` or plain seconds.

    Raises:
        ValueError: anything else.

    """
    found = _DURATION.match(text)
    if found is None:
        raise ValueError(f"{text!r} is not a length of time; write 90s, 15m, 2h or 1d")
    return timedelta(seconds=float(found["number"]) * _UNITS[found["unit"].lower()])


def ago(then: datetime, now: datetime) -> str:
    """How long ago, tolerant of clocks that differ."""
    return f"{span((now - then).total_seconds())} ago"


def tokens(usage: Usage) -> str:
    """`1,234 tokens in, 56 out`, reasoning and cache included where they belong."""
    read = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    return f"{read:,} tokens in, {usage.output_tokens + usage.reasoning_tokens:,} out"


def dollars(usage: Usage) -> str:
    """The cost, with enough digits to see a cheap turn; `$0` when the provider reckons none."""
    if usage.cost == 0:
        return "$0"
    return f"${usage.cost:.2f}" if usage.cost >= 1 else f"${usage.cost:.4f}"
