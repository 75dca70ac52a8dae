"""Steers in any order: asked, sent, taken up, dropped, late, lost, refused. Every prompt is done at most once.

The pure thread and the pure turns of it, on a virtual clock, against a session on paper that treats what comes while
it works as OpenCode 1.18.33 was measured to: it takes it up, or an abort or a failure leaves it stored and never run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.scripted_turn import SILENT, T0, seconds, seen
from tests.unit.test_lifecycle_properties import ANY, TIGHT
from turnkeeper import queueing, steering, threads
from turnkeeper.errors import RefusedError
from turnkeeper.lifecycle import begin, decide, learn
from turnkeeper.observations import (
    AbortReport,
    Accepted,
    Admission,
    NotSent,
    NotThere,
    Observation,
    PerhapsSent,
    Refused,
    SessionBusy,
    SessionOpened,
    SubmitReport,
)
from turnkeeper.thread_messages import QueuedTurn, StartTurn, ThreadState
from turnkeeper.turn import (
    Abort,
    AbortReported,
    Fact,
    GiveUp,
    GiveUpStop,
    Look,
    LookStarted,
    Observed,
    OpenSession,
    SendReply,
    SendSteer,
    SessionReported,
    Settle,
    Settled,
    SteerAsked,
    SteerReported,
    SteerStarted,
    StopAsked,
    StopCause,
    StopGivenUp,
    Submit,
    SubmitReported,
    SubmitStarted,
    Turn,
    Wait,
)
from turnkeeper.vocabulary import OnBusy, Reason, Standing


class Way(StrEnum):
    """What becomes of a steer's post."""

    ARRIVES = "arrives"
    LATE = "late"  # after an answer that was lost
    LOST = "lost"  # it never arrives, and nobody knows
    REFUSED = "refused"
    NOT_SENT = "not sent"  # the first try; the next one arrives


@dataclass
class Run:
    standing: Standing = Standing.RUNNING


@dataclass
class Message:
    id: str
    prompt: str
    run: Run | None = None


@dataclass
class Session:
    """What OpenCode holds."""

    messages: list[Message] = field(default_factory=list)
    late: list[Message] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    run: Run | None = None

    def post(self, message: Message) -> None:
        if self.stored(message.id) is not None:
            return  # the same message again (measured: nothing happens)
        self.messages.append(message)
        if self.run is None:
            self.run = Run()
            self._take_up([message])

    def stored(self, message_id: str) -> Message | None:
        return next((message for message in self.messages if message.id == message_id), None)

    def waiting(self) -> list[Message]:
        """Behind the latest that runs: what was dropped before it is history."""
        begun = [n for n, message in enumerate(self.messages) if message.run is not None]
        return self.messages[begun[-1] + 1 :] if begun else list(self.messages)

    def step(self) -> None:
        if self.run is not None:
            self._take_up(self.waiting())

    def end(self, standing: Standing) -> None:
        """A good end goes on with what waits."""
        if self.run is not None and standing is Standing.SUCCEEDED and self.waiting():
            self.step()
        elif self.run is not None:
            self.run.standing, self.run = standing, None

    def arrive(self) -> None:
        late, self.late = self.late, []
        for message in late:
            self.post(message)

    def withdraw(self, message_ids: tuple[str, ...]) -> bool:
        left = [message for message in self.messages if message.id in message_ids and message.run is None]
        if left and self.run is not None:
            return False
        self.messages = [message for message in self.messages if message not in left]
        return True

    def look(self, message_id: str, steers: tuple[str, ...]) -> Observation:
        own = self.stored(message_id)
        if own is None:
            return NotThere(what="prompt", busy=self.run is not None)
        stored = [steer for steer in map(self.stored, steers) if steer is not None]
        runs = [message.run for message in (own, *stored) if message.run is not None]
        idle = Standing.UNSTARTED if self.run is None else Standing.RUNNING
        reading = seen(runs[-1].standing if runs else idle, f"{len(runs)}")
        unanswered = tuple(steer.id for steer in stored if steer.run is None)
        return reading.model_copy(update={"steered": tuple(steer.id for steer in stored), "unanswered": unanswered})

    def _take_up(self, messages: list[Message]) -> None:
        for message in messages:
            message.run = self.run
            self.done[message.prompt] += 1


