"""Waiting between tries."""

from __future__ import annotations

import doctest
import random

import pytest

from server.work import backoff
from server.work.backoff import delay_s


def never() -> float:
    """No jitter."""
    return 0.0


@pytest.mark.parametrize(
    ("attempt", "expected_s"),
    [(1, 5.0), (2, 10.0), (3, 20.0), (7, 320.0), (8, 600.0), (10_000, 600.0)],
)
def test_it_doubles_up_to_the_maximum(attempt: int, expected_s: float) -> None:
    assert delay_s(attempt, 5.0, 2.0, 600.0, 0.5, never) == expected_s


def test_jitter_only_shortens_and_by_no_more_than_its_share() -> None:
    draw = random.Random(1).random

    waits = [delay_s(4, 5.0, 2.0, 600.0, 0.25, draw) for _ in range(200)]

    assert 30.0 <= min(waits) < 31.0
    assert 39.0 < max(waits) <= 40.0
    assert len(set(waits)) == 200


def test_a_factor_of_one_waits_evenly() -> None:
    assert [delay_s(n, 3.0, 1.0, 3.0, 0.0, never) for n in (1, 2, 50)] == [3.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("attempt", "base_s", "factor", "maximum_s", "jitter"),
    [
        (0, 5.0, 2.0, 600.0, 0.0),
        (1, -1.0, 2.0, 600.0, 0.0),
        (1, 5.0, 0.5, 600.0, 0.0),
        (1, 5.0, 2.0, 4.0, 0.0),
        (1, 5.0, 2.0, 600.0, 1.5),
    ],
)
def test_values_that_make_no_sense_are_refused(
    attempt: int, base_s: float, factor: float, maximum_s: float, jitter: float
) -> None:
    with pytest.raises(ValueError, match=r"attempts are counted|back-off needs"):
        delay_s(attempt, base_s, factor, maximum_s, jitter, never)


def test_the_example_in_its_documentation() -> None:
    assert doctest.testmod(backoff).failed == 0
