"""OpenCode's own form of identifiers, minted by us before anything is sent.

A client's id makes delivery idempotent: the same prompt is stored once. OpenCode
checks only the prefix (measured on 1.18.33), but it and other clients sort by the native form, so we keep it:
twelve hex digits of time (`milliseconds * 4096 + counter`, modulo 2**48) and fourteen base-62 characters of chance.
Sessions count down instead of up, so that the newest sorts first; the server names them itself.

Pure: the clock and the source of chance are handed in, so a workflow may mint ids and replay to the same ones.
"""

from __future__ import annotations

import hashlib
from random import Random
from typing import Final

BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
TIME_BITS: Final = 48
COUNTER_VALUES: Final = 4096  # ids of one millisecond; OpenCode counts them, we draw one
CHANCE_CHARACTERS: Final = 14

MESSAGE_PREFIX: Final = "msg_"
PART_PREFIX: Final = "prt_"
SESSION_PREFIX: Final = "ses_"

_TIME_MASK: Final = (1 << TIME_BITS) - 1


def message_id(milliseconds: int, rng: Random) -> str:
    """Id of a prompt: ascending with time, as OpenCode mints them itself."""
    return MESSAGE_PREFIX + _ascending(milliseconds, rng) + _chance(rng)


def part_id(of_message: str) -> str:
    """Id of a prompt's only part, always the same for the same message.

    Without a part id of its own, a repeated post appends the text a second time (measured on 1.18.33).
    """
    number = int.from_bytes(hashlib.sha256(of_message.encode()).digest())
    digits = []
    for _ in range(CHANCE_CHARACTERS):
        number, digit = divmod(number, len(BASE62))
        digits.append(BASE62[digit])
    return PART_PREFIX + of_message.removeprefix(MESSAGE_PREFIX)[: TIME_BITS // 4] + "".join(digits)


def _ascending(milliseconds: int, rng: Random) -> str:
    stamp = milliseconds * COUNTER_VALUES + rng.randrange(COUNTER_VALUES)
    return f"{stamp & _TIME_MASK:012x}"


def _chance(rng: Random) -> str:
    return "".join(rng.choices(BASE62, k=CHANCE_CHARACTERS))
