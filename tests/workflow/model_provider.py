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

from tests.workflow.scripted_provider import registered
from turnkeeper.errors import RefusedError, ServiceUnavailableError
from turnkeeper.failures import to_application_error
from turnkeeper.findings import Adoption, AdoptRequest, LiveRun, SessionFound, SessionReading, SessionReadRequest
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
    Reading,
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
from turnkeeper.vocabulary import ENDED, Fault, Standing

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


class Fate(StrEnum):
    """What really became of a prompt that came while another ran."""

    WAITING = "waiting"  # stored; nothing has come of it yet
    TAKEN_UP = "taken up"  # the run works on it as well, or has
    DROPPED = "dropped"  # stored, and the run ended or forgot it


@dataclass
class Joined:
    """A prompt that came while another ran. OpenCode takes it up at the run's next step, or at its end."""

    prompt: str
    message_id: str
    fate: Fate = Fate.WAITING


@dataclass
class Run:
    """One prompt and the work that follows from it."""

    prompt: str
    session_id: str
    message_id: str
    by: str | None = None
    """The run of the `Turn` workflow that sent it, or that follows it; None: somebody else's."""
    state: RunState = RunState.RUNNING
    posts: int = 1
    progress: int = 0
    answers: list[str] = field(default_factory=list)
    """Requests of its agent that were answered, each once."""
    beside: list[str] = field(default_factory=list)
    """Prompts of other turns that were live when this one was taken: there should be none."""
    joined: list[Joined] = field(default_factory=list)

    def end(self, state: RunState) -> None:
        """It ends (or begins to wait) like this; what waits goes on with it at a good end and is dropped at another."""
        waiting = [joined for joined in self.joined if joined.fate is Fate.WAITING]
        match state:
            case RunState.FINISHED if waiting:
                self.take_up()
            case RunState.FINISHED | RunState.ASKING:
                self.state = state
            case _:
                self.state = state
                self.forget()

    def take_up(self) -> None:
        """Its next step: an answer to the latest prompt is one to all before it."""
        self.progress += 1
        self.state = RunState.RUNNING
        if any(joined.fate is Fate.WAITING for joined in self.joined):
            for joined in self.joined:
                joined.fate = Fate.TAKEN_UP

    def forget(self) -> None:
        """What waits is never run."""
        for joined in self.joined:
            if joined.fate is Fate.WAITING:
                joined.fate = Fate.DROPPED


