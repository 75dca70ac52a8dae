"""The mark that we leave in a provider session, and what a session says about where its events belong. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from turnkeeper.opencode.wire import Session
from turnkeeper.vocabulary import THREAD_ID_PATTERN

METADATA_KEY: Final = "turnkeeper"

MAX_NAMESPACE: Final = 1000
"""Characters of a namespace's name: Temporal's own limit for ids."""

_THREAD: Final = re.compile(THREAD_ID_PATTERN)


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """Where a session's events belong: to its thread, or to whatever its parent belongs to."""

    session_id: str
    parent_id: str | None
    directory: str
    thread: str | None
    namespace: str | None


def mark(thread: str, namespace: str, creation_key: str) -> dict[str, str]:
    """The value under `METADATA_KEY`: where events go, and which creation made the session."""
    return {"thread": thread, "namespace": namespace, "creation": creation_key}


def facts_of_session(session: Session) -> SessionFacts:
    """The facts; a mark that is not of our form counts as none."""
    found: Any = session.metadata.get(METADATA_KEY)
    ours = found if isinstance(found, dict) else {}
    thread, namespace = ours.get("thread"), ours.get("namespace")
    return SessionFacts(
        session_id=session.id,
        parent_id=session.parent_id,
        directory=session.directory,
        thread=thread if isinstance(thread, str) and _THREAD.fullmatch(thread) else None,
        namespace=namespace if isinstance(namespace, str) and len(namespace) <= MAX_NAMESPACE else None,
    )
