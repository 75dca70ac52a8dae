"""The rules of a turn's requests: who may answer, which answer wins, when it is sent again, what became of it. Pure.

A request is known from the first reading that shows it. It gets one answer: a person's, a permission rule's, or the
rejection that `request_timeout` stands for, whichever comes first. The answer is sent to the provider until that has
said yes, no or "no such request"; then it is over, and only a refused answer may be followed by another one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final, assert_never

from turnkeeper.errors import RefusedError
from turnkeeper.limits import MAX_REQUESTS_KEPT
from turnkeeper.messages import Answer, AnswerResult
from turnkeeper.observations import (
    Failure,
    Gone,
    Observation,
    OpenRequest,
    Question,
    Refused,
    Replied,
    Reply,
    ReplyReport,
    Seen,
    Unreachable,
)
from turnkeeper.permissions import action_for
from turnkeeper.readings import doubled, unreachable
from turnkeeper.turn import (
    AnswerGiven,
    Asked,
    Given,
    IllegalTransitionError,
    ReplyReported,
    ReplyStarted,
    SendReply,
    Turn,
)
from turnkeeper.vocabulary import AnsweredBy, AnswerState, Fault, PermissionReply, PolicyAction, Reason, Standing, Wake

ANSWERS_SHOWN: Final = 20
"""Answers in a turn's snapshot: what a person reads, not an archive."""

DENIED: Final = "This thread's permission rules deny it. Go on without it."
"""Said to the agent: a rejection without a word would end the turn, one with a message does not (OpenCode 1.18)."""


# --- what is open --------------------------------------------------------------------------------------------------


def open_requests(turn: Turn) -> tuple[OpenRequest, ...]:
    """What waits for an answer. Closed with the turn."""
    if turn.outcome is not None or turn.verdict is not None:
        return ()
    return tuple(asked.request for asked in turn.requests if asked.open and _is_unanswered(asked))


def waits_for_person(turn: Turn) -> bool:
    """Does the agent wait for an answer that nobody has given?"""
    seen = turn.seen
    if seen is None or seen.standing is not Standing.WAITING:
        return False
    return bool(open_requests(turn)) or not seen.open_requests


def noticed(turn: Turn, observation: Observation, now: datetime) -> Turn:
    """Take the requests of a reading. One that is no longer listed was answered elsewhere, or withdrawn."""
    if not isinstance(observation, Seen) or not (observation.open_requests or turn.requests):
        return turn
    listed = {request.request_id: request for request in observation.open_requests}
    known = [replace(asked, open=asked.request.request_id in listed) for asked in turn.requests]
    for asked in turn.requests:
        listed.pop(asked.request.request_id, None)
    fresh = [Asked(request.model_copy(update={"asked_at": now}), open=True) for request in listed.values()]
    return _reasoned(replace(turn, requests=_bounded([*known, *fresh])))


def _bounded(asked: list[Asked]) -> tuple[Asked, ...]:
    """The newest, and every open one however old it is."""
    surplus = max(len(asked) - MAX_REQUESTS_KEPT, 0)
    return (*(old for old in asked[:surplus] if old.open), *asked[surplus:])


def _reasoned(turn: Turn) -> Turn:
    """A turn that ended because nobody answered says so."""
    timed_out = [asked for asked in turn.requests if asked.given and asked.given.by is AnsweredBy.TIMEOUT]
    verdict = turn.verdict
    if verdict is None or verdict.reason is not Reason.REFUSED or not timed_out:
        return turn
    failure = Failure(
        code="request_timeout",
        fault=Fault.CALLER,
        message=f"Nobody answered in time, so it was rejected: {timed_out[-1].request.title}",
        next_step="Prompt again and answer, or give the thread permission rules or a longer `request_timeout`.",
    )
    return replace(turn, verdict=verdict.model_copy(update={"failure": failure}))


def _is_unanswered(asked: Asked) -> bool:
    return asked.given is None or asked.given.ended is AnswerState.REFUSED


def _find(turn: Turn, request_id: str) -> Asked | None:
    return next((asked for asked in turn.requests if asked.request.request_id == request_id), None)


# --- an answer at the door -----------------------------------------------------------------------------------------


def refusal(turn: Turn, answer: Answer) -> RefusedError | None:
    """Why `answer` is no answer to its request, or None. One that comes late is no mistake: see `result_of`."""
    asked = _find(turn, answer.request_id)
    if asked is None:
        waiting = ", ".join(request.request_id for request in open_requests(turn)) or "none"
        return RefusedError(
            f"This turn never saw a request {answer.request_id!r}.",
            code="unknown_request",
            next_step=f"Waiting for an answer: {waiting}.",
        )
    problem = next(_problems(answer, asked.request), None)
    if problem is None:
        return None
    return RefusedError(f"Request {answer.request_id}: {problem}.", code="wrong_answer", next_step=_advice(asked))


def reply_to(turn: Turn, answer: Answer) -> Reply:
    """The answer in the provider's terms; two ways to say the same give the same."""
    asked = _find(turn, answer.request_id)
    if answer.reject and asked is not None and asked.request.kind == "permission":
        return Reply(permission=PermissionReply.REJECT, message=answer.message)
    return Reply(permission=answer.permission, answers=answer.answers, message=answer.message)


