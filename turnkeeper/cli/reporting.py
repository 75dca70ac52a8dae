"""From how the following ended to what the shell learns."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import assert_never

from turnkeeper.cli.endings import Exit
from turnkeeper.cli.following import Detached, Follower, NeverBegun, Settled
from turnkeeper.cli.json_lines import error_entry, write_entry
from turnkeeper.cli.views import Subject, View
from turnkeeper.errors import RefusedError, ServiceUnavailableError, TurnkeeperError
from turnkeeper.vocabulary import TurnState


async def follow_to_exit(follower: Follower, view: View, subject: Subject) -> Exit:
    """Follow, show the outcome, give the exit code.

    Raises:
        RefusedError: there is no such turn.
        ServiceUnavailableError: nothing answered for too long; the turn goes on.

    """
    try:
        ending = await follower.follow(subject)
    except (RefusedError, ServiceUnavailableError):
        raise
    except TurnkeeperError as error:
        # The turn is over, only not by itself: terminated by an operator, or a fault of ours.
        view.failed(error)
        return Exit.ENDED_OTHERWISE
    match ending:
        case Settled(subject=settled, result=result):
            view.settled(settled, result)
            return Exit.OK if result.outcome.state is TurnState.COMPLETED else Exit.ENDED_OTHERWISE
        case NeverBegun(subject=subject, turn=turn, why=why):
            view.never_begun(subject, turn, why)
            return Exit.ENDED_OTHERWISE
        case Detached():
            return Exit.NOT_FOLLOWED
        case _:
            assert_never(ending)


@contextmanager
def errors_as_json(*, as_json: bool) -> Iterator[None]:
    """Within the block an error is also one JSON object on stdout, when programs read there."""
    try:
        yield
    except TurnkeeperError as error:
        if as_json:
            write_entry(sys.stdout, error_entry(error))
        raise
