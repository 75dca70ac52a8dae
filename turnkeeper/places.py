"""The rules of an endpoint's places: how many turns run at once there, and who is next. Pure.

Asks are served in the order in which they came. A thread has one ask at a time whatever waits in its own queue, so
between threads that order is fair: one that keeps asking is overtaken by nobody twice. What was granted is held until
its thread gives it back; when a thread can do that no more, because an operator terminated it, a count of the turns
that really run takes the place from it. Everything may be said twice: a ticket names one ask for ever.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from turnkeeper.limits import MAX_PLACES_HELD, MAX_WAITING_THREADS, PLACES_SHOWN
from turnkeeper.place_messages import AskForPlace, HeldPlace, PlaceAnswer, Places, PlacesShown, Ticket, Waiting

COUNT_INTERVAL: Final = timedelta(seconds=60)
"""While somebody waits, running turns are counted this often: a place of a dead thread is free after two minutes."""

TO_BEGIN: Final = timedelta(seconds=60)
"""How long a place may be held without a turn that runs: it begins within a second, or its thread is dead."""


def asked(places: Places, ask: AskForPlace, now: datetime) -> Places:
    """The places after `ask`. Whatever else its thread asked for or held is over; an ask that is late is nothing."""
    places = _limited(places, ask.max_running_turns)
    if any(_is_older(ask.ticket, other) for other in _tickets(places)):
        return places
    others = _without_others(places, ask.ticket)
    if ask.ticket in _tickets(others):
        return _served(others, now)
    if ask.claim:
        place = HeldPlace(thread_id=ask.ticket.thread_id, ticket=ask.ticket, since=now, told=True)
        return _served(others.model_copy(update={"held": (*others.held, place)[:MAX_PLACES_HELD]}), now)
    waiting = (*others.waiting, Waiting(ticket=ask.ticket, since=now))[:MAX_WAITING_THREADS]
    return _served(others.model_copy(update={"waiting": waiting}), now)


def answered(places: Places, ticket: Ticket) -> tuple[Places, PlaceAnswer]:
    """The answer to an ask, and the places once it is given. One that found the line full is behind all of it."""
    if any(place.ticket == ticket for place in places.held):
        return told(places, ticket), PlaceAnswer(granted=True)
    line = [waiting.ticket for waiting in places.waiting]
    return places, PlaceAnswer(granted=False, ahead=line.index(ticket) if ticket in line else len(line))


def given_back(places: Places, ticket: Ticket, now: datetime) -> Places:
    """The place is free, or the ask is withdrawn."""
    held = tuple(place for place in places.held if place.ticket != ticket)
    waiting = tuple(other for other in places.waiting if other.ticket != ticket)
    return _served(places.model_copy(update={"held": held, "waiting": waiting}), now)


def untold(places: Places) -> tuple[Ticket, ...]:
    """Asks whose threads have to be told that they were served."""
    return tuple(place.ticket for place in places.held if place.ticket is not None and not place.told)


def told(places: Places, ticket: Ticket) -> Places:
    """The thread knows of its place."""
    held = (place.model_copy(update={"told": True}) if place.ticket == ticket else place for place in places.held)
    return places.model_copy(update={"held": tuple(held)})


def count_due(places: Places) -> datetime | None:
    """When the running turns are to be counted; None: not while nobody waits. A time in the past: now."""
    if not places.waiting:
        return None
    return places.waiting[0].since if places.counted_at is None else places.counted_at + COUNT_INTERVAL


def counted(places: Places, running: Collection[str] | None, limit: int | None, now: datetime) -> Places:
    """The places after a count of the threads whose turns run. `running`: None when it failed, which frees nothing.

    The first count also finds turns that run without having asked, as those from before there was a limit.
    """
    first = places.counted_at is None
    places = places.model_copy(update={"counted_at": now})
    if running is None:
        return _served(places, now)
    held = tuple(place for place in places.held if place.thread_id in running or _may_yet_begin(place, now))
    if first:
        known = {place.thread_id for place in held}
        held += tuple(HeldPlace(thread_id=other, since=now, told=True) for other in running if other not in known)
    return _served(_limited(places.model_copy(update={"held": held[:MAX_PLACES_HELD]}), limit), now)


def shown(places: Places) -> PlacesShown:
    """What a person sees of them."""
    line = tuple(waiting.ticket.thread_id for waiting in places.waiting[:PLACES_SHOWN])
    return PlacesShown(limit=places.limit, held=len(places.held), waiting=len(places.waiting), next=line)


def _limited(places: Places, limit: int | None) -> Places:
    """Without a limit nobody asks, so who runs is not known any more once there is one again."""
    counted_at = places.counted_at if limit is not None else None
    return places.model_copy(update={"limit": limit, "counted_at": counted_at})


def _served(places: Places, now: datetime) -> Places:
    """Who waits gets what is free, first come, first served; nobody before it is known who runs."""
    if places.limit is None:
        free = len(places.waiting)
    elif places.counted_at is None:
        free = 0
    else:
        free = max(0, places.limit - len(places.held))
    granted = (
        HeldPlace(thread_id=waiting.ticket.thread_id, ticket=waiting.ticket, since=now)
        for waiting in places.waiting[:free]
    )
    return places.model_copy(update={"held": (*places.held, *granted), "waiting": places.waiting[free:]})


def _tickets(places: Places) -> list[Ticket]:
    held = [place.ticket for place in places.held if place.ticket is not None]
    return [*held, *(waiting.ticket for waiting in places.waiting)]


def _is_older(ticket: Ticket, other: Ticket) -> bool:
    same = (ticket.thread_id, ticket.chain) == (other.thread_id, other.chain)
    return same and ticket.number < other.number


def _without_others(places: Places, ticket: Ticket) -> Places:
    """Without what else the ticket's thread holds or asks for."""
    held = (place for place in places.held if place.thread_id != ticket.thread_id or place.ticket == ticket)
    waiting = (
        other for other in places.waiting if other.ticket.thread_id != ticket.thread_id or other.ticket == ticket
    )
    return places.model_copy(update={"held": tuple(held), "waiting": tuple(waiting)})


def _may_yet_begin(place: HeldPlace, now: datetime) -> bool:
    return place.ticket is not None and now < place.since + TO_BEGIN
