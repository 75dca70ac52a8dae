"""What a thread and its endpoint say to each other about places, and what either keeps of it. Pure data.

An endpoint with `max_running_turns` has so many places; a thread takes one for each turn, before the turn begins.
Both sides carry their part through continue-as-new: a field is only ever added, with a default.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from turnkeeper.limits import MAX_PLACES_HELD, MAX_RUN_ID_CHARACTERS, MAX_WAITING_THREADS, PLACES_SHOWN
from turnkeeper.observations import Failure
from turnkeeper.vocabulary import AtMost, EndpointName, QueueName, Record, ThreadId


class Ticket(Record):
    """One ask of one thread. The same ticket again is the same ask."""

    thread_id: ThreadId
    chain: Annotated[str, AtMost(MAX_RUN_ID_CHARACTERS)] = Field(
        description="first run id of the thread: a later thread of the same name is another one"
    )
    number: int = Field(description="counts the thread's asks; it has one at a time")


class AskForPlace(Record):
    """Update `ask_for_place` of `Endpoint`."""

    ticket: Ticket
    max_running_turns: int | None = Field(description="as the worker that passes this on is configured")
    claim: bool = Field(default=False, description="the turn runs already, as an adopted one: counted, never refused")


class PlaceAnswer(Record):
    """Its answer."""

    granted: bool
    ahead: int = Field(default=0, description="asks that are served before this one")


class PlaceGranted(Record):
    """Signal `place_granted` of an `Endpoint` to a `Thread`: the place that it waited for is its own."""

    ticket: Ticket


class GiveBackPlace(Record):
    """Signal `give_back_place` of a `Thread` to its `Endpoint`: the turn is over, or none is to begin any more."""

    ticket: Ticket


class PlaceRequest(Record):
    """Pass the ask on to the endpoint's workflow, which is started if it does not run."""

    endpoint: EndpointName
    ticket: Ticket
    claim: bool = False
    workflow_queue: QueueName = Field(description="where workers take workflows")


class CountRequest(Record):
    """Which turns run at the endpoint, as Temporal lists them?"""

    endpoint: EndpointName


class TurnCount(Record):
    """The threads whose turns run; bounded."""

    thread_ids: Annotated[tuple[ThreadId, ...], AtMost(MAX_PLACES_HELD)]
    max_running_turns: int | None = Field(description="as the worker that counted is configured")


class HeldPlace(Record):
    """A place that somebody has."""

    thread_id: ThreadId
    ticket: Ticket | None = Field(default=None, description="None: the turn was found running and had never asked")
    since: datetime
    told: bool = Field(default=False, description="the thread knows of it")


class Waiting(Record):
    """An ask that is not served yet."""

    ticket: Ticket
    since: datetime


class Places(Record):
    """All that an endpoint knows of its places."""

    limit: int | None = None
    held: Annotated[tuple[HeldPlace, ...], AtMost(MAX_PLACES_HELD)] = ()
    waiting: Annotated[tuple[Waiting, ...], AtMost(MAX_WAITING_THREADS)] = Field(
        default=(), description="first to be served first"
    )
    counted_at: datetime | None = Field(default=None, description="when the running turns were counted; None: never")


class PlacesShown(Record):
    """Places as a person sees them."""

    limit: int | None
    held: int
    waiting: int
    next: Annotated[tuple[ThreadId, ...], AtMost(PLACES_SHOWN)] = Field(
        default=(), description="threads that wait, first to be served first"
    )


class OwnPlace(Record):
    """A thread's ask, and then its place."""

    number: int
    asked_at: datetime
    granted: bool = False
    ahead: int | None = Field(default=None, description="asks before it when the endpoint last said; None: not yet")
    failure: Failure | None = Field(default=None, description="why the endpoint could not be asked")