@dataclass
class Story:
    """The thread and its turns, performed as their workflows do."""

    session: Session = field(default_factory=Session)
    state: ThreadState = field(default_factory=ThreadState)
    now: datetime = T0
    turn: Turn | None = None
    queued: QueuedTurn | None = None
    withdraw: tuple[str, ...] = ()
    ways: dict[str, Way] = field(default_factory=dict)
    given: list[str] = field(default_factory=list)

    def give(self, on_busy: OnBusy, way: Way = Way.ARRIVES, *, bound: bool = False) -> None:
        prompt = f"p{len(self.given)}"
        active = self.state.active.turn_id if bound and self.state.active else None
        start = StartTurn(prompt=prompt, idempotency_key=prompt, on_busy=on_busy, expected_turn_id=active)
        admission = Admission(task_queue="q", directory="/srv", limits=TIGHT)
        try:
            self.state = threads.accept(self.state, start, admission, self.now).state
        except RefusedError:
            return
        self.given.append(prompt)
        self.ways[prompt] = way
        self._hand_over()

    def learns(self, fact: Fact) -> None:
        if self.turn is not None:
            self.turn = learn(self.turn, fact, self.now)

    def goes_on(self, until: datetime) -> None:
        """Perform whatever is due until then."""
        for _ in range(5_000):
            if self.turn is None and not self._begin():
                break
            assert self.turn is not None
            decision = decide(self.turn, self.now)
            if isinstance(decision, Wait):
                if decision.until > until:
                    break
                self.now = decision.until
            else:
                self._perform(self.turn, decision)
        else:
            raise AssertionError("decides for ever")
        self.now = max(self.now, until)

    def _begin(self) -> bool:
        begun = threads.begin_next(self.state, self.now)
        if begun is None:
            return False
        self.state, self.queued = begun
        self.withdraw = queueing.left_behind(self.state, self.queued)
        self.state = threads.started(self.state, f"run of {self.queued.turn_id}")
        self.turn = begin(TIGHT, self.now, resume=True)
        return True

    def _perform(self, turn: Turn, decision: object) -> None:
        assert self.queued is not None
        own = Message(self.queued.steer_message_id or f"msg_{self.queued.turn_id}", self.queued.start.prompt)
        match decision:
            case OpenSession():
                busy = self.session.run is not None
                report = SessionBusy(session_id="ses_1") if busy else SessionOpened(session_id="ses_1")
                self.learns(SessionReported(report))
            case Submit():
                self.learns(SubmitStarted())
                self.learns(SubmitReported(self._submit(own)))
            case SendSteer(turn_id):
                self._send(turn_id)
            case Look():
                self.learns(LookStarted())
                self.learns(Observed(self.session.look(own.id, steering.sent_ids(turn))))
            case Abort():
                self.session.end(Standing.ABORTED)
                self.learns(AbortReported(AbortReport(sent=True)))
            case GiveUp(cause, why):
                self.learns(StopAsked(cause, why))
            case GiveUpStop():
                self.learns(StopGivenUp())
            case Settle(outcome):
                self.learns(Settled(outcome))
                inside = steering.answered(turn)
                self.state = threads.settled(self.state, outcome, "ses_1", hold=False, steered=inside)
                self.turn = None
            case SendReply() | _:
                raise AssertionError(f"nothing asks for {decision}")

    def _submit(self, own: Message) -> SubmitReport:
        if not self.session.withdraw(self.withdraw):
            return SessionBusy(session_id="ses_1")
        if self.session.stored(own.id) is not None:
            return Accepted()
        self.session.post(own)
        return PerhapsSent(taken=True)

    def _hand_over(self) -> None:
        for queued in self.state.steering:
            if self.turn is None or queued.steer_message_id is not None:
                continue
            message_id = f"msg_{queued.turn_id}"
            self.state = queueing.steer_named(self.state, queued.turn_id, message_id)
            self.learns(SteerAsked(queued.turn_id, message_id))
            if steering.of_turn(self.turn, queued.turn_id) is None:
                self.state = threads.check(queueing.steer_returned(self.state, queued.turn_id, self.now))

    def _send(self, turn_id: str) -> None:
        self.learns(SteerStarted(turn_id))
        queued = next(queued for queued in self.state.steering if queued.turn_id == turn_id)
        message = Message(queued.steer_message_id or "", queued.start.prompt)
        way = self.ways[message.prompt]
        report: SubmitReport = PerhapsSent(taken=True)
        match way:
            case Way.ARRIVES:
                self.session.post(message)
            case Way.LATE:
                self.session.late.append(message)
                report = PerhapsSent(detail="no answer")
            case Way.LOST:
                report = PerhapsSent(detail="no answer")
            case Way.REFUSED:
                report = Refused(failure=SILENT)
            case Way.NOT_SENT:
                self.ways[message.prompt] = Way.ARRIVES
                report = NotSent(failure=SILENT)
        self.learns(SteerReported(turn_id, report))
        change = queueing.steer_returned(self.state, turn_id, self.now) if way is Way.REFUSED else self.state
        self.state = threads.check(change if way is Way.REFUSED else queueing.steer_sent(change, turn_id))


