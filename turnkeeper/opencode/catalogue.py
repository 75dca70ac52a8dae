"""Which models and agents an endpoint has: asked for before a prompt names one that does not exist.

OpenCode takes such a prompt, answers 204 and then never runs it, and the wrong name sticks to the session (measured on
1.18.33). So the names are checked here, where the answer is still a clear no.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from turnkeeper.errors import RefusedError
from turnkeeper.opencode.client import OpenCodeClient

REMEMBER_SECONDS: Final = 60.0
"""How long the lists of a directory are believed: they change when somebody edits a configuration."""

DOUBT_SECONDS: Final = 2.0
"""A name that is missing from lists older than this is looked up again: it may just have been configured."""

MAX_DIRECTORIES: Final = 500
"""Directories remembered; a list holds a few kilobytes."""

MAX_NAMES_SHOWN: Final = 20
"""Names in a refusal: enough to find the right one, short enough for a terminal."""


@dataclass(frozen=True, slots=True)
class _Names:
    read_at: float
    models: frozenset[str]
    agents: frozenset[str]


class Catalogue:
    """The names of one endpoint, by directory: a workspace's own configuration may add some."""

    def __init__(self, client: OpenCodeClient, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` in seconds."""
        self._client = client
        self._clock = clock
        self._known: dict[str, _Names] = {}

    async def check(self, directory: str, model: str | None, agent: str | None) -> None:
        """Pass when both names exist there. None asks for nothing and always passes.

        Raises:
            RefusedError: a name is unknown; says which are known.
            ProviderError: the lists could not be read.

        """
        if model is None and agent is None:
            return
        names = await self._names(directory, REMEMBER_SECONDS)
        if not _known(names, model, agent):
            names = await self._names(directory, DOUBT_SECONDS)
        if model is not None and model not in names.models:
            raise _unknown("model", model, names.models)
        if agent is not None and agent not in names.agents:
            raise _unknown("agent", agent, names.agents)

    async def _names(self, directory: str, oldest: float) -> _Names:
        known = self._known.get(directory)
        if known is not None and self._clock() - known.read_at < oldest:
            return known
        names = _Names(self._clock(), await self._client.models(directory), await self._client.agents(directory))
        self._known.pop(directory, None)
        self._known[directory] = names
        if len(self._known) > MAX_DIRECTORIES:
            del self._known[next(iter(self._known))]
        return names


def _known(names: _Names, model: str | None, agent: str | None) -> bool:
    return (model is None or model in names.models) and (agent is None or agent in names.agents)


def _unknown(kind: str, name: str, known: Iterable[str]) -> RefusedError:
    names = sorted(known)
    more = f" and {len(names) - MAX_NAMES_SHOWN} more" if len(names) > MAX_NAMES_SHOWN else ""
    listed = ", ".join(names[:MAX_NAMES_SHOWN]) or "none"
    return RefusedError(
        f"The provider has no {kind} {name!r}.",
        next_step=f"Available: {listed}{more}.",
        code=f"unknown_{kind}",
    )
