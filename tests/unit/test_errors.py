"""One hierarchy: whose fault, whether a retry helps, and never more than a line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper import errors
from turnkeeper.errors import ConfigurationError, RefusedError, TurnkeeperError, bounded
from turnkeeper.vocabulary import Fault


def family(of: type[TurnkeeperError]) -> list[type[TurnkeeperError]]:
    return [of, *(child for direct in of.__subclasses__() for child in family(direct))]


OURS = [error for error in family(TurnkeeperError) if error.__module__ == errors.__name__]


def test_every_error_of_the_module_is_in_the_family() -> None:
    defined = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert set(defined) == set(OURS)


def test_codes_are_unique_so_that_they_can_be_searched_for() -> None:
    codes = [error.code for error in OURS]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("error", OURS)
def test_every_error_says_whose_fault_it_is(error: type[TurnkeeperError]) -> None:
    assert isinstance(error.fault, Fault)
    assert error.__doc__


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (errors.RefusedError, False),
        (errors.ConfigurationError, False),
        (errors.ServiceUnavailableError, True),
        (errors.ProviderUnreachableError, True),
        (errors.DeliveryUnknownError, True),
        (errors.ProviderRefusedError, False),
        (errors.ProviderNotFoundError, False),
        (errors.ProviderContractError, True),
    ],
)
def test_a_retry_is_advised_where_it_can_help(error: type[TurnkeeperError], *, retryable: bool) -> None:
    assert error.retryable is retryable


def test_an_error_reads_as_what_happened_and_what_to_do() -> None:
    error = RefusedError("The thread is busy.", next_step="Wait for it.", code="thread_busy")
    assert str(error) == "The thread is busy. Wait for it."
    failure = error.failure()
    assert (failure.code, failure.fault, failure.retryable) == ("thread_busy", Fault.CALLER, False)
    assert (failure.message, failure.next_step) == ("The thread is busy.", "Wait for it.")
    assert RefusedError("no").failure().code == "refused"


def test_a_configuration_error_names_setting_found_and_allowed() -> None:
    assert str(ConfigurationError("worker.log_level", "'LOUD'", "DEBUG")) == (
        "worker.log_level: found 'LOUD'; allowed: DEBUG."
    )


@given(st.text(), st.integers(1, 50))
def test_foreign_text_is_one_short_line(text: str, limit: int) -> None:
    line = bounded(text, limit)
    assert len(line) <= limit
    assert len(line.splitlines()) <= 1
    assert bounded(line, limit) == line


def test_a_cut_is_marked() -> None:
    assert bounded("one two\nthree", 8) == "one two…"
    assert bounded("  one\n two ", 8) == "one two"
