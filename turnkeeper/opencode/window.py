"""The part of a session's message list that one turn needs: the prompt and everything after it.

Measured on 1.18.33: a page holds the *newest* `limit` messages, oldest first; `x-next-cursor` leads to the page before
it and is absent when there is none; order is by first storing, never by id, and a repeated post moves a prompt's
`time.created` but not its place. A prompt that was posted with a JSON schema makes every page that holds it, and its
own reading, answer 400 for ever, while pages beside it still read.

A message may hold megabytes (an attached file), and a provider may send what it likes: a page that is too big is asked
for again with fewer messages, and a look ends where it has read enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from turnkeeper.errors import ProviderError, ProviderNotFoundError, ProviderRefusedError
from turnkeeper.opencode.answers import TOO_BIG
from turnkeeper.opencode.client import OpenCodeClient, Page
from turnkeeper.opencode.family import is_client_message
from turnkeeper.opencode.wire import Message, MessageInfo, MessageTime

FIRST_PAGE: Final = 20
"""Messages of the first page: most turns have fewer, and each may carry tool output."""

NEXT_PAGE: Final = 100
"""Messages of a further page: fewer round trips once a turn is known to be long."""

MAX_PAGES: Final = 10
"""Pages of one look. A turn of more than 900 model calls is then seen by its prompt and its newest messages."""

SHORTER_PAGES: Final = (5, 1)
"""To read past a message that cannot be listed, or of a page that is too big as much as can be read."""

MAX_LOOK_BYTES: Final = 32 * 1024 * 1024
"""Of all pages of one look: 600 model calls with 50 KB of tool output each. Of a bigger turn the prompt and the newest
messages are seen, as of one with too many pages."""

_END_OF_TIME: Final = MessageTime(created=float("inf"))
"""Of a prompt whose time is unknown: nothing counts as later by its time alone."""

_POISONED: Final = f"provider_{HTTPStatus.BAD_REQUEST.value}"


async def read_turn(client: OpenCodeClient, session_id: str, message_id: str) -> list[Message]:
    """The prompt and what follows it, oldest first; empty when the prompt is confirmed not to be there.

    Raises:
        ProviderNotFoundError: the *session* does not exist.
        ProviderError: it could not be read.

    """
    page = await _newest(client, session_id)
    if not _holds(page.messages, message_id) and page.older is not None:
        return await _read_back(client, session_id, message_id, page)
    return _from(page.messages, message_id)


async def read_newest_turn(client: OpenCodeClient, session_id: str) -> list[Message]:
    """The newest prompt that somebody posted and what follows it, as far as one page goes; empty without one.

    Raises:
        ProviderNotFoundError: the *session* does not exist.
        ProviderError: it could not be read.

    """
    messages = (await client.messages(session_id, FIRST_PAGE)).messages
    prompt = _newest_prompt(messages)
    return _from(messages, prompt.info.id) if prompt is not None else []


async def newest_prompt(client: OpenCodeClient, session_id: str) -> Message | None:
    """The newest message that somebody posted; None when there is none in the newest pages.

    Raises:
        ProviderNotFoundError: the *session* does not exist.
        ProviderError: it could not be read.

    """
    page = await _newest(client, session_id)
    for _ in range(MAX_PAGES):
        if (found := _newest_prompt(page.messages)) is not None:
            return found
        if page.older is None:
            return None
        page = await client.messages(session_id, NEXT_PAGE, before=page.older)
    return None


def _newest_prompt(messages: Sequence[Message]) -> Message | None:
    users = [message for message in messages if message.info.role == "user"]
    return next((user for user in reversed(users) if is_client_message(user)), None)


async def _newest(client: OpenCodeClient, session_id: str) -> Page:
    for limit in (FIRST_PAGE, *SHORTER_PAGES):
        try:
            return await client.messages(session_id, limit)
        except ProviderError as error:
            if error.detail_code not in {_POISONED, TOO_BIG} or limit == SHORTER_PAGES[-1]:
                raise
    raise AssertionError("the last page either returns or raises")


async def _read_back(client: OpenCodeClient, session_id: str, message_id: str, newest: Page) -> list[Message]:
    """Older pages until the prompt is found; asked for by its id first, so that an absent one costs one call."""
    prompt = await _prompt(client, session_id, message_id)
    if prompt is None:
        return []
    read, cursor, size, limits = list(newest.messages), newest.older, newest.size, [NEXT_PAGE, FIRST_PAGE]
    for _ in range(MAX_PAGES - 1):
        if cursor is None or size >= MAX_LOOK_BYTES or _holds(read, message_id):
            break
        try:
            page = await client.messages(session_id, limits[0], before=cursor)
        except ProviderError as error:
            if error.detail_code == TOO_BIG and len(limits) > 1:
                limits.pop(0)
                continue
            if error.detail_code not in {_POISONED, TOO_BIG}:
                raise
            break
        read, cursor, size = [*page.messages, *read], page.older, size + page.size
    if _holds(read, message_id):
        return _from(read, message_id)
    # Too long or too big a turn, a page that cannot be listed, or a prompt stored since the first page was read.
    since = prompt.info.time.created
    return [prompt, *(m for m in read if m.info.time.created >= since or m.info.parent_id == message_id)]


async def _prompt(client: OpenCodeClient, session_id: str, message_id: str) -> Message | None:
    try:
        return await client.message(session_id, message_id)
    except ProviderNotFoundError:
        return None
    except ProviderRefusedError as error:
        if error.detail_code != _POISONED:
            raise
        # It is stored and cannot be shown; its assistants can, and they name it as their parent.
        return Message(info=MessageInfo(id=message_id, role="user", session_id=session_id, time=_END_OF_TIME))


def _holds(messages: Sequence[Message], message_id: str) -> bool:
    return any(message.info.id == message_id for message in messages)


def _from(messages: Sequence[Message], message_id: str) -> list[Message]:
    start = next((n for n, message in enumerate(messages) if message.info.id == message_id), len(messages))
    return list(messages[start:])
