"""A thread's own place at its endpoint: when it needs one, and what it knows of its ask. Pure; `places` has the rest.

The place is the thread's and not a prompt's: while it waits, its queue can be edited, stopped and closed as ever, and
whichever prompt is first then gets it. A run that was taken over is at work already: its place is claimed, not waited
for.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from turnkeeper.observations import Failure
from turnkeeper.place_messages import OwnPlace, PlaceAnswer
from turnkeeper.thread_messages import ThreadState

ASK_AGAIN: Final = timedelta(minutes=5)
"""A thread that waits asks again this often: an endpoint's workflow that was terminated and begun anew knows no asks.
It also tells how many are before it, and costs some ten history events."""

RETRY: Final = timedelta(seconds=5)
"""Until the next try after one that nobody answered: no worker of the endpoint is up."""


def needed(state: ThreadState) -> bool:
    """Do turns need a place there?"""
    return state.max_running_turns is not None


def claims(state: ThreadState) -> bool:
    """Does the turn that is next run already?"""
    return bool(state.queue) and state.queue[0].adopted_message_id is not None


def asked(state: ThreadState, now: datetime) -> ThreadState:
    """With an ask, if there is none yet."""
    if state.place is not None:
        return state
    number = state.places_asked + 1
    return state.model_copy(update={"places_asked": number, "place": OwnPlace(number=number, asked_at=now)})


def answered(state: ThreadState, number: int, answer: PlaceAnswer) -> ThreadState:
    """What the endpoint said; a grant that came meanwhile stands."""
    place = state.place
    if place is None or place.number != number:
        return state
    update = {"granted": place.granted or answer.granted, "ahead": answer.ahead, "failure": None}
    return state.model_copy(update={"place": place.model_copy(update=update)})


def unanswered(state: ThreadState, number: int, failure: Failure) -> ThreadState:
    """Nobody answered. What runs already is followed all the same."""
    place = state.place
    if place is None or place.number != number:
        return state
    update = {"granted": place.granted or claims(state), "failure": failure}
    return state.model_copy(update={"place": place.model_copy(update=update)})


def asks(state: ThreadState, number: int) -> bool:
    """Is this the thread's ask, or its place?"""
    return state.place is not None and state.place.number == number


def granted(state: ThreadState) -> ThreadState:
    """The thread has its place."""
    place = state.place
    return state if place is None else state.model_copy(update={"place": place.model_copy(update={"granted": True})})


def given_back(state: ThreadState) -> ThreadState:
    """Without it."""
    return state.model_copy(update={"place": None})


def waits(state: ThreadState) -> bool:
    """Has it asked, and not got it yet?"""
    return state.place is not None and not state.place.granted


def known_to_wait(state: ThreadState) -> bool:
    """The same, once the endpoint has said so or could not be asked."""
    place = state.place
    return place is not None and waits(state) and (place.ahead is not None or place.failure is not None)


def pause(place: OwnPlace, chance: float) -> timedelta:
    """Until the next ask. `chance`, from 0 to 1, spreads threads that asked together over half of the time."""
    return (RETRY if place.failure is not None else ASK_AGAIN) * (1 - chance / 2)


def words(place: OwnPlace, endpoint: str) -> str:
    """What a thread waits for."""
    if place.failure is not None:
        return f"waits for a place at endpoint {endpoint}, which cannot be asked: {place.failure.message}"
    before = "" if place.ahead is None else f" ({place.ahead} before it)"
    return f"waits for a place at endpoint {endpoint}{before}"
