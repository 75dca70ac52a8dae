"""Fresh thread names that a person can read aloud and type again. They tell nothing of the work: ids are not secret."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

_WORDS: Final = """
amber autumn bold brave bright brisk calm clear cool cosy deft early even fair fond fresh gentle glad grand keen kind
late light lucid mellow neat quick quiet ready steady tidy warm
acorn badger beacon birch brook cedar comet crane delta ember falcon fern finch harbour hazel heron island lantern maple
meadow orchard otter pebble pine raven ridge river sparrow spruce thistle willow wren
"""
_QUALITIES: Final = _WORDS.split()[:32]
_THINGS: Final = _WORDS.split()[32:]
_TAIL_DIGITS: Final = 6
"""Hexadecimal digits behind the words: 17 thousand million names together, so that two threads do not meet."""


def fresh_thread() -> str:
    """A new thread id, such as `calm-otter-3f9a2b`."""
    return _name(secrets.token_bytes(8))


def thread_for_key(key: str) -> str:
    """The thread of an idempotency key that came without one: the same key must meet the same thread again."""
    return _name(hashlib.sha256(key.encode()).digest())


def _name(seed: bytes) -> str:
    quality, thing = _QUALITIES[seed[0] % len(_QUALITIES)], _THINGS[seed[1] % len(_THINGS)]
    return f"{quality}-{thing}-{seed[2:8].hex()[:_TAIL_DIGITS]}"
