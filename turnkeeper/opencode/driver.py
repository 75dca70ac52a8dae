"""What Turnkeeper asks of a provider, said in OpenCode 1.x: open a session, submit, look, abort, reply, check a start.

Each verb returns a report and never raises for a provider's trouble: "could not ask", "asked, and it is not there"
and "asked, and it said no" are different values, because only a confirmed answer may end anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from turnkeeper.errors import DeliveryUnknownError, ProviderError, ProviderNotFoundError, ProviderRefusedError
from turnkeeper.findings import AdoptRequest, LiveRun, SessionReading, SessionReadRequest, SessionTaken, TakeReport
from turnkeeper.limits import MAX_READING_BYTES
from turnkeeper.observations import (
    AbortReport,
    AbortRequest,
    AdmitRequest,
    Failure,
    LookRequest,
    NotThere,
    Observation,
    PromptRequest,
    Reading,
    Refused,
    ReplyReport,
    ReplyRequest,
    Seen,
    SessionMissing,
    SessionReport,
    SessionRequest,
    SubmitReport,
    Unreachable,
)
from turnkeeper.opencode import existing, replies, sessions, submission
from turnkeeper.opencode.assess import ChildSession, Snapshot, assess
from turnkeeper.opencode.catalogue import Catalogue
from turnkeeper.opencode.client import OpenCodeClient
from turnkeeper.opencode.window import newest_prompt, read_newest_turn, read_turn
from turnkeeper.opencode.wire import Message, PermissionRequest, QuestionRequest, Session, StatusEntry
from turnkeeper.sizes import encoded
from turnkeeper.vocabulary import ENDED

MAX_CHILDREN: Final = 20
"""Running child sessions followed in one look. More is a runaway; its permissions are then not all shown."""

CHECK_SECONDS: Final = 8.0
"""Bound of a start's check. A provider that needs longer is one that could not be asked."""

OPEN_SECONDS: Final = 17.0
"""Bound of opening a session: up to five calls, the first of which may start an instance (0.6 s, more under load)."""

LOOK_SECONDS: Final = 10.0
"""Bound of one look, so that a slow provider cannot hold a turn's clock; two to five calls of milliseconds each."""

READ_SECONDS: Final = 1.0
"""Bound of what the relay reads before it tells a turn that its session is idle: two calls of milliseconds. Without it
the turn is told all the same, and looks."""

KNOCK_SECONDS: Final = 1.0
"""Until a server that was away counts as away still. It answers this call in milliseconds, or, where it took it in the
middle of its own start, not at all (seen on 1.18.33); the calls of a look have `request_timeout`, as the first one may
open a directory, and when that is broken off, prompts in there may be lost."""

ABORT_SECONDS: Final = 6.0
"""Bound of one abort. OpenCode answers after its clean-up, 0.3 s at worst; with the look after it, a stop must stay
within its grace."""

REPLY_SECONDS: Final = 6.0
"""Bound of one reply. OpenCode answers in milliseconds."""


