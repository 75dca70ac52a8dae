"""Which directories an endpoint's threads may work in: those inside its roots, after links are resolved.

Asked twice. At the door, so that the caller learns it and the true name is kept. And again right before a session is
opened or a prompt is sent, because a turn can be started past the door by whoever may use Temporal, and because a
directory may have become a link meanwhile. The provider opens it after that, by name: what is turned round in between
(milliseconds), by somebody who may write in a root, no check here can see.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from turnkeeper.errors import RefusedError, bounded
from turnkeeper.observations import Refused
from turnkeeper.settings import EndpointSettings

MAX_SHOWN: Final = 300
"""Characters of a directory's name in a refusal: enough to see what is wrong with it."""


def admitted_directory(directory: str, settings: EndpointSettings) -> str:
    """The directory as the provider gets it: absolute, inside a root after links are resolved.

    Raises:
        RefusedError: not absolute, not a directory, or outside the endpoint's roots.

    """
    path = _readable(directory)
    if not settings.shares_filesystem:
        path = Path(os.path.normpath(path))
    elif (found := _existing(path)) is not None:
        path = found
    else:
        raise RefusedError(f"The directory {_shown(directory)} does not exist.", code="no_directory")
    if not _inside(path, settings):
        raise _outside(directory, settings)
    return str(path)


def refuse_outside(directory: str, settings: EndpointSettings) -> Refused | None:
    """A refusal if the directory, as it was admitted, is not inside (any more). What is gone is not outside."""
    try:
        path = _readable(directory)
        if not _inside(path.resolve() if settings.shares_filesystem else Path(os.path.normpath(path)), settings):
            raise _outside(directory, settings)
    except RefusedError as error:
        return Refused(failure=error.failure())
    except (OSError, RuntimeError):  # a circle of links, not ours to see
        return Refused(failure=_outside(directory, settings).failure())
    return None


def _readable(directory: str) -> Path:
    path = Path(directory)
    if not path.is_absolute():
        raise RefusedError(f"The directory {_shown(directory)} is not absolute.", code="bad_directory")
    if "\0" in directory:
        raise RefusedError("The directory's name holds a zero byte.", code="bad_directory")
    try:
        directory.encode()
    except UnicodeEncodeError:
        raise RefusedError("The directory's name is no text in UTF-8.", code="bad_directory") from None
    return path


def _inside(path: Path, settings: EndpointSettings) -> bool:
    roots = [root.resolve() for root in settings.roots] if settings.shares_filesystem else settings.roots
    return any(path.is_relative_to(root) for root in roots)


def _existing(path: Path) -> Path | None:
    try:
        found = path.resolve(strict=True)
    except (OSError, RuntimeError):  # not there, not ours to see, too long a name, a circle of links
        return None
    return found if found.is_dir() else None


def _outside(directory: str, settings: EndpointSettings) -> RefusedError:
    allowed = ", ".join(str(root) for root in settings.roots)
    return RefusedError(
        f"The directory {_shown(directory)} is outside the endpoint's roots.",
        code="directory_outside_roots",
        next_step=f"Allowed: {allowed} and what is below.",
    )


def _shown(directory: str) -> str:
    return bounded(directory.encode("utf-8", "replace").decode(), MAX_SHOWN)
