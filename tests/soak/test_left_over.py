"""What a soak finds at its end, and what it lays at a fault's door: made up once each."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.chaos.bare import PROBE_TITLE
from tests.chaos.cases import Case, Kind
from tests.chaos.witness import DATABASE
from tests.soak.load import Story
from tests.soak.soak import Struck, damage_of
from tests.soak.watching import left_over
from turnkeeper.vocabulary import Reason


def mark(thread: str) -> str:
    return json.dumps({"turnkeeper": {"thread": thread}})


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """An OpenCode with one session as it should be, its sub-agent's, and one that only asked whether it is up."""
    (tmp_path / DATABASE).parent.mkdir(parents=True)
    with closing(sqlite3.connect(tmp_path / DATABASE)) as database:
        database.execute("create table session (id text, parent_id text, metadata text, title text)")
        database.commit()
    add(tmp_path, "ses_1", mark("a"))
    add(tmp_path, "ses_2", None, parent="ses_1")
    add(tmp_path, "ses_3", None, title=PROBE_TITLE)
    return tmp_path


def add(state: Path, session: str, metadata: str | None, *, parent: str | None = None, title: str = "") -> None:
    with closing(sqlite3.connect(state / DATABASE)) as database:
        database.execute("insert into session values (?, ?, ?, ?)", (session, parent, metadata, title))
        database.commit()


def test_a_session_for_each_thread_is_as_it_should_be(state: Path) -> None:
    assert left_over(state, {"a", "one that was refused"}) == []


def test_a_session_that_no_thread_owns_is_found(state: Path) -> None:
    add(state, "ses_4", None)
    add(state, "ses_5", mark("somebody else's"))
    assert left_over(state, {"a"}) == ["session ses_4 belongs to no thread", "session ses_5 belongs to no thread"]


def test_a_second_session_of_a_thread_is_found(state: Path) -> None:
    add(state, "ses_4", mark("a"))
    assert left_over(state, {"a"}) == ["thread a has 2 sessions"]


def test_a_fault_excuses_only_what_ran_meanwhile() -> None:
    struck = [
        Struck("before", 10, 20, frozenset({Reason.STALLED})),
        Struck("meanwhile", 90, 105, frozenset({Reason.PROMPT_REJECTED})),
        Struck("after", 1000, 1001, frozenset({Reason.STALLED})),
    ]
    story = Story((Case(Kind.WORDS, "w", "t", started_at=100.0),), frozenset())
    damage = damage_of([15.0, 101.0, 1000.5], struck, story)
    assert (*damage.deaths, damage.over_at) == (101.0, 105)
    assert damage.refuses == {Reason.PROMPT_REJECTED}
