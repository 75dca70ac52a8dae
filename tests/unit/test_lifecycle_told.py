"""What the relay read as the session became idle: it ends a turn where no look could find anything else."""

from __future__ import annotations

import pytest

from tests.unit.scripted_turn import T0, seconds, seen
from tests.unit.turn_story import (
    ABORTED,
    ACCEPTED,
    NO_ANSWER,
    RUNNING,
    STOP,
    UNSTARTED,
    Story,
    accepted,
    fresh,
    running,
    submitting,
)
from turnkeeper.observations import Accepted, OpenRequest, PerhapsSent, Refused, Replied, Reply, Seen
from turnkeeper.requests import answers_shown
from turnkeeper.turn import (
    AnswerGiven,
    Look,
    ReadingTold,
    ReplyReported,
    ReplyStarted,
    SendReply,
    SteerAsked,
    SteerReported,
    SteerStarted,
    Submit,
)
from turnkeeper.vocabulary import (
    ENDED,
    AnsweredBy,
    AnswerState,
    EventKind,
    EvidenceKind,
    PermissionReply,
    Reason,
    Standing,
    TurnState,
    Wake,
)

SUCCEEDED = seen(Standing.SUCCEEDED, "final")
STEER = SteerAsked("t2", "msg_2")


def told(story: Story, reading: Seen = SUCCEEDED) -> Story:
    """The session became idle, and the relay says what it read then."""
    return story.hears(EventKind.IDLE).learns(ReadingTold(reading))


@pytest.mark.parametrize(
    ("standing", "reason", "state"),
    [
        (Standing.SUCCEEDED, Reason.FINISHED, TurnState.COMPLETED),
        (Standing.TRUNCATED, Reason.TRUNCATED, TurnState.COMPLETED),
        (Standing.REFUSED, Reason.REFUSED, TurnState.INTERRUPTED),
        (Standing.FAILED, Reason.PROVIDER_ERROR, TurnState.ERROR),
    ],
)
def test_the_end_of_its_run_ends_it_without_a_look(standing: Standing, reason: Reason, state: TurnState) -> None:
    outcome = told(accepted().after(2), seen(standing)).outcome
    assert (outcome.reason, outcome.state, outcome.confirmed) == (reason, state, None)
    assert (outcome.evidence.kind, outcome.evidence.woken_by) == (EvidenceKind.SNAPSHOT, Wake.EVENT)
    assert outcome.evidence.detail == f"it is {standing}"
    assert outcome.completed_at == T0 + seconds(2)


def test_it_counts_as_a_look_and_shows_what_was_read() -> None:
    turn = told(running()).turn
    assert (turn.looks, turn.answers, turn.seen) == (2, 2, SUCCEEDED)


def test_it_ends_a_turn_whose_prompt_is_reported_later() -> None:
    story = told(submitting())
    assert story.outcome.reason is Reason.FINISHED
    assert story.learns(ACCEPTED).outcome.reason is Reason.FINISHED


@pytest.mark.parametrize("standing", sorted(set(Standing) - ENDED))
def test_a_run_that_may_go_on_is_looked_at(standing: Standing) -> None:
    story = told(running(), seen(standing, "another"))
    assert story.decision == Look(Wake.EVENT)
    assert (story.turn.looks, story.turn.seen, story.turn.suspicion) == (1, RUNNING, None)


def test_during_a_stop_nothing_but_its_own_looks_count() -> None:
    story = told(running().learns(STOP, ABORTED))
    assert story.is_open
    assert story.decision == Look(Wake.EVENT)
    assert story.looks(seen(Standing.ABORTED)).outcome.confirmed


@pytest.mark.parametrize("story", [fresh(), fresh(resume=True)])
def test_before_anything_was_sent_it_says_nothing_of_this_turn(story: Story) -> None:
    before = story.decision
    assert told(story).decision == before


@pytest.mark.parametrize("reports", [(), (SteerReported("t2", Accepted()),), (SteerReported("t2", PerhapsSent()),)])
def test_with_a_further_prompt_in_the_turn_it_looks(reports: tuple[SteerReported, ...]) -> None:
    story = told(running().learns(STEER).looks(RUNNING).learns(SteerStarted("t2"), *reports))
    assert story.decision == Look(Wake.EVENT)
    assert story.turn.looks == 2


@pytest.mark.parametrize("reports", [(), (SteerStarted("t2"), SteerReported("t2", Refused(failure=NO_ANSWER.failure)))])
def test_a_further_prompt_that_never_left_keeps_nothing_open(
    reports: tuple[SteerStarted | SteerReported, ...],
) -> None:
    story = told(running().learns(STEER).looks(RUNNING).learns(*reports))
    assert story.outcome.reason is Reason.FINISHED
    assert not any(steer.answered for steer in story.turn.steers)


ASKING = seen(Standing.WAITING, "asks").model_copy(
    update={"open_requests": (OpenRequest(request_id="per_1", kind="permission", session_id="ses_1", title="make"),)}
)
NO = SendReply(ASKING.open_requests[0], Reply(permission=PermissionReply.REJECT), AnsweredBy.PERSON)


def test_an_answer_on_its_way_is_heard_of_first() -> None:
    """OpenCode ends a run as it takes a rejection: its idle event may overtake what came of the answer."""
    story = running().looks(ASKING).learns(AnswerGiven("per_1", NO.reply), ReplyStarted(NO))
    assert told(story, seen(Standing.REFUSED)).is_open
    story.learns(ReplyReported("per_1", Replied()))
    assert story.decision == Look(Wake.EVENT)
    assert told(story, seen(Standing.REFUSED)).outcome.reason is Reason.REFUSED
    (given,) = answers_shown(story.turn, "t1")
    assert given.state is AnswerState.DELIVERED


def test_an_answer_that_waits_to_be_sent_again_keeps_nothing_open() -> None:
    story = running().looks(ASKING).learns(AnswerGiven("per_1", NO.reply), ReplyStarted(NO))
    story.learns(ReplyReported("per_1", NO_ANSWER))
    assert told(story).outcome.reason is Reason.FINISHED


def test_before_a_prompt_is_sent_again_it_changes_nothing() -> None:
    story = accepted().looks(UNSTARTED).after(10).looks(UNSTARTED)
    assert story.decision == Submit(anew=True)
    assert told(story).decision == Submit(anew=True)
    assert story.turn.wake is Wake.EVENT, "it may yet be what ends the wait for a session that is busy"
