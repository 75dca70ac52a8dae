"""Limits as a caller sets them: a few, over those of the endpoint."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError

from turnkeeper.limits import TurnLimits, in_words


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, "5 s"), (0.5, "0.5 s"), (90, "90 s"), (900, "15 min"), (28800, "8 h"), (5400, "90 min")]
)
def test_a_limit_is_said_as_people_say_it(seconds: float, words: str) -> None:
    assert in_words(timedelta(seconds=seconds)) == words


def test_only_what_a_caller_sets_travels() -> None:
    assert TurnLimits(deadline=timedelta(minutes=15)).model_dump_json() == '{"deadline":"PT15M"}'
    assert TurnLimits.model_validate_json("{}") == TurnLimits()


def test_what_is_set_overrides_and_the_rest_is_the_endpoints() -> None:
    endpoint = TurnLimits(stall_timeout=timedelta(minutes=1), deadline=timedelta(hours=1))
    wanted = TurnLimits.model_validate_json('{"deadline": 60}')
    admitted = endpoint.overridden_by(wanted)
    assert (admitted.deadline, admitted.stall_timeout) == (timedelta(minutes=1), timedelta(minutes=1))


def test_admitted_limits_travel_whole() -> None:
    """A running turn keeps the limits that it began with, whatever a later version's defaults are."""
    admitted = TurnLimits().overridden_by(None)
    assert set(admitted.model_dump()) == set(TurnLimits.model_fields)
    assert TurnLimits.model_validate_json(admitted.model_dump_json()) == admitted


def test_limits_that_contradict_the_endpoints_are_refused() -> None:
    with pytest.raises(ValidationError, match="look_interval"):
        TurnLimits(look_interval_max=timedelta(seconds=20)).overridden_by(
            TurnLimits(look_interval=timedelta(seconds=30))
        )