class ModelProvider:
    """The activities of one endpoint, and levers for the test."""

    def __init__(self, task_queue: str) -> None:
        """It is up, and loses nothing until it is told to."""
        self.runs: list[Run] = []
        self.sessions: set[str] = set()
        self.away = False
        self.loses_next_answer = False
        self.loses_next_abort = False
        self.ends_before_next_steer = False
        self._task_queue = task_queue

    # Levers.

    @property
    def live(self) -> list[Run]:
        """What really runs."""
        return [run for run in self.runs if run.state in LIVE]

    def end_all(self, state: RunState) -> None:
        """Every live run ends (or begins to wait) like this; a crash takes no answer either."""
        for run in self.live:
            run.end(state)

    def work(self) -> None:
        """Every live run takes a step; an answered one goes on."""
        for run in self.live:
            run.take_up()

    def forget_waiting(self) -> None:
        """What came while another prompt ran is never run (reported of OpenCode, #46842)."""
        for run in self.live:
            run.forget()

    def begin_elsewhere(self, session_id: str, prompt: str) -> None:
        """Somebody begins a run in a session of their own."""
        self.sessions.add(session_id)
        self.runs.append(Run(prompt, session_id, f"msg_of_{session_id}"))

    def delete_sessions(self) -> None:
        """Somebody deletes all sessions; what runs in them dies with them."""
        self.end_all(RunState.DEAD)
        self.sessions.clear()

    # What a relay would read.

    def read_ended(self) -> Reading | None:
        """The end of what the newest prompt made its session do."""
        run = self.runs[-1] if self.runs else None
        if run is None or self.away or run.session_id not in self.sessions:
            return None
        newest = run.joined[-1] if run.joined else Joined(run.prompt, run.message_id, Fate.TAKEN_UP)
        seen = _seen([run])
        if seen.standing not in ENDED or newest.fate is not Fate.TAKEN_UP:
            return None
        text_limit = TurnLimits().text_limit
        return Reading(session_id=run.session_id, message_id=newest.message_id, text_limit=text_limit, seen=seen)

    # Activities.

    @property
    def activities(self) -> list[Callable[..., Any]]:
        return registered(self)

    @activity.defn(name="admit")
    async def admit(self, request: AdmitRequest) -> Admission:
        opened = self._open(request.session) if request.session is not None else None
        return Admission(
            task_queue=self._task_queue,
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

    @activity.defn(name="read_session")
    async def read_session(self, request: SessionReadRequest) -> SessionReading:
        if self.away:
            return Unreachable(failure=AWAY)
        if request.session_id not in self.sessions:
            return SessionMissing()
        busy = any(run.session_id == request.session_id for run in self.live)
        return SessionFound(session_id=request.session_id, directory="/srv/shop", busy=busy)

    @activity.defn(name="adopt_session")
    async def adopt_session(self, request: AdoptRequest) -> Adoption:
        if self.away:
            raise to_application_error(ServiceUnavailableError("away"))
        if request.session_id not in self.sessions:
            raise to_application_error(RefusedError("There is no such session.", code="no_session"))
        live = next((run for run in self.live if run.session_id == request.session_id), None)
        return Adoption(
            session_id=request.session_id,
            directory="/srv/shop",
            task_queue=self._task_queue,
            limits=request.limits or TurnLimits(),
            live=LiveRun(message_id=live.message_id, prompt=live.prompt) if live is not None else None,
        )

    @activity.defn(name="submit")
    async def submit(self, request: PromptRequest) -> SubmitReport:
        if self.away:
            return NotSent(failure=AWAY)
        if request.session_id not in self.sessions:
            return NotThere(what="session")
        if not self._withdrawn(request):
            return SessionBusy(session_id=request.session_id)
        if self._stored(request.message_id) and not request.fresh_session:
            return Accepted()
        self._take(request, activity.info().workflow_run_id)
        lost, self.loses_next_answer = self.loses_next_answer, False
        return PerhapsSent(detail="the answer was lost") if lost else PerhapsSent(taken=True)

    def _withdrawn(self, request: PromptRequest) -> bool:
        """Out with what was never taken up; a session that works gives nothing back."""
        unanswered = [
            (run, joined)
            for run in self.runs
            for joined in run.joined
            if joined.message_id in request.withdraw and joined.fate is not Fate.TAKEN_UP
        ]
        if unanswered and any(run.session_id == request.session_id for run in self.live):
            return False
        for run, joined in unanswered:
            run.joined.remove(joined)
        return True

    def _take(self, request: PromptRequest, by: str | None) -> None:
        """A prompt of the turn that runs joins it; any other begins a run."""
        known = self._run(request.message_id)
        if known is not None:
            known.posts += 1
            return
        live = [run for run in self.live if run.session_id == request.session_id]
        own = next((run for run in live if run.by == by), None)
        if own is not None and self.ends_before_next_steer:
            self.ends_before_next_steer = False
            own.forget()
            own.end(RunState.FINISHED)
        if own is not None and own.state in LIVE:
            own.joined.append(Joined(request.prompt, request.message_id))
            return
        beside = [run.prompt for run in live if run is not own]
        self.runs.append(Run(request.prompt, request.session_id, request.message_id, by=by, beside=beside))

    @activity.defn(name="look")
    async def look(self, request: LookRequest) -> Observation:
        if self.away:
            return Unreachable(failure=AWAY)
        if request.session_id not in self.sessions:
            return NotThere(what="session")
        first = self._run(request.message_id) or self._taken_up_by(request.message_id)
        if first is None:
            return NotThere(what="prompt", busy=any(live.session_id == request.session_id for live in self.live))
        first.by = first.by or activity.info().workflow_run_id
        # A steer that came after the run's end has a run of its own, and the latest decides.
        family = [first, *(run for run in self.runs if run.message_id in request.steers)]
        joined = [joined for run in family for joined in run.joined if joined.message_id in request.steers]
        open_yet = {one.message_id for one in joined if one.fate is not Fate.TAKEN_UP}
        return _seen(family).model_copy(
            update={
                "steered": tuple(id_ for id_ in request.steers if self._stored(id_)),
                "unanswered": tuple(id_ for id_ in request.steers if id_ in open_yet),
            }
        )

    @activity.defn(name="abort")
    async def abort(self, request: AbortRequest) -> AbortReport:
        if self.away:
            return AbortReport(sent=False, failure=AWAY)
        lost, self.loses_next_abort = self.loses_next_abort, False
        for run in self.live:
            if run.session_id == request.session_id and not lost:
                run.end(RunState.ABORTED)
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

    def _taken_up_by(self, message_id: str) -> Run | None:
        """The run that a prompt went into after the turn that it was for had given it back."""
        taken = (
            run for run in self.runs for one in run.joined if one.message_id == message_id and one.fate is Fate.TAKEN_UP
        )
        return next(taken, None)

    def _stored(self, message_id: str) -> bool:
        joined = {joined.message_id for run in self.runs for joined in run.joined}
        return self._run(message_id) is not None or message_id in joined


def _seen(family: list[Run]) -> Seen:
    run = family[-1]
    asking = run.state is RunState.ASKING
    question = OpenRequest(
        request_id=_request_of(run), kind="permission", session_id=run.session_id, title="bash", permission="bash"
    )
    return Seen(
        standing=STANDINGS[run.state],
        detail=f"it is {run.state}",
        fingerprint=" ".join(f"{run.message_id} {run.progress}" for run in family),
        text="done" if run.state is RunState.FINISHED else "",
        open_requests=(question,) if asking else (),
        open_tools=1 if asking else 0,
        failure=BROKE if run.state is RunState.FAILED else None,
    )


def _request_of(run: Run) -> str:
    """A new one each time that its agent asks."""
    return f"per_{run.message_id}_{run.progress}"
