"""An endpoint's places: never more than the limit, nobody forgotten, nobody overtaken, whatever is said twice."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from enum import Enum
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.scripted_turn import T0
from turnkeeper import places
from turnkeeper.limits import MAX_PLACES_HELD, MAX_WAITING_THREADS, PLACES_SHOWN
from turnkeeper.place_messages import AskForPlace, PlaceAnswer, Places, Ticket

COUNTED: Final = Places(limit=2, counted_at=T0)
LATER: Final = T0 + places.TO_BEGIN + places.COUNT_INTERVAL


def ticket(thread: str, number: int = 1, chain: str = "run-1") -> Ticket:
    return Ticket(thread_id=thread, chain=chain, number=number)


def ask(
    thread: str, number: int = 1, *, limit: int | None = 2, claim: bool = False, chain: str = "run-1"
) -> AskForPlace:
    return AskForPlace(ticket=ticket(thread, number, chain), max_running_turns=limit, claim=claim)


def asked(state: Places, *asks: AskForPlace) -> Places:
    for one in asks:
        state = places.asked(state, one, T0)
    return state


def holders(state: Places) -> list[str]:
    return [place.thread_id for place in state.held]


def line(state: Places) -> list[str]:
    return [waiting.ticket.thread_id for waiting in state.waiting]


def test_as_many_as_the_limit_run_and_the_others_wait_in_their_order() -> None:
    state = asked(COUNTED, *(ask(thread) for thread in "abcde"))
    assert (holders(state), line(state)) == (["a", "b"], ["c", "d", "e"])
    state = places.given_back(state, ticket("a"), T0)
    assert (holders(state), line(state)) == (["b", "c"], ["d", "e"])


def test_a_thread_that_asks_again_after_its_turn_is_behind_those_that_wait() -> None:
    state = asked(COUNTED, *(ask(thread) for thread in "abc"))
    state = asked(places.given_back(state, ticket("a"), T0), ask("a", 2), ask("d"))
    assert (holders(state), line(state)) == (["b", "c"], ["a", "d"])


def test_nobody_is_served_before_the_running_turns_were_counted_and_those_hold_places() -> None:
    state = asked(Places(), ask("a"), ask("b"))
    assert holders(state) == []
    assert places.count_due(state) == T0
    state = places.counted(state, ["old"], 2, T0)
    assert (holders(state), line(state)) == (["old", "a"], ["b"])
    state = places.counted(state, ["a"], 2, T0 + places.COUNT_INTERVAL)
    assert holders(state) == ["a", "b"], "a turn that never asked gives nothing back: it is over when it is not listed"


def test_a_count_that_failed_frees_nothing_and_holds_nobody_up() -> None:
    state = places.counted(asked(Places(), ask("a"), ask("b"), ask("c")), None, 2, T0)
    assert holders(state) == ["a", "b"]
    assert holders(places.counted(state, None, 2, LATER)) == ["a", "b"]


def test_a_place_without_a_turn_that_runs_is_taken_away_but_not_before_it_may_have_begun() -> None:
    state = asked(COUNTED, ask("a"), ask("b"), ask("c"))
    soon = places.counted(state, ["b"], 2, T0 + places.TO_BEGIN / 2)
    assert holders(soon) == ["a", "b"]
    assert holders(places.counted(soon, ["b"], 2, LATER)) == ["b", "c"]


def test_later_counts_make_nobody_a_holder() -> None:
    """Temporal lists a turn for a moment longer than it runs."""
    state = asked(COUNTED, ask("a"), ask("b"), ask("c"))
    assert holders(places.counted(state, ["a", "b", "just-over"], 2, LATER)) == ["a", "b"]


def test_what_is_claimed_is_counted_and_never_refused() -> None:
    state = asked(COUNTED, *(ask(thread) for thread in "abc"), ask("adopted", claim=True))
    assert (holders(state), line(state)) == (["a", "b", "adopted"], ["c"])
    state = places.given_back(state, ticket("a"), T0)
    assert line(state) == ["c"], "still as many as the limit run"


def test_the_newest_limit_counts() -> None:
    state = asked(COUNTED, *(ask(thread) for thread in "abcde"))
    assert holders(asked(state, ask("f", limit=4))) == ["a", "b", "c", "d"]
    lowered = places.given_back(asked(state, ask("f", limit=1)), ticket("a"), T0)
    assert holders(lowered) == ["b"]
    assert line(asked(state, ask("f", limit=None))) == [], "without a limit nobody waits"
    assert places.counted(state, ["a", "b"], 3, T0).limit == 3


def test_the_thread_is_told_once_that_it_was_served() -> None:
    state = asked(COUNTED, ask("a"), ask("b"), ask("c"))
    state, answer = places.answered(state, ticket("a"))
    assert answer == PlaceAnswer(granted=True)
    state, answer = places.answered(places.told(state, ticket("b")), ticket("c"))
    assert answer == PlaceAnswer(granted=False, ahead=0)
    state = places.given_back(state, ticket("a"), T0)
    assert places.untold(state) == (ticket("c"),)
    assert places.untold(places.told(state, ticket("c"))) == ()


def test_a_late_ask_of_a_thread_that_went_on_is_nothing() -> None:
    state = asked(COUNTED, ask("a", 2))
    assert asked(state, ask("a", 1)) == state


def test_a_thread_of_the_same_name_begun_anew_takes_over_what_the_old_one_left() -> None:
    state = asked(COUNTED, ask("a"), ask("b"), ask("c"), ask("a", chain="run-2"))
    assert (holders(state), line(state)) == (["b", "c"], ["a"])


def test_what_is_kept_is_bounded() -> None:
    state = asked(COUNTED, *(ask(f"t{number}") for number in range(MAX_WAITING_THREADS + 10)))
    assert len(state.waiting) == MAX_WAITING_THREADS
    _, answer = places.answered(state, ticket("t1009"))
    assert answer == PlaceAnswer(granted=False, ahead=MAX_WAITING_THREADS)
    many = [f"old{number}" for number in range(MAX_PLACES_HELD + 10)]
    assert len(places.counted(asked(Places(), ask("a")), many, 2, T0).held) == MAX_PLACES_HELD


def test_what_is_shown_is_short() -> None:
    shown = places.shown(asked(COUNTED, *(ask(f"t{number}") for number in range(100))))
    assert (shown.limit, shown.held, shown.waiting) == (2, 2, 98)
    assert shown.next == tuple(f"t{number}" for number in range(2, 2 + PLACES_SHOWN))


class Said(Enum):
    """What may reach an endpoint, in any order and more than once."""

    ASK = "ask"
    ASK_AGAIN = "ask again"
    GIVE_BACK = "give back"
    GIVE_BACK_AGAIN = "give back again"
    COUNT = "count"


THREADS: Final = "abcdef"


class Crowd:
    """Threads as they are, beside the places that a test keeps for them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.places = Places(limit=limit, counted_at=T0)
        self.number = dict.fromkeys(THREADS, 0)
        self.wants: dict[str, Ticket] = {}
        self.over: dict[str, Ticket] = {}
        self.passed: dict[str, int] = {}
        self.now = T0

    def do(self, said: Said, thread: str) -> None:
        self.now += timedelta(seconds=1)
        before = set(places.untold(self.places)) | {place.ticket for place in self.places.held}
        match said:
            case Said.ASK if thread not in self.wants:
                self.number[thread] += 1
                self.wants[thread] = ticket(thread, self.number[thread])
                self.passed[thread] = 0
                self._ask(thread)
            case Said.ASK_AGAIN if thread in self.wants:
                self._ask(thread)
            case Said.GIVE_BACK if thread in self.wants:
                self.over[thread] = self.wants.pop(thread)
                self.places = places.given_back(self.places, self.over[thread], self.now)
            case Said.GIVE_BACK_AGAIN if thread in self.over:
                self.places = places.given_back(self.places, self.over[thread], self.now)
            case Said.COUNT:
                self.places = places.counted(
                    self.places, set(self.wants) & set(holders(self.places)), self.limit, self.now
                )
            case _:
                return
        for place in self.places.held:
            if place.ticket not in before:
                for other in set(self.wants) - set(holders(self.places)):
                    self.passed[other] += 1

    def _ask(self, thread: str) -> None:
        self.places = places.asked(
            self.places, AskForPlace(ticket=self.wants[thread], max_running_turns=self.limit), self.now
        )

    def check(self) -> None:
        held, waiting = holders(self.places), line(self.places)
        assert len(held) <= self.limit
        assert sorted(held + waiting) == sorted(self.wants), "nobody is lost, nobody is there twice"
        assert len(held) == min(self.limit, len(self.wants)), "nothing is free while somebody waits"
        assert all(times < len(THREADS) for times in self.passed.values()), "overtaken by one thread twice"


