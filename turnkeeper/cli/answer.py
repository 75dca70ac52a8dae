"""`turnkeeper answer`: say yes or no to a permission, or answer a question."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, assert_never

import typer

from turnkeeper.cli.endings import Exit
from turnkeeper.cli.figures import one_line
from turnkeeper.cli.json_lines import write_entry
from turnkeeper.cli.keeper import Keeper
from turnkeeper.cli.lines import LINE_CHARACTERS
from turnkeeper.cli.options import AsJson, StateDir, Thread
from turnkeeper.cli.reporting import errors_as_json
from turnkeeper.cli.service import Connector, default_state_dir
from turnkeeper.errors import RefusedError, TurnkeeperError
from turnkeeper.messages import AnswerResult
from turnkeeper.observations import OpenRequest, Reply
from turnkeeper.vocabulary import AnsweredBy, AnswerState, PermissionReply

BETWEEN_CHOICES = "|"
"""Between several answers to one question that takes several."""

_BY = {
    AnsweredBy.PERSON: "by a person",
    AnsweredBy.POLICY: "by a permission rule",
    AnsweredBy.TIMEOUT: "by the clock",
}


@dataclass(frozen=True, slots=True)
class Said:
    """What the person typed."""

    permission: PermissionReply | None = None
    answers: tuple[str, ...] = ()
    reject: bool = False
    message: str = ""


def command(  # noqa: PLR0913 - each is an option of the command
    ctx: typer.Context,
    thread: Thread,
    request: Annotated[
        str | None, typer.Argument(metavar="[REQUEST]", help="Its id. Default: the only one that is open.")
    ] = None,
    *,
    once: Annotated[bool, typer.Option("--once", help="Allow it this time.")] = False,
    always: Annotated[
        bool, typer.Option("--always", help="Allow it and its like, in this directory, until OpenCode restarts.")
    ] = False,
    reject: Annotated[
        bool, typer.Option("--reject", help="Say no to a permission or question. Without --message the turn ends.")
    ] = False,
    message: Annotated[
        str, typer.Option(metavar="TEXT", help="With --reject of a permission: what to do instead; the agent goes on.")
    ] = "",
    answer: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="To a question: once for each of its questions, in order. Several: A|B."),
    ] = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> int:
    """Answer what a thread's turn asks: a permission (--once, --always, --reject) or a question (--answer, --reject).

    The first answer wins. Exit code 0: it was delivered. 1: it came too late, or the provider did not take it.
    """
    connector: Connector = ctx.obj
    where = (state_dir or default_state_dir()).expanduser()
    with errors_as_json(as_json=as_json):
        said = _said(answer, message, once=once, always=always, reject=reject)
        return asyncio.run(give(connector, where, thread, request, said, as_json=as_json))


def _said(answers: list[str] | None, message: str, *, once: bool, always: bool, reject: bool) -> Said:
    if once + always + reject + bool(answers) != 1:
        raise RefusedError("Say exactly one of --once, --always, --reject and --answer.", code="invalid_input")
    if message and not reject:
        raise RefusedError("--message goes with --reject.", code="invalid_input")
    permission = {(True, False): PermissionReply.ONCE, (False, True): PermissionReply.ALWAYS}.get((once, always))
    return Said(permission, tuple(answers or ()), reject, message)


async def give(
    connector: Connector, state_dir: Path, thread_id: str, request_id: str | None, said: Said, *, as_json: bool
) -> Exit:
    """Give the answer, say what became of it."""
    service = await connector(state_dir)
    asked = await _asked(service.keeper, thread_id, request_id)
    result = await service.keeper.answer(
        thread_id,
        request_id or (asked.request_id if asked else ""),
        permission=said.permission,
        answers=_choices(said.answers, asked) if said.answers else None,
        reject=said.reject,
        message=said.message,
    )
    if as_json:
        write_entry(sys.stdout, {"event": "answered", "thread": thread_id, **result.model_dump(mode="json")})
    else:
        sys.stdout.write(f"{_words(result, asked)}\n")
    return Exit.OK if result.state is AnswerState.DELIVERED else Exit.ENDED_OTHERWISE


async def _asked(keeper: Keeper, thread_id: str, request_id: str | None) -> OpenRequest | None:
    """The request that is meant. One that was named need not be open: its answer is then stale, which is no mistake."""
    if request_id is not None:
        with suppress(TurnkeeperError):
            found = (await keeper.turn(thread_id)).open_requests
            return next((request for request in found if request.request_id == request_id), None)
        return None
    found = (await keeper.turn(thread_id)).open_requests
    if not found:
        raise RefusedError(f"Thread {thread_id!r} asks nothing right now.", code="no_request")
    if len(found) > 1:
        ids = ", ".join(request.request_id for request in found)
        raise RefusedError(
            f"Thread {thread_id!r} asks {len(found)} things.", code="which_request", next_step=f"Name one of: {ids}."
        )
    return found[0]


def _choices(answers: tuple[str, ...], asked: OpenRequest | None) -> list[list[str]]:
    """For each question its answers; only where several are taken does the mark separate them."""
    questions = asked.questions if asked is not None else ()
    several = [number < len(questions) and questions[number].multiple for number in range(len(answers))]
    return [
        [choice.strip() for choice in answer.split(BETWEEN_CHOICES)] if takes_several else [answer]
        for answer, takes_several in zip(answers, several, strict=True)
    ]


def _words(result: AnswerResult, asked: OpenRequest | None) -> str:
    what = one_line(f"{asked.kind} {asked.title}", LINE_CHARACTERS) if asked else result.request_id
    match result.state:
        case AnswerState.DELIVERED:
            return f"answered: {what}: {_reply_words(result.answer)}"
        case AnswerState.STALE:
            return f"too late: {what}: it was answered elsewhere or withdrawn, or its turn is over"
        case AnswerState.ALREADY_ANSWERED:
            by = f" {_BY[result.by]}" if result.by else ""
            return f"too late: {what}: answered{by} before: {_reply_words(result.answer)}"
        case AnswerState.REFUSED:
            failure = result.failure
            why = f"{failure.message} {failure.next_step}".strip() if failure else "the provider said no"
            return f"not taken: {what}: {one_line(why, LINE_CHARACTERS)} Answer again."
        case _:
            assert_never(result.state)


def _reply_words(reply: Reply | None) -> str:
    if reply is None:
        return "somehow"
    if reply.permission is not None:
        return f"{reply.permission}{f' ({one_line(reply.message, LINE_CHARACTERS)})' if reply.message else ''}"
    if reply.answers is None:
        return "rejected"
    return one_line("; ".join(", ".join(choices) for choices in reply.answers), LINE_CHARACTERS)