class OpenCodeDriver:
    """The verbs of one endpoint. Safe for many at once; holds nothing but a short-lived list of models and agents."""

    def __init__(self, client: OpenCodeClient) -> None:
        """The caller closes the client."""
        self._client = client
        self._catalogue = Catalogue(client)

    async def check_start(self, request: AdmitRequest) -> None:
        """Let a start pass, unless it is certain to fail. A provider that cannot be asked refuses nothing.

        Raises:
            RefusedError: unknown model or agent.

        """
        with suppress(ProviderError, TimeoutError):
            async with asyncio.timeout(CHECK_SECONDS):
                await self._catalogue.check(request.directory, request.model, request.agent)

    async def open_session(self, request: SessionRequest) -> SessionReport:
        """Make sure that the session exists, belongs to the directory and carries our metadata. Safe to repeat."""
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                return await sessions.open_session(self._client, self._catalogue, request)
        except TimeoutError:
            return Unreachable(failure=self._too_slow("opening the session", OPEN_SECONDS))

    async def read_session(self, request: SessionReadRequest) -> SessionReading:
        """Does the session exist, does it work on something? Changes nothing."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await existing.read_session(self._client, request)
        except TimeoutError:
            return Unreachable(failure=self._too_slow("reading the session", LOOK_SECONDS))

    async def take_session(self, request: AdoptRequest, directory: str) -> TakeReport:
        """Mark the session as the thread's, then say what runs in it. Safe to repeat."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await existing.mark_session(self._client, request)
                return SessionTaken(live=await self._live_run(request, directory))
        except ProviderNotFoundError:
            return SessionMissing()
        except ProviderRefusedError as error:
            return Refused(failure=error.failure())
        except ProviderError as error:
            return Unreachable(failure=error.failure())
        except TimeoutError:
            return Unreachable(failure=self._too_slow("taking the session over", LOOK_SECONDS))

    async def _live_run(self, request: AdoptRequest, directory: str) -> LiveRun | None:
        prompt = await newest_prompt(self._client, request.session_id)
        if prompt is None:
            return None
        look = LookRequest(
            endpoint=request.endpoint,
            directory=directory,
            session_id=request.session_id,
            message_id=prompt.info.id,
            text_limit=0,
        )
        if not existing.is_live(await self._look(look)):
            return None
        return LiveRun(message_id=prompt.info.id, prompt=existing.words_of(prompt))

    async def submit(self, request: PromptRequest, seconds: float = submission.SUBMIT_SECONDS) -> SubmitReport:
        """Deliver the prompt unless it is there already. Safe to repeat, also after a lost answer.

        Nothing leaves after `seconds`, which must end before the caller gives the delivery up.
        """
        return await submission.submit(self._client, request, seconds)

    async def look(self, request: LookRequest) -> Observation:
        """One reading of the turn: the status first, then the messages, then what hangs on open tools."""
        what, seconds = "asking for health", KNOCK_SECONDS
        try:
            if request.knock:
                async with asyncio.timeout(seconds):
                    await self._client.health()
            what, seconds = "looking at the turn", LOOK_SECONDS
            async with asyncio.timeout(seconds):
                return await self._look(request)
        except ProviderError as error:
            return Unreachable(failure=error.failure())
        except TimeoutError:
            return Unreachable(failure=self._too_slow(what, seconds))

    async def read_ended(self, directory: str, session_id: str, text_limit: int) -> Reading | None:
        """The turn of the session's newest prompt, if that is over; None if not, or if it cannot be read at once.

        The prompt is looked for among the newest messages only: a longer turn looks for itself.
        """
        try:
            async with asyncio.timeout(READ_SECONDS):
                statuses = await self._client.statuses(directory)
                messages = await read_newest_turn(self._client, session_id)
        except (ProviderError, TimeoutError):
            return None
        if not messages or any(part.open for message in messages for part in message.parts):
            return None
        snapshot = Snapshot(status=statuses.get(session_id), messages=messages)
        seen = assess(snapshot, messages[0].info.id, text_limit, directory)
        if not isinstance(seen, Seen) or seen.standing not in ENDED:
            return None
        reading = Reading(session_id=session_id, message_id=messages[0].info.id, text_limit=text_limit, seen=seen)
        return reading if encoded(reading) <= MAX_READING_BYTES else None

    async def _look(self, request: LookRequest) -> Observation:
        statuses = await self._client.statuses(request.directory)
        try:
            messages = await read_turn(self._client, request.session_id, request.message_id)
        except ProviderNotFoundError:
            return NotThere(what="session")
        children = await self._children(request.session_id, statuses, messages)
        snapshot = Snapshot(
            status=statuses.get(request.session_id),
            messages=messages,
            requests=await self._requests(request.directory, messages),
            children=children,
        )
        return assess(snapshot, request.message_id, request.text_limit, request.directory, request.steers)

    async def abort(self, request: AbortRequest) -> AbortReport:
        """Ask for an abort of the session and of every child that still runs afterwards; reject what they still ask.

        OpenCode takes the children along with a parent that runs; one whose parent died is aborted by name.
        """
        sent = False
        try:
            async with asyncio.timeout(ABORT_SECONDS):
                await self._client.abort(request.session_id)
                sent = True
                statuses = await self._client.statuses(request.directory)
                for child in await self._running_children(request.session_id, statuses):
                    await self._client.abort(child.id)
                await replies.reject_leftovers(self._client, request.directory, request.session_id)
        except ProviderError as error:
            return AbortReport(sent=sent, failure=error.failure())
        except TimeoutError:
            return AbortReport(sent=sent, failure=self._too_slow("aborting", ABORT_SECONDS))
        return AbortReport(sent=sent)

    async def reply(self, request: ReplyRequest) -> ReplyReport:
        """Answer a permission or a question. Repeated after a lost answer it finds the request gone."""
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                return await replies.reply(self._client, request)
        except TimeoutError:
            return Unreachable(failure=self._too_slow("answering a request", REPLY_SECONDS), perhaps_done=True)

    async def _requests(
        self, directory: str, messages: Sequence[Message]
    ) -> tuple[PermissionRequest | QuestionRequest, ...]:
        """Pending requests of the directory; none without an open tool, because every request belongs to one."""
        if not any(part.open for message in messages for part in message.parts):
            return ()
        permissions, questions = await asyncio.gather(
            self._client.permissions(directory), self._client.questions(directory)
        )
        return (*permissions, *questions)

    async def _children(
        self, session_id: str, statuses: dict[str, StatusEntry], messages: Sequence[Message]
    ) -> tuple[ChildSession, ...]:
        parts = [part for message in messages for part in message.parts if part.open and part.state]
        if not any(part.tool == "task" or (part.state and part.state.metadata.child_session) for part in parts):
            return ()
        children = await self._running_children(session_id, statuses)
        return tuple(
            ChildSession(
                session_id=child.id,
                active=True,
                progress=f"{child.id} {child.time.updated} {child.tokens.input} {child.tokens.output}",
            )
            for child in children
        )

    async def _running_children(self, session_id: str, statuses: dict[str, StatusEntry]) -> list[Session]:
        """Child sessions that work on something, theirs included, in a stable order."""
        if not any(entry.active for other, entry in statuses.items() if other != session_id):
            return []
        found: list[Session] = []
        parents = [session_id]
        while parents and len(found) < MAX_CHILDREN:
            try:
                children = await self._client.children(parents.pop(0))
            except ProviderNotFoundError:
                continue  # deleted meanwhile
            running = [child for child in children if (entry := statuses.get(child.id)) and entry.active]
            found.extend(running)
            parents.extend(child.id for child in running)
        return sorted(found[:MAX_CHILDREN], key=lambda child: child.id)

    def _too_slow(self, what: str, seconds: float) -> Failure:
        return DeliveryUnknownError(
            f"{what}: endpoint {self._client.name} did not answer within {seconds:g} s.", code="provider_timeout"
        ).failure()
