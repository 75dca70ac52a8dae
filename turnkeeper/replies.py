"""The answers to a turn's requests on their way: given, sent, sent again, taken or not. The other half of `requests`.

A person gives an answer, or a permission rule does, or `request_timeout` stands for a rejection. It is sent until the
provider has said yes, no or "no such request", and at most for `unreachable_timeout`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final, assert_never

from turnkeeper.limits import ANSWERS_SHOWN
from turnkeeper.observations import Gone, OpenRequest, Refused, Replied, Reply, ReplyReport, Unreachable
from turnkeeper.permissions import action_for
from turnkeeper.readings import doubled, unreachable
from turnkeeper.requests import find, is_unanswered
from turnkeeper.turn import (
    AnswerGiven,
    AnswerRefused,
    Asked,
    Dismissed,
    Given,
    IllegalTransitionError,
    ReplyReported,
    ReplyStarted,
    SendReply,
    Turn,
)
from turnkeeper.vocabulary import AnsweredBy, AnswerState, PermissionReply, PolicyAction, Wake

DENIED: Final = "This thread's permission rules deny it. Go on without it."
"""Said to the agent: a rejection without a word would end the turn, one with a message does not (OpenCode 1.18)."""


def learn(
    turn: Turn, fact: AnswerGiven | AnswerRefused | ReplyStarted | ReplyReported | Dismissed, now: datetime
) -> Turn:
    """What `lifecycle.learn` leaves to this module."""
    match fact:
        case AnswerGiven(request_id, reply):
            return _given_by(turn, request_id, reply, AnsweredBy.PERSON, now)
        case AnswerRefused():
            return replace(turn, refused_answers=(*turn.refused_answers, fact)[-ANSWERS_SHOWN:])
        case Dismissed():
            return replace(turn, dismissed=True)
        case ReplyStarted(send):
            return _started(turn, send, now)
        case ReplyReported(request_id, report):
            return _reported(turn, request_id, report, now)
        case _:
            assert_never(fact)


def _given_by(turn: Turn, request_id: str, reply: Reply, by: AnsweredBy, now: datetime) -> Turn:
    """An answer: it counts, unless the request is unknown or has one that the provider did not refuse."""
    asked = find(turn, request_id)
    if asked is None or not is_unanswered(asked):
        return turn
    return _with(turn, replace(asked, given=Given(reply, by, now)))


def due_reply(turn: Turn, now: datetime) -> SendReply | None:
    """The answer that is to be sent now, if any: given and not taken yet, said by a rule, or overdue."""
    return next((send for asked in turn.requests if (send := _due(turn, asked, now)) is not None), None)


def on_its_way(turn: Turn) -> bool:
    """Was an answer sent, and nothing is known of it yet?"""
    return any(asked.given is not None and asked.given.sending and asked.given.ended is None for asked in turn.requests)


def next_reply_at(turn: Turn) -> datetime | None:
    """When an answer becomes due by the clock alone."""
    moments = [asked.given.retry_at for asked in turn.requests if asked.given and asked.given.retry_at]
    moments += [overdue for asked in turn.requests if (overdue := _overdue_at(turn, asked)) is not None]
    return min(moments, default=None)


def _due(turn: Turn, asked: Asked, now: datetime) -> SendReply | None:
    answer = asked.given
    if answer is not None and answer.ended is None:
        ready = answer.retry_at is None or now >= answer.retry_at
        return SendReply(asked.request, answer.reply, answer.by) if ready else None
    if not asked.open:
        return None
    if answer is None:
        match action_for(turn.permissions, asked.request):
            case PolicyAction.ALLOW:
                return SendReply(asked.request, Reply(permission=PermissionReply.ONCE), AnsweredBy.POLICY)
            case PolicyAction.DENY:
                no = Reply(permission=PermissionReply.REJECT, message=DENIED)
                return SendReply(asked.request, no, AnsweredBy.POLICY)
            case PolicyAction.ASK:
                pass
    overdue = _overdue_at(turn, asked)
    if overdue is None or now < overdue:
        return None
    return SendReply(asked.request, rejection(asked.request), AnsweredBy.TIMEOUT)


def _overdue_at(turn: Turn, asked: Asked) -> datetime | None:
    allowed, since = turn.limits.request_timeout, asked.request.asked_at
    if allowed is None or since is None or not asked.open or not is_unanswered(asked):
        return None
    if asked.given is not None and asked.given.by is AnsweredBy.TIMEOUT:
        return None  # the provider refused the rejection itself: only a person knows more
    return since + allowed


def rejection(request: OpenRequest) -> Reply:
    """The answer that ends the agent's waiting and allows nothing."""
    return Reply(permission=PermissionReply.REJECT) if request.kind == "permission" else Reply()


def _started(turn: Turn, send: SendReply, now: datetime) -> Turn:
    """The answer is about to leave; a rule's or the clock's is given by that."""
    turn = _given_by(turn, send.request.request_id, send.reply, send.by, now)
    asked, answer = _answered(turn, send.request.request_id)
    # A try that a stop cut off, and whose turn went on all the same, may have arrived.
    perhaps = answer.perhaps_taken or answer.sending
    sent = replace(answer, tries=answer.tries + 1, retry_at=None, sending=True, perhaps_taken=perhaps)
    return _with(turn, replace(asked, given=sent))


def _reported(turn: Turn, request_id: str, report: ReplyReport, now: datetime) -> Turn:
    """The provider said what it did with the answer, or could not be asked."""
    asked, answer = _answered(turn, request_id)
    match report:
        case Replied():
            return _ended(turn, asked, AnswerState.DELIVERED, now)
        case Gone():
            # After a try whose answer was lost, it was that try that closed the request.
            return _ended(turn, asked, AnswerState.DELIVERED if answer.perhaps_taken else AnswerState.STALE, now)
        case Refused(failure=failure):
            over = replace(answer, ended=AnswerState.REFUSED, failure=failure)
            return _with(turn, replace(asked, given=over))
        case Unreachable(failure=failure) if now >= answer.at + turn.limits.unreachable_timeout:
            over = replace(answer, ended=AnswerState.REFUSED, failure=failure)
            return unreachable(_with(turn, replace(asked, given=over)), failure, now)
        case Unreachable(failure=failure, perhaps_done=perhaps):
            pause = doubled(turn.limits.retry_interval, answer.tries - 1, turn.limits.retry_interval_max)
            taken = answer.perhaps_taken or perhaps
            later = replace(answer, retry_at=now + pause, sending=False, perhaps_taken=taken)
            return unreachable(_with(turn, replace(asked, given=later)), failure, now)
        case _:
            assert_never(report)


def _ended(turn: Turn, asked: Asked, state: AnswerState, now: datetime) -> Turn:
    """The request is closed. Whatever the agent does about it is worth a look, and the answer is progress."""
    answered = replace(asked, given=replace(_given(asked), ended=state))
    return replace(_with(turn, answered), wake=turn.wake or Wake.ANSWER, progress_at=now)


def _answered(turn: Turn, request_id: str) -> tuple[Asked, Given]:
    asked = find(turn, request_id)
    if asked is None:
        raise IllegalTransitionError(f"an answer to {request_id}, which was never asked")
    return asked, _given(asked)


def _given(asked: Asked) -> Given:
    if asked.given is None:
        raise IllegalTransitionError(f"an answer to {asked.request.request_id} that nobody gave")
    return asked.given


def _with(turn: Turn, changed: Asked) -> Turn:
    key = changed.request.request_id
    return replace(
        turn, requests=tuple(changed if asked.request.request_id == key else asked for asked in turn.requests)
    )
