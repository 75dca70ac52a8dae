"""The rules of a turn's requests: what is open, what is an answer to it, which one wins, what became of it. Pure.

A request is known from the first reading that shows it. It gets one answer: a person's, a permission rule's, or the
rejection that `request_timeout` stands for, whichever comes first. The answer is sent to the provider until that has
said yes, no or "no such request" (`replies`); then it is over, and only a refused one may be followed by another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from turnkeeper.errors import RefusedError
from turnkeeper.limits import ANSWERS_SHOWN, MAX_ANSWERS_SHOWN_BYTES, MAX_REQUESTS_KEPT
from turnkeeper.messages import Answer, AnswerResult
from turnkeeper.observations import Failure, Observation, OpenRequest, Question, Reply, Seen
from turnkeeper.sizes import newest_within
from turnkeeper.turn import Asked, Turn
from turnkeeper.vocabulary import AnsweredBy, AnswerState, Fault, PermissionReply, Reason, Standing, TurnState

# --- what is open --------------------------------------------------------------------------------------------------


def open_requests(turn: Turn) -> tuple[OpenRequest, ...]:
    """What waits for an answer. Closed with the turn."""
    if turn.outcome is not None or turn.verdict is not None or not _waits(turn):
        return ()
    return tuple(asked.request for asked in turn.requests if asked.open and is_unanswered(asked))


def waits_for_person(turn: Turn) -> bool:
    """Does the agent wait for an answer that nobody has given?"""
    if turn.seen is None or not _waits(turn):
        return False
    return bool(open_requests(turn)) or not turn.seen.open_requests


def _waits(turn: Turn) -> bool:
    return turn.seen is not None and turn.seen.standing is Standing.WAITING


def left_open(turn: Turn) -> tuple[OpenRequest, ...]:
    """What a turn whose end is decided was asking when it was last seen at work: OpenCode lists that for ever.

    An abort of ours closes them itself. A turn that was answered leaves none; one whose place another client's prompt
    took is left alone, because a rejection closes what that one asks as well (measured).
    """
    verdict, stop = turn.verdict, turn.stop
    if verdict is None or turn.dismissed or verdict.reason is Reason.SUPERSEDED:
        return ()
    if verdict.state is TurnState.COMPLETED or (stop is not None and stop.aborts and stop.failure is None):
        return ()
    untaken = {None, AnswerState.REFUSED}
    return tuple(
        asked.request for asked in turn.requests if asked.open and (asked.given is None or asked.given.ended in untaken)
    )


def noticed(turn: Turn, observation: Observation, now: datetime) -> Turn:
    """Take the requests of a reading. One that is no longer listed was answered elsewhere, or withdrawn.

    Only a turn at work says so: of one that is over the provider tells nothing, and may list its requests all the same.
    """
    if not isinstance(observation, Seen) or not (observation.open_requests or turn.requests):
        return turn
    if observation.standing not in {Standing.RUNNING, Standing.WAITING}:
        return _reasoned(turn)
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


def is_unanswered(asked: Asked) -> bool:
    """Nobody gave an answer that the provider has not refused."""
    return asked.given is None or asked.given.ended is AnswerState.REFUSED


def find(turn: Turn, request_id: str) -> Asked | None:
    """A request that the turn remembers."""
    return next((asked for asked in turn.requests if asked.request.request_id == request_id), None)


# --- an answer at the door -----------------------------------------------------------------------------------------


def refusal(turn: Turn, answer: Answer) -> RefusedError | None:
    """Why `answer` is no answer to its request, or None. One that comes late is no mistake: see `result_of`."""
    asked = find(turn, answer.request_id)
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
    asked = find(turn, answer.request_id)
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


def result_of(turn: Turn, turn_id: str, request_id: str, reply: Reply) -> AnswerResult | None:
    """What became of an answer; None while that is open."""
    asked = find(turn, request_id)
    won = asked.given if asked is not None else None
    if asked is None or won is None or won.ended is AnswerState.STALE:
        return AnswerResult(turn_id=turn_id, request_id=request_id, state=AnswerState.STALE)
    if won.reply != reply:
        state = AnswerState.ALREADY_ANSWERED
    elif won.ended is not None:
        state = won.ended
    elif turn.outcome is None:
        return None
    elif won.perhaps_taken and turn.stop is None and (turn.outcome.state is TurnState.COMPLETED or not asked.open):
        state = AnswerState.DELIVERED  # not acknowledged, but the run went on after it, and nobody stopped that
    else:
        return AnswerResult(turn_id=turn_id, request_id=request_id, state=AnswerState.STALE)
    return AnswerResult(
        turn_id=turn_id, request_id=request_id, state=state, answer=won.reply, by=won.by, failure=won.failure
    )


def answers_shown(turn: Turn, turn_id: str) -> tuple[AnswerResult, ...]:
    """The latest answers whose fate is known, and after them those that were kept and could then not be taken."""
    latest = [asked for asked in turn.requests if asked.given is not None and asked.given.ended is not None]
    results = (
        result_of(turn, turn_id, asked.request.request_id, asked.given.reply)
        for asked in latest[-ANSWERS_SHOWN:]
        if asked.given is not None
    )
    refused = (
        AnswerResult(turn_id=turn_id, request_id=said.request_id, state=AnswerState.REFUSED, failure=said.failure)
        for said in turn.refused_answers
    )
    newest = (*(result for result in results if result is not None), *refused)[-ANSWERS_SHOWN:]
    return newest_within(newest, MAX_ANSWERS_SHOWN_BYTES)
