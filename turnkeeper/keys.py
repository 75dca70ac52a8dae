"""Idempotency keys: the same key with the same prompt is the same start, with another prompt it is a mistake. Pure."""

from __future__ import annotations

import hashlib
from typing import Final

from turnkeeper.errors import RefusedError
from turnkeeper.limits import MAX_DIGEST_CHARACTERS

DIGEST_CHARACTERS: Final = MAX_DIGEST_CHARACTERS
"""Hexadecimal digits kept of a prompt's hash, to know it again: 64 bits, against mistakes and not against attacks."""


def prompt_digest(prompt: str) -> str:
    """By this a prompt is known again."""
    return hashlib.sha256(prompt.encode(errors="surrogatepass")).hexdigest()[:DIGEST_CHARACTERS]


def key_reused(turn_id: str, known: str | None, digest: str | None) -> RefusedError | None:
    """The mistake, if a start of `digest` has the key of `turn_id`, whose prompt's digest is `known`.

    None and an empty one are prompts of which nobody kept a digest: nothing can be said about them.
    """
    if not known or not digest or known == digest:
        return None
    return RefusedError(
        f"The key was used before, with another prompt (turn {turn_id}).",
        code="key_reused",
        next_step="Use a new key for a new prompt.",
    )
