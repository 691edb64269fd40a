"""What PostgreSQL answers, in the record's own words: away, or refused; no statement and no value
in either.
"""

from __future__ import annotations

import traceback

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from server.errors import RecordError, RecordRefused, RecordUnavailable
from server.record.database.engine import Sessions, record_error, record_url
from tests.server.conftest import Desk

SECRET = "19610213"


class Answered(Exception):
    """What a driver raises: a code, and words that quote what was sent."""

    def __init__(self, pgcode: str | None) -> None:
        self.pgcode = pgcode
        super().__init__(f'value "{SECRET}" is no good\nDETAIL: Key (birth)=({SECRET})')


@pytest.mark.parametrize(
    ("pgcode", "expected"),
    [
        # PostgreSQL, appendix A
        ("08006", RecordUnavailable),  # connection failure
        ("08P01", RecordUnavailable),  # protocol violation
        ("57P01", RecordUnavailable),  # admin shutdown
        ("57P02", RecordUnavailable),  # crash shutdown
        ("57P03", RecordUnavailable),  # cannot connect now
        ("53300", RecordUnavailable),  # too many connections
        (None, RecordUnavailable),  # psycopg2 has no code for what the server did not say
        ("53100", RecordUnavailable),  # disk full: nothing at all can be written
        ("25006", RecordUnavailable),  # a stand-by that only reads
        ("54000", RecordRefused),  # index row size exceeds maximum
        ("53200", RecordRefused),  # out of memory, for this statement
        ("53400", RecordRefused),  # configuration limit exceeded
        ("57014", RecordRefused),  # statement time-out
        ("40P01", RecordRefused),  # deadlock
        ("58030", RecordRefused),  # I/O error of one page
        ("XX000", RecordRefused),  # a fault of the server
    ],
)
def test_away_means_the_connection_and_nothing_else(
    pgcode: str | None, expected: type[RecordError]
) -> None:
    # psycopg2 calls most of these OperationalError, whatever they are
    raised = OperationalError("INSERT INTO t VALUES (%s)", {"x": SECRET}, Answered(pgcode))

    assert type(record_error(raised)) is expected


@pytest.mark.parametrize("pgcode", ["40001", "40P01", "55P03", "22003"])
def test_transactions_in_each_others_way_may_be_tried_again(pgcode: str) -> None:
    error = record_error(DBAPIError("x", None, Answered(pgcode)))

    assert isinstance(error, RecordRefused)
    assert error.passing == (pgcode != "22003")
    assert error.sqlstate == pgcode


def test_a_connection_that_broke_is_away_whatever_the_driver_calls_it() -> None:
    lost = DBAPIError("x", None, Answered(None), connection_invalidated=True)

    for raised in (lost, InterfaceError("x", None, Answered(None)), PoolTimeout("pool")):
        assert isinstance(record_error(raised), RecordUnavailable)


@pytest.mark.parametrize(
    ("statement", "sqlstate"),
    [
        ("INSERT INTO workers VALUES (repeat('12', 50000), now(), now(), '', 1, '')", None),
        ("SELECT 19610213199 :: integer", "22003"),
        ("SELECT '19610213x' :: integer", "22P02"),
        ("SELECT '\"\\u0000\"' :: jsonb", "22P05"),
        ("SELECT 19610213 / 0", "22012"),
    ],
)
def test_what_postgresql_refuses_is_told_without_statement_and_value(
    desk: Desk, statement: str, sqlstate: str | None
) -> None:
    if sqlstate is None:  # an index row that is too long, which cannot be packed any tighter
        statement = (
            "INSERT INTO workers SELECT string_agg(md5(n::text), ''), now(), now(), '', 1, '' "
            "FROM generate_series(1, 1000) AS n"
        )
        sqlstate = "54000"

    with pytest.raises(RecordRefused) as caught, desk.sessions.begin() as session:
        session.execute(text(statement))

    assert caught.value.sqlstate == sqlstate
    printed = "".join(traceback.format_exception(caught.value))
    assert "SELECT 1961" not in printed
    assert "[SQL" not in printed
    assert SECRET not in str(caught.value)


def test_the_code_is_told_in_words(desk: Desk) -> None:
    with pytest.raises(RecordRefused) as refused, desk.sessions.begin() as session:
        session.execute(text("SELECT 99999999999 :: integer"))
    with pytest.raises(RecordRefused) as missing, desk.sessions.begin() as session:
        session.execute(text("SELECT * FROM nowhere"))

    assert "SQLSTATE 22003, numeric value out of range" in str(refused.value)
    assert 'relation "nowhere" does not exist' in str(missing.value)


def test_a_server_that_ends_the_connection_is_away(desk: Desk) -> None:
    with pytest.raises(RecordUnavailable), desk.sessions.begin() as session:
        session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


def test_a_pool_that_is_used_up_is_away(database_url: str) -> None:
    engine = create_engine(record_url(database_url), pool_size=1, max_overflow=0, pool_timeout=0.1)
    sessions = Sessions(engine)

    with engine.connect(), pytest.raises(RecordUnavailable), sessions.begin() as session:
        session.execute(text("SELECT 1"))
    engine.dispose()