steers = st.tuples(st.just("steer"), st.sampled_from(Way), st.booleans())
others = st.sampled_from(["prompt", "step", "finish", "fail", "abort", "arrive", "stop", "moment", "while", "long"])
NOTHING_DONE: Final = frozenset({Reason.STOPPED, Reason.DEADLINE_EXCEEDED, Reason.SESSION_BUSY, Reason.PROMPT_REJECTED})
"""Ends of a prompt that was never done: kept from the provider, or refused. All others say that it was."""

PAUSES: Final = {"moment": seconds(0.1), "while": seconds(7), "long": TIGHT.stall_timeout}


def tell(story: Story, step: str | tuple[str, Way, bool]) -> None:
    session = story.session
    match step:
        case (_, way, bound):
            story.give(OnBusy.STEER, way, bound=bound)
        case "prompt":
            story.give(OnBusy.QUEUE)
        case "step":
            session.step()
        case "finish":
            session.end(Standing.SUCCEEDED)
        case "fail":
            session.end(Standing.FAILED)
        case "abort":
            session.end(Standing.ABORTED)
        case "arrive":
            session.arrive()
        case "stop":
            story.learns(StopAsked(StopCause.ASKED, "a test"))
    pause = PAUSES.get(step, seconds(1)) if isinstance(step, str) else seconds(1)
    story.goes_on(story.now + pause)


LATE_AFTER_A_STOP: Final = [("steer", Way.LATE, False), "stop", "while", "while", "arrive", "finish"]
DROPPED_TWICE: Final = [
    ("steer", Way.ARRIVES, False),
    ("steer", Way.ARRIVES, False),
    "abort",
    "while",
    "while",
    "abort",
]


@ANY
@given(st.lists(steers | others, max_size=25))
@example(LATE_AFTER_A_STOP)
@example(DROPPED_TWICE)
def test_every_prompt_is_done_once_or_handed_back(steps: list[str | tuple[str, Way, bool]]) -> None:
    story = Story()
    tell(story, "prompt")
    for step in steps:
        tell(story, step)
        assert max(story.session.done.values(), default=0) <= 1, story.session.done
    story.session.arrive()
    for _ in range(3 * len(story.given) + 3):
        story.session.end(Standing.SUCCEEDED)
        story.goes_on(story.now + seconds(40))
    assert story.state.active is None
    assert (story.state.queue, story.state.steering) == ((), ())
    assert max(story.session.done.values()) <= 1, story.session.done
    told = Counter(turn.idempotency_key for turn in story.state.recent)
    assert told == Counter(story.given), "each has one end"
    for turn in story.state.recent:
        if story.session.done[turn.idempotency_key] == 0:
            assert turn.reason in NOTHING_DONE, turn
        if turn.reason is Reason.PROMPT_REJECTED and story.ways[turn.idempotency_key] is not Way.LATE:
            assert story.session.done[turn.idempotency_key] == 0, "refused, and not done by a successor"
