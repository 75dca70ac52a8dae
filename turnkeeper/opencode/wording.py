"""Foreign texts made fit for histories, logs and terminals: one line, bounded, without addresses and secrets. Pure.

A provider that answers with an error may quote the request: its address, and the header that let it in. What is known
to be secret is hidden by its value; what only looks like it, by its form. Neither can be certain for a secret that
somebody writes in a form of their own.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from turnkeeper.errors import MAX_FOREIGN_TEXT, bounded

SECRET: Final = "(secret)"  # noqa: S105 - stands for one, and is none

_ADDRESS: Final = re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s\"'<>)\]]+")
_SCHEME: Final = re.compile(r"\b((?i:basic|bearer))\s+(?=\S*[A-Z0-9=])[A-Za-z0-9._~+/=-]{6,}")
_NAMED: Final = re.compile(
    r"""\b((?:proxy-)?authorization|(?:set-)?cookie|[\w-]*api[-_ ]?key|[\w-]*(?:token|password|passwd|secret))"""
    r"""(["']?\s*[:=]\s*["']?)(?:(?:basic|bearer)\s+)?[^\s"',;}\])]{3,}""",
    re.IGNORECASE,
)
_KEY: Final = re.compile(r"\b(?:sk|pk|rk|ghp|gho|xox[abp]|AKIA)[-_]?[A-Za-z0-9_-]{16,}")
_LONGEST_READ: Final = 8 * MAX_FOREIGN_TEXT  # a body of megabytes is not searched for addresses it would lose anyway


def _plain(text: str) -> str:
    """Nothing that steers a terminal or hides what stands there, and no half characters, which no history can keep."""
    if text.isprintable():  # true of almost every text
        return text
    return "".join(char if char.isprintable() or char.isspace() else "\ufffd" for char in text)


def foreign(text: str, limit: int = MAX_FOREIGN_TEXT, hidden: Collection[str] = ()) -> str:
    """`text` on one line, without addresses, the `hidden` and what looks like a secret, cut to `limit` characters."""
    text = _plain(text[:_LONGEST_READ])
    for secret in sorted(hidden, key=len, reverse=True):
        text = text.replace(secret, SECRET)
    text = _NAMED.sub(rf"\1\2{SECRET}", _ADDRESS.sub("(address)", text))
    return bounded(_KEY.sub(SECRET, _SCHEME.sub(rf"\1 {SECRET}", text)), limit)
