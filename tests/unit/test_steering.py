"""Prompts for a running turn: sent on a fresh reading only, and never both answered and given back."""

from __future__ import annotations

import pytest

from tests.unit.scripted_turn import SILENT, seconds, seen
from tests.unit.turn_story import ABORTED, NO_ANSWER, RUNNING, STOP, Story, running
from turnkeeper import steering
from turnkeeper.limits import TurnLimits
from turnkeeper.observations import NotSent, PerhapsSent, Refused, Seen
from turnkeeper.turn import Look, SendSteer, SteerAsked, SteerReported, SteerStarted
from turnkeeper.vocabulary import EventKind, Reason, Standing, Wake

ASKED = SteerAsked("t2", "msg_2")
SENT = SteerReported("t2", PerhapsSent(taken=True))


def reading(standing: Standing, *, stored: tuple[str, ...] = ("msg_2",), open: tuple[str, ...] = ()) -> Seen:  # noqa: A002 - as the prompt is
    return seen(standing, f"{standing}{stored}{open}").model_copy(update={"steered": stored, "unanswered": open})


def steered() -> Story:
    """A steer left while the turn was at work."""
    return running().learns(ASKED).looks(RUNNING).learns(SteerStarted("t2"), SENT)


def test_a_steer_is_sent_after_a_reading_that_is_begun_after_it_was_asked_for() -> None:
    story = running().learns(ASKED)
    assert story.decision == Look(Wake.STEER), "what was seen before does not count"
    assert story.looks(RUNNING).decision == SendSteer("t2")


@pytest.mark.parametrize("standing", [Standing.UNSTARTED, Standing.HALTED])
def test_a_steer_is_not_sent_into_a_turn_that_does_not_run(standing: Standing) -> None:
    story = running().learns(ASKED).looks(seen(standing))
    assert not isinstance(story.decision, SendSteer)


def test_a_steer_is_not_sent_to_a_provider_that_does_not_answer_nor_into_a_stop() -> None:
    assert not isinstance(running().learns(ASKED).looks(NO_ANSWER).decision, SendSteer)
    stopping = running().learns(STOP, ASKED)
    assert steering.of_turn(stopping.turn, "t2") is None, "the thread is told at once"
    late = running().learns(ASKED).looks(seen(Standing.SUCCEEDED))
    assert late.outcome.reason is Reason.FINISHED
    assert steering.answered(late.turn) == ()


def test_two_steers_go_one_after_the_other_each_on_its_own_reading() -> None:
    story = running().learns(ASKED, SteerAsked("t3", "msg_3")).looks(RUNNING).learns(SteerStarted("t2"), SENT)
    assert story.decision != SendSteer("t3")
    story.after(1).looks(reading(Standing.RUNNING, open=("msg_2",)))
    assert story.decision == SendSteer("t3")


def test_the_same_steer_twice_is_one() -> None:
    assert running().learns(ASKED, ASKED).turn.steers == running().learns(ASKED).turn.steers


def test_a_steer_that_was_not_sent_is_tried_again_on_a_new_reading() -> None:
    story = running().learns(ASKED).looks(RUNNING).learns(SteerStarted("t2"))
    story.after(1).learns(SteerReported("t2", NotSent(failure=SILENT)))
    assert not isinstance(story.decision, SendSteer)
    assert story.after(2).looks(RUNNING).decision == SendSteer("t2")


def test_a_steer_that_the_provider_refuses_goes_back() -> None:
    story = running().learns(ASKED).looks(RUNNING).learns(SteerStarted("t2"))
    assert story.learns(SteerReported("t2", Refused(failure=SILENT))).turn.steers == ()


def test_an_answer_under_the_steer_ends_the_turn_with_it() -> None:
    story = steered().after(1).looks(reading(Standing.SUCCEEDED))
    assert story.outcome.reason is Reason.FINISHED
    assert steering.answered(story.turn) == ("t2",)


@pytest.mark.parametrize("standing", [Standing.SUCCEEDED, Standing.FAILED, Standing.ABORTED])
def test_an_end_before_the_steer_was_taken_up_waits_whether_it_still_is(standing: Standing) -> None:
    story = steered().after(1).looks(reading(standing, open=("msg_2",)))
    assert story.is_open, "OpenCode may be about to run it"
    story.after(5).looks(reading(Standing.RUNNING))
    assert story.is_open
    story.after(5).looks(reading(Standing.SUCCEEDED))
    assert (story.outcome.reason, steering.answered(story.turn)) == (Reason.FINISHED, ("t2",))


def test_a_steer_that_nobody_takes_up_is_given_back_after_a_bound() -> None:
    story = steered()
    limits = TurnLimits()
    since = story.now
    while story.is_open:
        story.after(1).looks(reading(Standing.SUCCEEDED, open=("msg_2",)))
    assert steering.answered(story.turn) == ()
    assert story.now - since <= limits.start_budget + seconds(2)


def test_a_steer_that_is_never_seen_is_waited_for_and_then_given_back() -> None:
    story = steered()
    since = story.now
    while story.is_open:
        story.after(1).looks(reading(Standing.SUCCEEDED, stored=()))
    assert story.now - since >= TurnLimits().accept_budget
    assert steering.answered(story.turn) == ()


@pytest.mark.parametrize("stored", [("msg_2",), ()])
def test_a_steer_that_was_with_a_provider_that_died_is_given_back_with_the_turn(stored: tuple[str, ...]) -> None:
    story = steered().after(1).hears(EventKind.ATTACHED, cut_off=True)
    since = story.now
    while story.is_open:
        story.looks(reading(Standing.HALTED, stored=stored, open=stored)).after(1)
    assert story.outcome.reason is Reason.PROVIDER_LOST_TURN
    assert story.now - since <= TurnLimits().confirm_delay + seconds(2)
    assert steering.answered(story.turn) == ()


def test_a_steer_that_is_sent_after_the_gap_is_waited_for() -> None:
    story = running().hears(EventKind.ATTACHED, cut_off=True).after(1).learns(ASKED).looks(RUNNING)
    story.after(1).learns(SteerStarted("t2"), SENT).after(1).looks(reading(Standing.SUCCEEDED, open=("msg_2",)))
    assert story.after(3).looks(reading(Standing.SUCCEEDED, open=("msg_2",))).is_open


def test_a_stop_drops_what_was_stored_before_it_at_once() -> None:
    story = steered().after(1).looks(reading(Standing.RUNNING, open=("msg_2",))).after(1).learns(STOP, ABORTED)
    story.after(1).looks(reading(Standing.ABORTED, open=("msg_2",)))
    assert (story.outcome.confirmed, steering.answered(story.turn)) == (True, ())


def test_a_stop_waits_a_little_for_what_may_still_arrive() -> None:
    story = steered().learns(STOP, ABORTED).after(1).looks(reading(Standing.ABORTED, stored=()))
    assert story.is_open
    story.after(TurnLimits().stop_quiet.total_seconds()).looks(reading(Standing.ABORTED, stored=()))
    assert story.outcome.confirmed
