"""Foreign texts made fit for histories, logs and terminals: one line, bounded, without addresses. Pure."""

from __future__ import annotations

import re
from typing import Final

from turnkeeper.errors import MAX_FOREIGN_TEXT, bounded

_ADDRESS: Final = re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s\"'<>)\]]+")
_LONGEST_READ: Final = 8 * MAX_FOREIGN_TEXT  # a body of megabytes is not searched for addresses it would lose anyway


def foreign(text: str, limit: int = MAX_FOREIGN_TEXT) -> str:
    """`text` on one line, addresses replaced by `(address)`, cut to `limit` characters."""
    return bounded(_ADDRESS.sub("(address)", text[:_LONGEST_READ]), limit)