def play(limit: int, story: Iterable[tuple[Said, str]]) -> Crowd:
    crowd = Crowd(limit)
    for said, thread in story:
        crowd.do(said, thread)
        crowd.check()
    return crowd


@given(
    limit=st.integers(1, 4),
    story=st.lists(st.tuples(st.sampled_from(Said), st.sampled_from(THREADS)), max_size=60),
)
def test_whatever_is_said_in_whatever_order(limit: int, story: list[tuple[Said, str]]) -> None:
    crowd = play(limit, story)
    served = 0
    while crowd.wants:  # everybody who waits is served in the end
        crowd.do(Said.GIVE_BACK, holders(crowd.places)[0])
        crowd.check()
        served += 1
        assert served <= len(THREADS)


@pytest.mark.parametrize("limit", [1, 3])
def test_greedy_threads_take_turns(limit: int) -> None:
    """Six threads that ask again at once, for ever: none gets two places more than another."""
    crowd = play(limit, [(Said.ASK, thread) for thread in THREADS])
    turns = dict.fromkeys(THREADS, 0)
    for _ in range(120):
        thread = holders(crowd.places)[0]
        turns[thread] += 1
        crowd.do(Said.GIVE_BACK, thread)
        crowd.do(Said.ASK, thread)
    assert max(turns.values()) - min(turns.values()) <= 1
