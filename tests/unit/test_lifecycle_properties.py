"""What holds of a turn whatever happens to it: any provider, any events, any clock.

Each property is about one sentence of the theory in `lifecycle`. The driver and the providers are in `scripted_turn`
and `paper_providers`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.paper_providers import Arbitrary
from tests.unit.scripted_turn import SILENT, T0, Play, event, seconds, seen
from turnkeeper.lifecycle import TERMINAL, begin, deadline_of, decide, learn
from turnkeeper.limits import MAX_SUBMITS, TurnLimits
from turnkeeper.messages import PermissionRule
from turnkeeper.observations import (
    AbortReport,
    Accepted,
    Gone,
    NotSent,
    NotThere,
    Observation,
    OpenRequest,
    PerhapsSent,
    Refused,
    Replied,
    Reply,
    ReplyReport,
    Seen,
    SessionBusy,
    SessionMissing,
    SessionOpened,
    SessionReport,
    SubmitReport,
    Unreachable,
)
from turnkeeper.outcomes import SETTLEMENTS
from turnkeeper.turn import (
    STOP_REASONS,
    Abort,
    AbortReported,
    AnswerGiven,
    EventsArrived,
    Fact,
    IllegalTransitionError,
    Look,
    LookStarted,
    Observed,
    OpenSession,
    ReplyReported,
    SendReply,
    SessionReported,
    Settle,
    Settled,
    StopAsked,
    StopCause,
    Submit,
    SubmitReported,
    SubmitStarted,
    Turn,
    Wait,
)
from turnkeeper.vocabulary import AnsweredBy, EventKind, PermissionReply, PolicyAction, Reason, Standing

# No per-example deadline: the machine that runs this is shared. The same examples every time: a red build can be
# repeated, and looking for new ones is `--hypothesis-seed` away.
ANY = settings(deadline=None, derandomize=True, max_examples=150)

SLOWEST_CALL: Final = seconds(5)
TIGHT: Final = TurnLimits(
    look_interval=seconds(5),
    look_interval_max=seconds(20),
    unreachable_timeout=seconds(40),
    stall_timeout=seconds(60),
    tool_stall_timeout=seconds(90),
    deadline=seconds(300),
)

UNREACHABLE: Final = Unreachable(failure=SILENT)

failures = st.just(SILENT)
times = st.floats(0, 200).map(lambda value: round(value, 2))
pauses = st.sampled_from([0.0, 0.05, 0.3, 1.0, 2.0, 5.0]).map(seconds)
event_facts = st.builds(event, st.sampled_from(EventKind), child=st.booleans(), detail=st.just("it broke"))
stops = st.builds(StopAsked, st.sampled_from(StopCause), st.just("a test"), keep=st.booleans())

seens = st.builds(
    seen,
    st.sampled_from(Standing),
    st.sampled_from(["one", "two"]),
    tools=st.integers(0, 1),
    retry_at=st.none() | times.map(lambda value: T0 + seconds(value)),
)
REQUESTS: Final = (
    OpenRequest(request_id="per_1", kind="permission", session_id="ses_1", title="bash", permission="bash"),
    OpenRequest(request_id="per_2", kind="permission", session_id="ses_2", title="edit", permission="edit"),
    OpenRequest(request_id="que_1", kind="question", session_id="ses_1", title="which?"),
)
asking = st.builds(
    lambda found, mark: Seen(standing=Standing.WAITING, detail="it asks", fingerprint=mark, open_requests=tuple(found)),
    st.lists(st.sampled_from(REQUESTS), min_size=1, unique=True),
    st.sampled_from(["one", "two"]),
)
answers = st.builds(
    AnswerGiven,
    st.sampled_from(["per_1", "per_2", "que_1", "per_unknown"]),
    st.sampled_from([Reply(), Reply(permission=PermissionReply.ONCE), Reply(permission=PermissionReply.REJECT)]),
)
reply_reports: st.SearchStrategy[ReplyReport] = st.sampled_from(
    [Replied(), Gone(), Refused(failure=SILENT), UNREACHABLE, Unreachable(failure=SILENT, perhaps_done=True)]
)
inputs = st.lists(st.tuples(times.map(seconds), event_facts | stops | answers), max_size=12)
missing = st.builds(NotThere, what=st.sampled_from(["prompt", "prompt", "session"]), busy=st.booleans())
silent = st.just(UNREACHABLE)
restless = seens.filter(lambda reading: reading.standing in {Standing.RUNNING, Standing.WAITING, Standing.UNSTARTED})
observations: st.SearchStrategy[Observation] = st.one_of(restless, seens, asking, missing, silent)
opened = st.just(SessionOpened(session_id="ses_1"))
session_reports: st.SearchStrategy[SessionReport] = st.one_of(
    opened,
    st.just(SessionMissing()),
    st.just(SessionBusy(session_id="ses_1")),
    silent,
    st.builds(Refused, failure=failures),
)
submit_reports: st.SearchStrategy[SubmitReport] = st.one_of(
    st.builds(Accepted),
    st.builds(PerhapsSent),
    st.builds(NotSent, failure=failures),
    st.builds(Refused, failure=failures),
    st.just(NotThere(what="session")),
)
providers = st.builds(
    Arbitrary,
    sessions=st.lists(session_reports, min_size=1, max_size=3),
    submits=st.lists(submit_reports, min_size=1, max_size=3),
    looks=st.lists(observations, min_size=1, max_size=8),
    abort_sent=st.booleans(),
    replies=st.lists(reply_reports, min_size=1, max_size=3),
)
rules = st.lists(
    st.builds(PermissionRule, permission=st.sampled_from(["bash", "*"]), action=st.sampled_from(PolicyAction)),
    max_size=2,
)
turns = st.builds(
    lambda resume, recovers, timeout, permissions: begin(
        TIGHT.model_copy(update={"request_timeout": timeout}),
        T0,
        resume=resume,
        recovers=recovers,
        gap_decides=recovers,
        permissions=tuple(permissions),
    ),
    st.booleans(),
    st.booleans(),
    st.none() | pauses.filter(bool),
    rules,
)


@st.composite
def any_play(draw: st.DrawFn) -> Play:
    return Play(
        turn=draw(turns),
        provider=draw(providers),
        inputs=draw(inputs),
        call_times=draw(st.lists(pauses, min_size=1, max_size=4)),
        submit_time=draw(pauses),
    )


def holds(turn: Turn) -> None:
    """The invariants of one turn."""
    for outcome in (turn.verdict, turn.outcome):
        if outcome is None:
            continue
        assert outcome.state in TERMINAL
        assert outcome.state == SETTLEMENTS[outcome.reason][0]
        assert outcome.completed_at >= outcome.started_at == turn.started_at
        assert outcome.evidence.detail
        assert outcome.evidence.at == outcome.completed_at
        assert (outcome.confirmed is not None) == (outcome.reason in STOP_REASONS.values())
        if outcome.confirmed is False:
            assert outcome.failure is not None
            assert "may still be at work" in outcome.failure.message
    assert turn.submits <= MAX_SUBMITS
    assert turn.retries == 0 or turn.unreachable_since is not None


# --- any order of facts ---------------------------------------------------------------------------------------------

facts: st.SearchStrategy[Fact] = st.one_of(
    st.builds(SessionReported, session_reports),
    st.just(SubmitStarted()),
    st.builds(SubmitReported, submit_reports),
    st.just(LookStarted()),
    st.builds(Observed, observations),
    event_facts,
    stops,
    st.builds(AbortReported, st.builds(AbortReport, sent=st.booleans())),
    answers,
    st.builds(ReplyReported, st.sampled_from(["per_1", "que_1"]), reply_reports),
)


@ANY
@given(turns, st.lists(st.tuples(pauses, facts), max_size=40))
def test_no_sequence_of_facts_breaks_an_invariant(turn: Turn, story: list[tuple[timedelta, Fact]]) -> None:
    now = T0
    for pause, fact in story:
        now += pause
        try:
            turn = learn(turn, fact, now)
        except IllegalTransitionError:
            continue  # refused, and as `turn` is frozen, nothing changed
        holds(turn)
        decision = decide(turn, now)
        if isinstance(decision, Wait):
            assert now < decision.until
        if isinstance(decision, Settle):
            turn = learn(turn, Settled(decision.outcome), now)
            assert learn(turn, fact, now) == turn
            return


# --- any provider ---------------------------------------------------------------------------------------------------


@ANY
@given(any_play())
def test_every_turn_settles_in_time_and_says_why(play: Play) -> None:
    play.run()
    holds(play.turn)
    # One call may be in flight when the deadline passes.
    assert play.now - T0 <= TIGHT.deadline + SLOWEST_CALL + TIGHT.interrupt_grace


@ANY
@given(any_play())
def test_a_stop_is_answered_within_its_grace(play: Play) -> None:
    outcome = play.run()
    stop = play.turn.stop
    assert outcome.confirmed is None or stop is not None
    if stop is not None:
        assert outcome.completed_at <= stop.asked_at + TIGHT.interrupt_grace


@ANY
@given(any_play())
def test_a_settled_turn_absorbs_everything(play: Play) -> None:
    play.run()
    for fact in (SubmitStarted(), LookStarted(), StopAsked(StopCause.ASKED), event(EventKind.IDLE)):
        after = learn(play.turn, fact, play.now)
        assert replace(after, stop_wanted=play.turn.stop_wanted) == play.turn, "all but that a person wants it stopped"
    with pytest.raises(IllegalTransitionError):
        decide(play.turn, play.now)


@ANY
@given(any_play())
def test_waits_end_in_the_future_and_never_after_the_deadline(play: Play) -> None:
    play.run()
    for now, turn, decision in play.decisions:
        if isinstance(decision, Wait):
            end = deadline_of(turn) if turn.stop is None else turn.stop.asked_at + TIGHT.interrupt_grace
            assert now < decision.until <= end


@ANY
@given(any_play())
def test_nothing_is_looked_for_before_it_is_sent_nor_sent_after_a_stop(play: Play) -> None:
    play.run()
    for _, turn, decision in play.decisions:
        if isinstance(decision, Look | Abort):
            assert turn.submits > 0
        if isinstance(decision, Submit | OpenSession):
            assert turn.stop is None


@ANY
@given(any_play())
def test_a_prompt_is_sent_again_only_when_the_provider_is_known_not_to_have_it_or_not_to_run_it(play: Play) -> None:
    play.run()
    sent_at: datetime | None = None
    known_absent, unstarted_at, unsent = True, None, False
    for now, entry in play.log:
        match entry:
            case Observed() if unsent:
                pass  # a look that was under way: there was nothing to see
            case Submit(anew=True):
                assert play.turn.recovers
                assert known_absent or (unstarted_at is not None and now - unstarted_at >= TIGHT.confirm_delay)
                sent_at, known_absent, unsent = now, False, False
            case Submit():
                assert known_absent
                sent_at, known_absent, unsent = now, False, False
            case Observed(Seen(standing=Standing.UNSTARTED)):
                known_absent, unstarted_at = False, unstarted_at or now
            case SubmitReported(NotSent()):
                known_absent = unsent = True
            case Observed(NotThere(what="prompt", busy=False)):
                budget = TIGHT.confirm_delay if play.turn.gap_at is not None else TIGHT.accept_budget
                known_absent = known_absent or (sent_at is not None and now - sent_at >= budget)
                unstarted_at = None
            case Observed(Seen()) | Observed(NotThere(busy=True)):
                known_absent, unstarted_at = False, None
            case _:
                pass


@ANY
@given(any_play())
def test_decisions_make_progress(play: Play) -> None:
    """With answers that take no time, only a few decisions are made at one moment: no busy loop."""
    instant = replace(play, call_times=(seconds(0),), submit_time=seconds(0))
    instant.run()
    moments = Counter(now for now, _, decision in instant.decisions if not isinstance(decision, Wait))
    arrivals = Counter(T0 + after for after, _ in instant.inputs)
    assert all(decided <= 10 + 2 * arrivals[now] for now, decided in moments.items())


@ANY
@given(play=any_play(), sent=st.booleans())
def test_a_silent_provider_is_given_up_in_time_and_not_earlier(play: Play, *, sent: bool) -> None:
    submits: list[SubmitReport] = [PerhapsSent()] if sent else [NotSent(failure=SILENT)]
    provider = Arbitrary(sessions=[SessionOpened(session_id="ses_1")], submits=submits, looks=[UNREACHABLE])
    heard = [(after, fact) for after, fact in play.inputs if isinstance(fact, EventsArrived)]
    silent_play = replace(play, provider=provider, inputs=heard)
    outcome = silent_play.run()
    first = next(now for now, fact in silent_play.log if isinstance(fact, Observed | SubmitReported))
    assert outcome.reason is Reason.PROVIDER_UNREACHABLE
    silence = silent_play.now - first
    assert TIGHT.unreachable_timeout <= silence <= TIGHT.unreachable_timeout + 2 * SLOWEST_CALL
    assert ("not sent" in outcome.evidence.detail) == (not sent)


@ANY
@given(any_play())
def test_nothing_is_answered_once_a_stop_was_asked_and_only_by_who_may(play: Play) -> None:
    play.run()
    for at, turn, decision in play.decisions:
        if not isinstance(decision, SendReply):
            continue
        assert turn.stop is None
        assert at < deadline_of(turn)
        asked = next(asked for asked in turn.requests if asked.request == decision.request)
        if decision.by is AnsweredBy.TIMEOUT:
            assert turn.limits.request_timeout is not None
            assert asked.given is not None or asked.open
        if decision.by is AnsweredBy.POLICY:
            assert turn.permissions
