"""A provider with real runs inside: it runs what it is given, dies, goes away, loses answers, and knows the truth.

Where `ScriptedProvider` says what a test wants, this one behaves: a prompt that reached it runs until the test ends
the run, an abort ends it, a crash leaves it dead. Tests compare what Turnkeeper says with `Run.state`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from temporalio import activity

from turnkeeper.limits import TurnLimits
from turnkeeper.observations import (
    AbortReport,
    AbortRequest,
    Accepted,
    Admission,
    AdmitRequest,
    Failure,
    Gone,
    LookRequest,
    NotSent,
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
    SessionBusy,
    SessionMissing,
    SessionOpened,
    SessionReport,
    SessionRequest,
    SubmitReport,
    Unreachable,
)
from turnkeeper.vocabulary import Fault, Standing

AWAY: Final = Failure(code="provider_unreachable", fault=Fault.PROVIDER, message="away", retryable=True)
BROKE: Final = Failure(code="provider_error", fault=Fault.PROVIDER, message="the model broke")


class RunState(StrEnum):
    """What really became of a prompt."""

    RUNNING = "running"
    ASKING = "asking"  # it waits for a person
    FINISHED = "finished"
    FAILED = "failed"
    ABORTED = "aborted"
    DEAD = "dead"  # the provider crashed under it


LIVE: Final = frozenset({RunState.RUNNING, RunState.ASKING})

STANDINGS: Final = {
    RunState.RUNNING: Standing.RUNNING,
    RunState.ASKING: Standing.WAITING,
    RunState.FINISHED: Standing.SUCCEEDED,
    RunState.FAILED: Standing.FAILED,
    RunState.ABORTED: Standing.ABORTED,
    RunState.DEAD: Standing.HALTED,
}


@dataclass
class Run:
    """One prompt and the work that follows from it."""

    prompt: str
    session_id: str
    message_id: str
    state: RunState = RunState.RUNNING
    posts: int = 1
    progress: int = 0
    answers: list[str] = field(default_factory=list)
    """Requests of its agent that were answered, each once."""
    beside: list[str] = field(default_factory=list)
    """Prompts of other runs that were live when this one was taken: there should be none."""


class ModelProvider:
    """The activities of one endpoint, and levers for the test."""

    def __init__(self, task_queue: str) -> None:
        """It is up, and loses nothing until it is told to."""
        self.runs: list[Run] = []
        self.sessions: set[str] = set()
        self.away = False
        self.loses_next_answer = False
        self.loses_next_abort = False
        self._task_queue = task_queue

    # Levers.

    @property
    def live(self) -> list[Run]:
        """What really runs."""
        return [run for run in self.runs if run.state in LIVE]

    def end_all(self, state: RunState) -> None:
        """Every live run ends (or begins to wait) like this; a crash takes no answer either."""
        for run in self.live:
            run.state = state

    def work(self) -> None:
        """Every live run stores something; an answered one goes on."""
        for run in self.live:
            run.progress += 1
            run.state = RunState.RUNNING

    def delete_sessions(self) -> None:
        """Somebody deletes all sessions; what runs in them dies with them."""
        self.end_all(RunState.DEAD)
        self.sessions.clear()

    # Activities.

    @property
    def activities(self) -> list[Callable[..., Any]]:
        return [self.admit, self.open_session, self.submit, self.look, self.abort, self.answer, self.relay]

    @activity.defn(name="admit")
    async def admit(self, request: AdmitRequest) -> Admission:
        opened = self._open(request.session) if request.session is not None else None
        return Admission(
            task_queue=self._task_queue,
            local_calls=True,
            directory=request.directory,
            limits=request.limits or TurnLimits(),
            session_id=opened.session_id if isinstance(opened, SessionOpened) else None,
            creation_key=request.session.creation_key if request.session and isinstance(opened, Unreachable) else None,
        )

    @activity.defn(name="open_session")
    async def open_session(self, request: SessionRequest) -> SessionReport:
        return self._open(request)

    def _open(self, request: SessionRequest) -> SessionReport:
        if self.away:
            return Unreachable(failure=AWAY)
        if request.session_id is None:
            session_id = f"ses_{len(self.sessions)}_{request.creation_key[:8]}"
            self.sessions.add(session_id)
            return SessionOpened(session_id=session_id, created=True)
        if request.session_id not in self.sessions:
            return SessionMissing()
        if any(run.session_id == request.session_id for run in self.live):
            return SessionBusy(session_id=request.session_id)
        return SessionOpened(session_id=request.session_id)

    @activity.defn(name="submit")
    async def submit(self, request: PromptRequest) -> SubmitReport:
        if self.away:
            return NotSent(failure=AWAY)
        if request.session_id not in self.sessions:
            return NotThere(what="session")
        known = self._run(request.message_id)
        if known is not None and not request.fresh_session:
            return Accepted()
        if known is not None:
            known.posts += 1
        else:
            beside = [run.prompt for run in self.live if run.session_id == request.session_id]
            self.runs.append(Run(request.prompt, request.session_id, request.message_id, beside=beside))
        lost, self.loses_next_answer = self.loses_next_answer, False
        return PerhapsSent(detail="the answer was lost") if lost else PerhapsSent(taken=True)

    @activity.defn(name="look")
    async def look(self, request: LookRequest) -> Observation:
        if self.away:
            return Unreachable(failure=AWAY)
        if request.session_id not in self.sessions:
            return NotThere(what="session")
        run = self._run(request.message_id)
        if run is None:
            return NotThere(what="prompt", busy=any(live.session_id == request.session_id for live in self.live))
        asking = run.state is RunState.ASKING
        question = OpenRequest(
            request_id=_request_of(run), kind="permission", session_id=run.session_id, title="bash", permission="bash"
        )
        return Seen(
            standing=STANDINGS[run.state],
            detail=f"it is {run.state}",
            fingerprint=f"{run.message_id} {run.progress}",
            text="done" if run.state is RunState.FINISHED else "",
            open_requests=(question,) if asking else (),
            open_tools=1 if asking else 0,
            failure=BROKE if run.state is RunState.FAILED else None,
        )

    @activity.defn(name="abort")
    async def abort(self, request: AbortRequest) -> AbortReport:
        if self.away:
            return AbortReport(sent=False, failure=AWAY)
        lost, self.loses_next_abort = self.loses_next_abort, False
        for run in self.live:
            if run.session_id == request.session_id and not lost:
                run.state = RunState.ABORTED
        return AbortReport(sent=True)

    @activity.defn(name="answer")
    async def answer(self, request: ReplyRequest) -> ReplyReport:
        if self.away:
            return Unreachable(failure=AWAY)
        for run in self.live:
            if run.state is RunState.ASKING and _request_of(run) == request.request_id:
                run.answers.append(request.request_id)
                run.progress += 1
                run.state = RunState.RUNNING
                return Replied()
        return Gone()

    @activity.defn(name="relay")
    async def relay(self, request: RelayRequest) -> None:
        """Never attaches: a turn must settle right without it."""

    def _run(self, message_id: str) -> Run | None:
        return next((run for run in self.runs if run.message_id == message_id), None)


def _request_of(run: Run) -> str:
    """A new one each time that its agent asks."""
    return f"per_{run.message_id}_{run.progress}"
