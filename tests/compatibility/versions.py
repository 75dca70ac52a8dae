"""The versions of others that `make compat` tries, beside the pinned ones that CI tests. None of them is promised."""

from __future__ import annotations

from typing import Final

OLDER_TEMPORALIO: Final = "1.28.0"
"""`requirements-older.txt` holds its hashes. Before it there is no `workflow.cancellation_reason`."""

OTHER_OPENCODE: Final = ("1.18.32", "1.18.3", "1.15.13")
"""Older ones, the newest first. The pinned one was the newest on npm on 2026-11-23."""
