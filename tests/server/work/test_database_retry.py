"""Work in hand waits for the database."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from server.errors import RecordRefused, RecordUnavailable, RunEnded
from server.work.database_retry import retry_while_database_away


def failing(times: int) -> tuple[list[float], Callable[[], str]]:
    """Waits made so far, and a call that fails `times` times before it answers."""
    left = [times]

    def call() -> str:
        if left[0]:
            left[0] -= 1
            raise RecordUnavailable("PostgreSQL does not answer")
        return "there"

    return [], call


@pytest.mark.parametrize(
    ("times", "expected"),
    [(0, []), (3, [0.2, 0.4, 0.8]), (7, [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])],
)
def test_it_waits_longer_and_longer_up_to_a_limit(times: int, expected: list[float]) -> None:
    waits, call = failing(times)
    assert retry_while_database_away(call, waits.append) == "there"
    assert waits == pytest.approx(expected)


def test_it_says_so_once_and_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    waits, call = failing(5)
    retry_while_database_away(call, waits.append)
    assert [line.message for line in caplog.records] == [
        "waiting for the record: PostgreSQL does not answer",
        "the record answers again",
    ]


@pytest.mark.parametrize(("passing", "tries"), [(True, 5), (False, 1)])
def test_what_is_refused_is_the_callers_after_a_few_tries(passing: bool, tries: int) -> None:
    made: list[int] = []

    def call() -> None:
        made.append(1)
        raise RecordRefused("no", sqlstate="40P01", passing=passing)

    with pytest.raises(RecordRefused):
        retry_while_database_away(call, lambda _: None)
    assert len(made) == tries


def test_every_other_error_is_the_callers() -> None:
    def call() -> None:
        raise RunEnded("cancelled", over=True)

    with pytest.raises(RunEnded):
        retry_while_database_away(call, lambda _: None)