def _problems(answer: Answer, request: OpenRequest) -> Iterator[str]:
    if request.kind == "permission":
        if answer.answers is not None:
            yield "it asks for a permission, not for answers"
        return
    if answer.permission is not None:
        yield "it is a question, which no permission answers"
    if answer.message:
        yield "a question is rejected without a message; write it as the answer instead"
    if answer.answers is not None:
        yield from _problems_of_answers(answer.answers, request.questions)


def _problems_of_answers(answers: tuple[tuple[str, ...], ...], questions: tuple[Question, ...]) -> Iterator[str]:
    if len(answers) != len(questions):
        yield f"{len(questions)} answers are expected, one for each question; {len(answers)} were given"
    for number, (choices, question) in enumerate(zip(answers, questions, strict=False), start=1):
        if not choices or any(not choice.strip() for choice in choices):
            yield f"the answer to question {number} is empty"
        if len(choices) > 1 and not question.multiple:
            yield f"question {number} takes one answer; {len(choices)} were given"


def _advice(asked: Asked) -> str:
    if asked.request.kind == "permission":
        return "Answer once, always or reject."
    return "Answer each question, or reject them all."


# --- which answer wins ---------------------------------------------------------------------------------------------


def learn(turn: Turn, fact: AnswerGiven | ReplyStarted | ReplyReported, now: datetime) -> Turn:
    """What `lifecycle.learn` leaves to this module."""
    match fact:
        case AnswerGiven(request_id, reply):
            return _given_by(turn, request_id, reply, AnsweredBy.PERSON, now)
        case ReplyStarted(send):
            return _started(turn, send, now)
        case ReplyReported(request_id, report):
            return _reported(turn, request_id, report, now)
        case _:
            assert_never(fact)


def _given_by(turn: Turn, request_id: str, reply: Reply, by: AnsweredBy, now: datetime) -> Turn:
    """An answer: it counts, unless the request is unknown or has one that the provider did not refuse."""
    asked = _find(turn, request_id)
    if asked is None or not _is_unanswered(asked):
        return turn
    return _with(turn, replace(asked, given=Given(reply, by, now)))


def result_of(turn: Turn, turn_id: str, request_id: str, reply: Reply) -> AnswerResult | None:
    """What became of an answer; None while that is open."""
    asked = _find(turn, request_id)
    won = asked.given if asked is not None else None
    if won is None or won.ended is AnswerState.STALE:
        return AnswerResult(turn_id=turn_id, request_id=request_id, state=AnswerState.STALE)
    if won.reply != reply:
        state = AnswerState.ALREADY_ANSWERED
    elif won.ended is not None:
        state = won.ended
    elif turn.outcome is not None:
        return AnswerResult(turn_id=turn_id, request_id=request_id, state=AnswerState.STALE)
    else:
        return None
    return AnswerResult(
        turn_id=turn_id, request_id=request_id, state=state, answer=won.reply, by=won.by, failure=won.failure
    )


def answers_shown(turn: Turn, turn_id: str) -> tuple[AnswerResult, ...]:
    """The latest answers whose fate is known."""
    latest = [asked for asked in turn.requests if asked.given is not None and asked.given.ended is not None]
    results = (
        result_of(turn, turn_id, asked.request.request_id, asked.given.reply)
        for asked in latest[-ANSWERS_SHOWN:]
        if asked.given is not None
    )
    return tuple(result for result in results if result is not None)


# --- sending it ----------------------------------------------------------------------------------------------------


def due_reply(turn: Turn, now: datetime) -> SendReply | None:
    """The answer that is to be sent now, if any: given and not taken yet, said by a rule, or overdue."""
    return next((send for asked in turn.requests if (send := _due(turn, asked, now)) is not None), None)


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
    return SendReply(asked.request, _rejection(asked.request), AnsweredBy.TIMEOUT)


def _overdue_at(turn: Turn, asked: Asked) -> datetime | None:
    allowed, since = turn.limits.request_timeout, asked.request.asked_at
    if allowed is None or since is None or not asked.open or not _is_unanswered(asked):
        return None
    if asked.given is not None and asked.given.by is AnsweredBy.TIMEOUT:
        return None  # the provider refused the rejection itself: only a person knows more
    return since + allowed


def _rejection(request: OpenRequest) -> Reply:
    return Reply(permission=PermissionReply.REJECT) if request.kind == "permission" else Reply()


def _started(turn: Turn, send: SendReply, now: datetime) -> Turn:
    """The answer is about to leave; a rule's or the clock's is given by that."""
    turn = _given_by(turn, send.request.request_id, send.reply, send.by, now)
    asked, answer = _answered(turn, send.request.request_id)
    return _with(turn, replace(asked, given=replace(answer, tries=answer.tries + 1, retry_at=None)))


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
            later = replace(answer, retry_at=now + pause, perhaps_taken=answer.perhaps_taken or perhaps)
            return unreachable(_with(turn, replace(asked, given=later)), failure, now)
        case _:
            assert_never(report)


def _ended(turn: Turn, asked: Asked, state: AnswerState, now: datetime) -> Turn:
    """The request is closed. Whatever the agent does about it is worth a look, and the answer is progress."""
    answered = replace(asked, given=replace(_given(asked), ended=state))
    return replace(_with(turn, answered), wake=turn.wake or Wake.ANSWER, progress_at=now)


def _answered(turn: Turn, request_id: str) -> tuple[Asked, Given]:
    asked = _find(turn, request_id)
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
