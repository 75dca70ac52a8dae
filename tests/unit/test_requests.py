"""The rules of requests, told step by step: who may answer, which answer wins, when it is sent, what became of it."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.scripted_turn import SILENT, T0, seconds, seen
from tests.unit.turn_story import ACCEPTED, NO_ANSWER, OPENED, RUNNING, STOP, Story, accepted
from turnkeeper import replies, requests
from turnkeeper.lifecycle import begin, state_of
from turnkeeper.limits import MAX_REQUESTS_KEPT, TurnLimits
from turnkeeper.messages import Answer, AnswerResult, PermissionRule
from turnkeeper.observations import (
    Gone,
    OpenRequest,
    Question,
    Refused,
    Replied,
    Reply,
    ReplyReport,
    Seen,
    Unreachable,
)
from turnkeeper.turn import (
    AnswerGiven,
    Dismiss,
    Dismissed,
    GiveUp,
    IllegalTransitionError,
    Look,
    ReplyReported,
    ReplyStarted,
    SendReply,
    Settle,
    Settled,
    SubmitStarted,
)
from turnkeeper.vocabulary import (
    AnsweredBy,
    AnswerState,
    PermissionReply,
    PolicyAction,
    Reason,
    Standing,
    TurnState,
    Wake,
)

ONCE: Final = Reply(permission=PermissionReply.ONCE)
ALWAYS: Final = Reply(permission=PermissionReply.ALWAYS)
NO: Final = Reply(permission=PermissionReply.REJECT)
LOST: Final = Unreachable(failure=SILENT, perhaps_done=True)
REFUSED: Final = Refused(failure=SILENT)


def permission(number: int = 1, *patterns: str) -> OpenRequest:
    return OpenRequest(
        request_id=f"per_{number}",
        kind="permission",
        session_id="ses_1",
        title="bash: make",
        permission="bash",
        patterns=patterns or ("make",),
    )


COLOUR: Final = Question(text="Which colour?")
SIZES: Final = Question(text="Which sizes?", multiple=True)
QUESTION: Final = OpenRequest(
    request_id="que_1", kind="question", session_id="ses_1", title="Which colour?", questions=(COLOUR, SIZES)
)


def asking(*open_requests: OpenRequest, fingerprint: str = "asks") -> Seen:
    return Seen(standing=Standing.WAITING, detail="it asks", fingerprint=fingerprint, open_requests=open_requests)


def waiting(*open_requests: OpenRequest, limits: TurnLimits | None = None) -> Story:
    """The agent asks, five seconds after the prompt was accepted."""
    return accepted(limits).after(5).looks(asking(*(open_requests or (permission(),))))


def ruled(*rules: PermissionRule) -> Story:
    story = Story(begin(TurnLimits(), T0, resume=False, permissions=rules)).learns(OPENED, SubmitStarted(), ACCEPTED)
    return story.after(5).looks(asking(permission()))


def sends(story: Story) -> SendReply:
    decision = story.decision
    assert isinstance(decision, SendReply), decision
    return decision


def hears(story: Story, report: ReplyReport) -> Story:
    """What is due is sent, and the provider reports."""
    send = sends(story)
    return story.learns(ReplyStarted(send), ReplyReported(send.request.request_id, report))


def fate(story: Story, reply: Reply, request_id: str = "per_1") -> AnswerResult | None:
    return requests.result_of(story.turn, "t1", request_id, reply)


def state_of_answer(story: Story, reply: Reply, request_id: str = "per_1") -> AnswerState | None:
    result = fate(story, reply, request_id)
    return result.state if result is not None else None


def refusal(story: Story, request_id: str = "per_1", **answer: object) -> str:
    error = requests.refusal(story.turn, Answer.model_validate({"request_id": request_id, **answer}))
    assert error is not None
    return str(error)


# --- what is open


def test_a_request_is_shown_with_the_time_it_was_first_seen() -> None:
    story = waiting()
    (shown,) = requests.open_requests(story.turn)
    assert (shown.request_id, shown.asked_at) == ("per_1", story.now)
    story.after(30).looks(asking(permission()))
    assert requests.open_requests(story.turn) == (shown,)
    assert state_of(story.turn) is TurnState.WAITING


def test_one_that_was_answered_elsewhere_is_closed() -> None:
    story = waiting().after(5).looks(RUNNING)
    assert requests.open_requests(story.turn) == ()
    assert state_of(story.turn) is TurnState.RUNNING


def test_one_that_cannot_be_asked_about_stays_open() -> None:
    assert len(requests.open_requests(waiting().after(5).looks(NO_ANSWER).turn)) == 1


def test_all_are_closed_with_the_turn() -> None:
    story = waiting()
    ended = Seen(standing=Standing.ABORTED, detail="aborted", open_requests=())
    story.after(1).looks(ended)
    assert requests.open_requests(story.turn) == ()


def test_thousands_of_requests_are_not_all_remembered_but_open_ones_are() -> None:
    story = waiting(permission(0))
    for number in range(1, MAX_REQUESTS_KEPT + 50):
        story.after(1).looks(asking(permission(0), permission(number)))
    assert len(story.turn.requests) == MAX_REQUESTS_KEPT + 1
    assert requests.open_requests(story.turn)[0].request_id == "per_0"


# --- at the door


def test_a_request_that_was_never_seen() -> None:
    assert "never saw a request 'per_9'. Waiting for an answer: per_1." in refusal(
        waiting(), "per_9", permission="once"
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"permission": "once"}, "no permission answers"),
        ({"reject": True, "message": "later"}, "without a message"),
        ({"answers": [["red"]]}, "2 answers are expected"),
        ({"answers": [["red"], ["S"], ["L"]]}, "2 answers are expected"),
        ({"answers": []}, "2 answers are expected"),
        ({"answers": [["red", "green"], ["S"]]}, "question 1 takes one answer; 2 were given"),
        ({"answers": [["red"], []]}, "the answer to question 2 is empty"),
        ({"answers": [[" "], ["S"]]}, "the answer to question 1 is empty"),
    ],
)
def test_no_answer_to_a_question(answer: dict[str, object], said: str) -> None:
    assert said in refusal(waiting(QUESTION), "que_1", **answer)


def test_no_answer_to_a_permission() -> None:
    assert "asks for a permission" in refusal(waiting(), answers=[["red"]])


@pytest.mark.parametrize(
    "answer", [{"answers": [["red"], ["S", "L"]]}, {"answers": [["my own words"], ["S"]]}, {"reject": True}]
)
def test_an_answer_to_a_question(answer: dict[str, object]) -> None:
    given = Answer.model_validate({"request_id": "que_1", **answer})
    assert requests.refusal(waiting(QUESTION).turn, given) is None


def test_two_ways_to_reject_a_permission_are_one_answer() -> None:
    turn = waiting().turn
    by_reply = Answer(request_id="per_1", permission=PermissionReply.REJECT, message="use ls")
    assert requests.reply_to(turn, Answer(request_id="per_1", reject=True, message="use ls")) == requests.reply_to(
        turn, by_reply
    )


# --- which one wins


def test_an_answer_is_sent_and_the_turn_looks_at_what_it_did() -> None:
    story = waiting().after(60).learns(AnswerGiven("per_1", ONCE))
    assert sends(story) == SendReply(story.turn.requests[0].request, ONCE, AnsweredBy.PERSON)
    assert state_of_answer(story, ONCE) is None
    hears(story, Replied())
    assert fate(story, ONCE) == AnswerResult(
        turn_id="t1", request_id="per_1", state=AnswerState.DELIVERED, answer=ONCE, by=AnsweredBy.PERSON
    )
    assert story.decision == Look(Wake.ANSWER)
    assert requests.open_requests(story.turn) == ()


def test_the_first_answer_wins() -> None:
    story = waiting().learns(AnswerGiven("per_1", ONCE), AnswerGiven("per_1", NO))
    second = fate(story, NO)
    assert second is not None
    assert (second.state, second.answer) == (AnswerState.ALREADY_ANSWERED, ONCE)
    assert sends(story).reply == ONCE


def test_the_same_answer_again_is_the_same() -> None:
    story = hears(waiting().learns(AnswerGiven("per_1", ONCE)), Replied())
    first = fate(story, ONCE)
    story.learns(AnswerGiven("per_1", ONCE))
    assert fate(story, ONCE) == first
    assert isinstance(story.decision, Look)


def test_an_answer_that_comes_late_is_stale() -> None:
    story = hears(waiting().looks(RUNNING).learns(AnswerGiven("per_1", ONCE)), Gone())
    assert fate(story, ONCE) == AnswerResult(turn_id="t1", request_id="per_1", state=AnswerState.STALE)
    assert state_of_answer(story, NO) is AnswerState.STALE


def test_a_refused_answer_lets_another_one_come() -> None:
    story = hears(waiting().learns(AnswerGiven("per_1", ALWAYS)), REFUSED)
    assert state_of_answer(story, ALWAYS) is AnswerState.REFUSED
    assert len(requests.open_requests(story.turn)) == 1
    assert sends(story.learns(AnswerGiven("per_1", ONCE))).reply == ONCE


# --- a provider that does not answer


def test_a_reply_is_sent_again_at_growing_intervals() -> None:
    story = waiting().learns(AnswerGiven("per_1", ONCE))
    for pause in (1.0, 2.0, 3.0, 3.0):
        hears(story, NO_ANSWER)
        assert not isinstance(story.decision, SendReply)
        story.after(pause)
    assert sends(story).reply == ONCE


def test_a_try_whose_answer_was_lost_is_what_closed_the_request() -> None:
    story = hears(waiting().learns(AnswerGiven("per_1", ONCE)), LOST)
    assert state_of_answer(hears(story.after(1), Gone()), ONCE) is AnswerState.DELIVERED


@pytest.mark.parametrize(("tried", "state"), [(LOST, AnswerState.DELIVERED), (NO_ANSWER, AnswerState.STALE)])
def test_a_turn_that_ends_before_the_answer_is_tried_again_says_whether_that_may_have_closed_the_request(
    tried: Unreachable, state: AnswerState
) -> None:
    story = hears(waiting().learns(AnswerGiven("per_1", ONCE)), tried).after(0.5).looks(seen(Standing.SUCCEEDED))
    story.learns(Settled(story.outcome))
    assert state_of_answer(story, ONCE) is state


def test_an_answer_that_a_stop_overtook_is_not_told_as_taken() -> None:
    story = hears(waiting().learns(AnswerGiven("per_1", ONCE)), LOST).learns(STOP)
    story.after(1).looks(seen(Standing.ABORTED))
    story.learns(Settled(story.outcome))
    assert state_of_answer(story, ONCE) is AnswerState.STALE


def test_a_reply_that_certainly_never_left_did_not_close_it() -> None:
    story = hears(waiting().learns(AnswerGiven("per_1", ONCE)), NO_ANSWER)
    assert state_of_answer(hears(story.after(1), Gone()), ONCE) is AnswerState.STALE


def test_a_try_that_was_cut_off_may_have_closed_it() -> None:
    story = waiting().learns(AnswerGiven("per_1", ONCE))
    story.learns(ReplyStarted(sends(story)))
    assert state_of_answer(hears(story, Gone()), ONCE) is AnswerState.DELIVERED


def test_replying_is_given_up_though_looks_succeed() -> None:
    limits = TurnLimits(unreachable_timeout=seconds(20))
    story = waiting(limits=limits).learns(AnswerGiven("per_1", ONCE))
    for _ in range(20):
        if not isinstance(story.decision, SendReply):
            break
        hears(story, NO_ANSWER).after(3).looks(asking(permission()))
    result = fate(story, ONCE)
    assert result is not None
    assert (result.state, result.failure) == (AnswerState.REFUSED, SILENT)
    assert story.is_open


# --- rules


def test_a_rule_answers_without_a_person() -> None:
    send = sends(ruled(PermissionRule(permission="bash", action=PolicyAction.ALLOW)))
    assert (send.reply, send.by) == (ONCE, AnsweredBy.POLICY)


def test_a_rule_that_denies_tells_the_agent_to_go_on() -> None:
    send = sends(ruled(PermissionRule(permission="*", action=PolicyAction.DENY)))
    assert (send.reply.permission, send.reply.message) == (PermissionReply.REJECT, replies.DENIED)


def test_a_rule_whose_answer_is_refused_leaves_it_to_a_person() -> None:
    story = hears(ruled(PermissionRule(permission="bash", action=PolicyAction.ALLOW)), REFUSED)
    assert not isinstance(story.decision, SendReply)
    assert state_of(story.turn) is TurnState.WAITING


def test_what_no_rule_matches_waits_for_a_person() -> None:
    story = ruled(PermissionRule(permission="edit", action=PolicyAction.ALLOW))
    assert not isinstance(story.decision, SendReply)


# --- clocks


def test_nobody_answers() -> None:
    story = waiting(limits=TurnLimits(request_timeout=seconds(8)))
    assert story.waits == 8
    send = sends(story.after(8))
    assert (send.reply, send.by) == (NO, AnsweredBy.TIMEOUT)
    hears(story, Replied()).after(1)
    story.looks(Seen(standing=Standing.REFUSED, detail="a person said no"))
    assert story.outcome.reason is Reason.REFUSED
    assert story.outcome.failure is not None
    assert story.outcome.failure.code == "request_timeout"


def test_a_question_that_nobody_answers_is_rejected() -> None:
    story = waiting(QUESTION, limits=TurnLimits(request_timeout=seconds(8)))
    assert sends(story.after(8)).reply == Reply()


def test_a_person_who_says_no_is_no_timeout() -> None:
    story = waiting(limits=TurnLimits(request_timeout=seconds(8))).learns(AnswerGiven("per_1", NO))
    hears(story, Replied()).looks(Seen(standing=Standing.REFUSED, detail="a person said no"))
    assert story.outcome.failure is None


def test_without_a_timeout_it_waits_for_hours_and_then_the_deadline_ends_it() -> None:
    story = waiting()
    story.after(7 * 3600).looks(asking(permission()))
    assert story.is_open
    assert isinstance(story.after(3600).decision, GiveUp)


def test_an_answered_request_that_the_provider_keeps_listing_holds_no_clock() -> None:
    limits = TurnLimits(stall_timeout=seconds(60))
    story = hears(waiting(limits=limits).after(600).learns(AnswerGiven("per_1", ONCE)), Replied())
    story.looks(asking(permission()))
    assert state_of(story.turn) is TurnState.RUNNING
    assert not isinstance(story.after(59).looks(asking(permission())).decision, GiveUp)
    assert isinstance(story.after(2).looks(asking(permission())).decision, GiveUp)


# --- a stop


def test_nothing_is_answered_once_a_stop_was_asked_and_the_answer_is_stale() -> None:
    story = waiting().learns(AnswerGiven("per_1", ONCE), STOP)
    assert not isinstance(story.decision, SendReply)
    story.looks(Seen(standing=Standing.ABORTED, detail="aborted"))
    story.learns(Settled(story.outcome))
    assert state_of_answer(story, ONCE) is AnswerState.STALE


def test_a_report_that_nobody_waits_for_is_our_fault() -> None:
    with pytest.raises(IllegalTransitionError):
        waiting().learns(ReplyReported("per_9", Replied()))


REPORTS = st.sampled_from([Replied(), Gone(), REFUSED, NO_ANSWER, LOST])
REPLIES = st.sampled_from([ONCE, ALWAYS, NO])


@given(st.lists(st.one_of(REPORTS, REPLIES, st.just(RUNNING), st.just(asking(permission()))), max_size=25))
def test_whatever_happens_at_most_one_answer_is_delivered_and_its_fate_never_changes(steps: list[object]) -> None:
    story = waiting()
    delivered: list[Reply] = []
    for step in steps:
        story.after(3)
        match step:
            case Reply():
                story.learns(AnswerGiven("per_1", step))
            case Seen():
                story.looks(step)
            case Replied() | Gone() | Refused() | Unreachable() if isinstance(story.decision, SendReply):
                send = sends(story)
                hears(story, step)
                delivered += [send.reply] if isinstance(step, Replied) else []
            case _:
                pass
        assert len(delivered) <= 1
        if delivered:
            assert state_of_answer(story, delivered[0]) is AnswerState.DELIVERED


@pytest.mark.parametrize("standing", [Standing.ABORTED, Standing.FAILED])
def test_what_a_turn_asked_when_it_was_last_at_work_is_closed_before_it_settles(standing: Standing) -> None:
    story = waiting().looks(seen(standing, "over"))
    assert isinstance(story.decision, Dismiss)
    assert [request.request_id for request in story.decision.requests] == ["per_1"]
    assert requests.open_requests(story.turn) == ()
    assert isinstance(story.learns(Dismissed()).decision, Settle), "once"


@pytest.mark.parametrize("standing", [Standing.SUCCEEDED, Standing.ABSORBED])
def test_nothing_is_closed_behind_an_answer_or_in_another_clients_run(standing: Standing) -> None:
    assert isinstance(waiting().looks(seen(standing, "over")).decision, Settle)


def test_what_was_answered_elsewhere_before_the_end_is_not_closed() -> None:
    story = waiting().looks(RUNNING).looks(seen(Standing.ABORTED, "over"))
    assert isinstance(story.decision, Settle)


def test_a_stop_is_heard_whenever_it_comes() -> None:
    lost = waiting().looks(seen(Standing.ABORTED, "over")).learns(STOP)
    assert lost.outcome.reason is Reason.ABORTED_ELSEWHERE, "the end stays what it was"
    assert lost.turn.stop_wanted
