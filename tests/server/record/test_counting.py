"""Counts by state are kept by triggers: right after every change, whoever makes it, and summed up
now and then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select, text

from server.compose.heartbeat import part_table
from server.record.counting import MOST_TALLIES, RecordCounting
from server.record.tables import TallyRow
from server.values import RequestState, Stage
from tests.server.conftest import Desk


@pytest.fixture
def counting(desk: Desk) -> RecordCounting:
    return RecordCounting(desk.sessions, part_table(desk.sessions))


def counted_anew(desk: Any) -> dict[str, dict[str, int]]:
    """The same by reading everything."""
    with desk.sessions.begin() as session:
        return {
            table: dict(
                session.execute(text(f"SELECT state, count(*) FROM {table} GROUP BY state")).all()
            )
            for table in ("requests", "studies", "deliveries")
        }


def test_counts_follow_every_change(desk: Desk, counting: RecordCounting) -> None:
    ids = [desk.request("liver", destinations=("pacs", "archive")) for _ in range(4)]
    desk.record.cancel(ids[0], actor="jo")
    desk.runs.fail(ids[1], 1, Stage.SELECT, "broken")
    desk.record.retry(ids[1], actor="jo")

    counts = counting.counts()

    assert counts.requests == {"QUEUED": 3, "CANCELLED": 1}
    assert counts.deliveries == {"pending": 6, "withdrawn": 2}
    assert counts.studies == {"COMPLETE": 1}
    assert counted_anew(desk) == {
        "requests": counts.requests,
        "studies": counts.studies,
        "deliveries": counts.deliveries,
    }


def test_what_was_rolled_back_is_not_counted(desk: Desk, counting: RecordCounting) -> None:
    desk.request("liver")

    statement = text("UPDATE requests SET state = 'DONE'")
    with desk.sessions.begin() as session:
        session.execute(statement)
        session.rollback()

    assert counting.counts().requests == {"QUEUED": 1}


def test_tallies_are_summed_up_when_there_are_many(desk: Desk, counting: RecordCounting) -> None:
    # Arrange
    desk.request("liver")
    with desk.sessions.begin() as session:
        session.execute(
            text(
                "INSERT INTO tallies (kind, state, change) SELECT 'requests', 'DONE', 1 "
                f"FROM generate_series(1, {MOST_TALLIES + 1})"
            )
        )

    # Act
    before, after = counting.counts(), counting.counts()

    # Assert
    assert before == after
    assert before.requests == {"QUEUED": 1, "DONE": MOST_TALLIES + 1}
    with desk.sessions.begin() as session:
        assert (session.scalar(select(func.count()).select_from(TallyRow)) or 0) < 10


def test_two_that_sum_up_at_once_do_not_wait_and_count_nothing_twice(
    make_desk: Callable[..., Desk],
) -> None:
    # Arrange
    desk = make_desk()
    desk.request("liver")
    counting = RecordCounting(desk.sessions, part_table(desk.sessions))
    with desk.sessions.begin() as session:
        session.execute(
            text(
                "INSERT INTO tallies (kind, state, change) SELECT 'requests', 'DONE', 1 "
                f"FROM generate_series(1, {MOST_TALLIES + 1})"
            )
        )

    # Act: the first has not committed when the second asks
    from server.record.counting import sum_up

    with desk.sessions.begin() as session:
        sum_up(session)
        meanwhile = counting.counts()
    after = counting.counts()

    # Assert
    assert meanwhile == after
    assert after.requests[RequestState.DONE] == MOST_TALLIES + 1
