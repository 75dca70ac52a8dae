"""A provider that is a script, at the line where workflows call activities.

Every verb answers what the script says next (the last answer stays), and every call is recorded. A verb can also
fail, take its time, or be run by a worker that dies.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, Self, get_args

from temporalio import activity

from tests.e2e.waiting import until_true
from turnkeeper.findings import Adoption, AdoptReport, AdoptRequest, SessionFound, SessionReading, SessionReadRequest
from turnkeeper.limits import TurnLimits
from turnkeeper.observations import (
    AbortReport,
    AbortRequest,
    Admission,
    AdmitRequest,
    Failure,
    LookRequest,
    NotThere,
    Observation,
    OpenRequest,
    PerhapsSent,
    PromptRequest,
    RelayRequest,
    Replied,
    ReplyReport,
    ReplyRequest,
    Seen,
    SessionOpened,
    SessionReport,
    SessionRequest,
    SubmitReport,
    Unreachable,
)
from turnkeeper.vocabulary import Fault, Record, Standing

Verb = Literal["admit", "open_session", "read_session", "adopt_session", "submit", "look", "abort", "answer", "relay"]


def registered(provider: object) -> list[Callable[..., Any]]:
    """What a worker registers: one method for each verb."""
    return [getattr(provider, verb) for verb in get_args(Verb)]


BEAT: Final = 0.1
"""Seconds between heartbeats of a call that takes its time."""


@dataclass(frozen=True)
class Held:
    """An answer that is given when `released`; the call beats meanwhile, and ends at once when it is cancelled."""

    answer: Record | None = None
    released: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class WorkerDies:
    """The call has reached the provider; its worker never beats again and never reports."""


HANGS: Final = Held()
DIES: Final = WorkerDies()

Answer = Record | Exception | Held | WorkerDies | Callable[[Any], "Record | Held"]


@dataclass(frozen=True)
class Called:
    """One call, as the provider saw it."""

    verb: Verb
    request: Any


class ScriptedProvider:
    """The activities, under their real names."""

    def __init__(self, task_queue: str) -> None:
        """Everything goes well until the script says otherwise.

        `opens_at_door`: a first start gets its session when it is admitted, as from a provider that answers. `limits`:
        what the endpoint's settings would say to whoever names none.
        """
        self.opens_at_door = True
        self.limits = TurnLimits()
        self.max_running_turns: int | None = None
        self.calls: list[Called] = []
        self.cancelled: list[Verb] = []
        self._task_queue = task_queue
        self._script: dict[Verb, list[Answer]] = {}

    def says(self, verb: Verb, *answers: Answer) -> Self:
        """The answers of `verb` from now on, in order; the last one stays."""
        self._script[verb] = list(answers)
        return self

    def forget(self, *verbs: Verb) -> None:
        """From now on everything goes well there."""
        for verb in verbs:
            self._script.pop(verb, None)

    def count(self, verb: Verb) -> int:
        return len(self.requests(verb))

    def requests(self, verb: Verb) -> list[Any]:
        return [call.request for call in self.calls if call.verb == verb]

    def order(self) -> list[Verb]:
        """The verbs as they were called."""
        return [call.verb for call in self.calls]

    async def called(self, verb: Verb, times: int = 1) -> None:
        """Wait until `verb` was called so often."""
        await until_true(lambda: self.count(verb) >= times)

    @property
    def activities(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return registered(self)

    @activity.defn(name="admit")
    async def admit(self, request: AdmitRequest) -> Admission:
        limits = request.limits or self.limits
        session = request.session
        usual = Admission(
            task_queue=self._task_queue,
            directory=request.directory,
            limits=limits,
            session_id=opened(session).session_id if session and self.opens_at_door else None,
            creation_key=session.creation_key if session and not self.opens_at_door else None,
            max_running_turns=self.max_running_turns,
        )
        admission: Admission = await self._perform("admit", request, usual)
        return admission

    @activity.defn(name="open_session")
    async def open_session(self, request: SessionRequest) -> SessionReport:
        report: SessionReport = await self._perform("open_session", request, opened)
        return report

    @activity.defn(name="read_session")
    async def read_session(self, request: SessionReadRequest) -> SessionReading:
        usual = SessionFound(session_id=request.session_id, directory="/srv/shop", busy=False)
        reading: SessionReading = await self._perform("read_session", request, usual)
        return reading

    @activity.defn(name="adopt_session")
    async def adopt_session(self, request: AdoptRequest) -> AdoptReport:
        usual = Adoption(
            session_id=request.session_id,
            directory="/srv/shop",
            task_queue=self._task_queue,
            limits=request.limits or self.limits,
            max_running_turns=self.max_running_turns,
        )
        adoption: AdoptReport = await self._perform("adopt_session", request, usual)
        return adoption

    @activity.defn(name="submit")
    async def submit(self, request: PromptRequest) -> SubmitReport:
        report: SubmitReport = await self._perform("submit", request, PerhapsSent(taken=True))
        return report

    @activity.defn(name="look")
    async def look(self, request: LookRequest) -> Observation:
        observation: Observation = await self._perform("look", request, answered())
        return observation

    @activity.defn(name="abort")
    async def abort(self, request: AbortRequest) -> AbortReport:
        report: AbortReport = await self._perform("abort", request, AbortReport(sent=True))
        return report

    @activity.defn(name="answer")
    async def answer(self, request: ReplyRequest) -> ReplyReport:
        report: ReplyReport = await self._perform("answer", request, Replied())
        return report

    @activity.defn(name="relay")
    async def relay(self, request: RelayRequest) -> None:
        await self._perform("relay", request, HANGS)

    async def _perform(self, verb: Verb, request: Record, usual: Answer) -> Any:  # noqa: ANN401 - one of many reports
        self.calls.append(Called(verb, request))
        script = self._script.get(verb, [usual])
        answer = script[0] if len(script) == 1 else script.pop(0)
        match answer:
            case Exception():
                raise answer
            case Held():
                return await self._hold(verb, answer) or usual
            case Record():
                return answer
            case WorkerDies():
                return activity.raise_complete_async()
            case _:
                said = answer(request)
                return await self._hold(verb, said) if isinstance(said, Held) else said

    async def _hold(self, verb: Verb, held: Held) -> Record | None:
        try:
            while not held.released.is_set():
                if not activity.info().is_local:
                    activity.heartbeat()
                await asyncio.sleep(BEAT)
        except asyncio.CancelledError:
            self.cancelled.append(verb)
            raise
        return held.answer


def opened(request: SessionRequest) -> SessionOpened:
    """The session that was asked for, or a new one."""
    created = request.session_id is None
    return SessionOpened(session_id=request.session_id or f"ses_{uuid.uuid4().hex[:8]}", created=created)


def answered(text: str = "done") -> Seen:
    return Seen(standing=Standing.SUCCEEDED, detail="the agent answered", text=text, fingerprint=text)


def stands(standing: Standing, fingerprint: str = "", *, tools: int = 0, retry_at: datetime | None = None) -> Seen:
    """A reading in which the prompt is stored."""
    detail = f"it is {standing}"
    return Seen(standing=standing, detail=detail, fingerprint=fingerprint, open_tools=tools, retry_at=retry_at)


def asks(title: str = "may I?") -> Seen:
    """A reading in which the agent waits for a person."""
    return asking(OpenRequest(request_id="per_1", kind="permission", session_id="ses_1", title=title))


def asking(*requests: OpenRequest) -> Seen:
    """A reading in which the agent waits for these."""
    return Seen(standing=Standing.WAITING, detail="it asks", fingerprint="asks", open_requests=requests)


AWAY: Final = Failure(code="provider_unreachable", fault=Fault.PROVIDER, message="no answer", retryable=True)
SILENT: Final = Unreachable(failure=AWAY)
RUNNING: Final = stands(Standing.RUNNING, "begun")
ABORTED: Final = stands(Standing.ABORTED, "aborted")
NO_PROMPT: Final = NotThere(what="prompt")
NO_SESSION: Final = NotThere(what="session")
