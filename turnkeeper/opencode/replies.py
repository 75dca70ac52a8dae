"""Permissions and questions of OpenCode 1.18, answered, and cleared away after an abort.

Measured: the `directory` decides, with another one an open request is 404; a second reply is 404; a question takes
words of one's own and fewer answers than it has questions; `reject` closes every other permission of the same session,
`always` those that it covers, in all sessions of the directory until the server restarts.
"""

from __future__ import annotations

from typing import Final

from turnkeeper.errors import (
    ProviderError,
    ProviderNotFoundError,
    ProviderRefusedError,
    ProviderUnreachableError,
)
from turnkeeper.observations import (
    Gone,
    Refused,
    Replied,
    Reply,
    ReplyReport,
    ReplyRequest,
    Unreachable,
)
from turnkeeper.opencode.client import OpenCodeClient
from turnkeeper.vocabulary import PermissionReply

MAX_DEPTH: Final = 10
"""Child sessions below child sessions, as events are routed: a loop must end somewhere."""

AFTER_ABORT: Final = Reply(permission=PermissionReply.REJECT)
"""Closes a permission whose run is over: the answer is listened to by nobody (measured)."""


async def reply(client: OpenCodeClient, request: ReplyRequest) -> ReplyReport:
    """Give the answer; see `OpenCodeDriver.reply`."""
    try:
        await _send(client, request.directory, request.request_id, request.reply)
    except ProviderNotFoundError:
        return Gone()
    except ProviderRefusedError as error:
        return Refused(failure=error.failure())
    except ProviderUnreachableError as error:
        return Unreachable(failure=error.failure())
    except ProviderError as error:
        return Unreachable(failure=error.failure(), perhaps_done=True)
    return Replied()


async def _send(client: OpenCodeClient, directory: str, request_id: str, answer: Reply) -> None:
    if answer.permission is not None:
        await client.reply_permission(directory, request_id, answer.permission, answer.message)
    elif answer.answers is not None:
        await client.reply_question(directory, request_id, answer.answers)
    else:
        await client.reject_question(directory, request_id)


async def reject_leftovers(client: OpenCodeClient, directory: str, session_id: str) -> None:
    """Close what an aborted run of the session or of its children still asks: OpenCode keeps it listed for ever."""
    for permission in await client.permissions(directory):
        if await _belongs(client, permission.session_id, session_id):
            await _reject(client, directory, permission.id, AFTER_ABORT)
    for question in await client.questions(directory):
        if await _belongs(client, question.session_id, session_id):
            await _reject(client, directory, question.id, Reply())


async def _reject(client: OpenCodeClient, directory: str, request_id: str, answer: Reply) -> None:
    try:
        await _send(client, directory, request_id, answer)
    except ProviderNotFoundError:
        return  # closed meanwhile


async def _belongs(client: OpenCodeClient, asking: str, session_id: str) -> bool:
    """Is the asking session the one, or below it?"""
    current: str | None = asking
    for _ in range(MAX_DEPTH):
        if current is None or current == session_id:
            break
        try:
            current = (await client.session(current)).parent_id
        except ProviderNotFoundError:
            return False
    return current == session_id
