"""Connections to PostgreSQL: one dialect, and errors of our own for all that it may answer.

What SQLAlchemy and the drivers raise quotes the statement and its values; nothing of that leaves
this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg2.errors import lookup
from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from server.errors import RecordError, RecordRefused, RecordUnavailable
from server.record.storable import json_text

CONNECT_TIMEOUT_S = 5

# PostgreSQL, appendix A: connection exceptions; shut down, crashed, starting, dropped; too many
# connections
_AWAY = re.compile(r"08...|57P..|53300")
# no room on the database's disk, and a stand-by that only reads: no study's fault, and every study
# would meet it
_WRITES_NOTHING = re.compile(r"53100|25006")
# serialization failures, deadlocks, a lock that was not to be had
_PASSING = re.compile(r"40...|55P03")

# a table, column or function that is not there, or not allowed: the message names it and nothing
# else
_NAMES_ONLY = re.compile(r"42703|42P01|42883|42501")


def record_url(url: str) -> URL:
    """The URL for our own tables, always with psycopg 2.

    A bare scheme means psycopg 3 in SQLAlchemy 2.1.
    """
    return make_url(url).set(drivername="postgresql+psycopg2")


def dbos_url(url: str) -> str:
    """The same database as DBOS wants it: psycopg 3, as text."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def open_engine(url: str, *, pool_size: int = 5) -> Engine:
    """A pool on the record; nothing is connected yet."""
    return create_engine(
        record_url(url),
        pool_size=pool_size,
        pool_pre_ping=True,
        hide_parameters=True,
        json_serializer=json_text,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "segnode"},
    )


@contextmanager
def answering() -> Iterator[None]:
    """Turn what PostgreSQL and its driver answer into RecordUnavailable or RecordRefused.

    Every other error passes.
    """
    try:
        yield
    except (StatementError, PoolTimeout) as error:
        # without its cause: a traceback prints that, and with it the statement
        raise record_error(error) from None


def record_error(error: Exception) -> RecordError:
    """Our own error for what SQLAlchemy or a driver raised: unavailable, or refused."""
    if isinstance(error, PoolTimeout):
        return RecordUnavailable("PostgreSQL is busy: no connection of the pool came free in time")
    sqlstate = _sqlstate(error)
    if _WRITES_NOTHING.fullmatch(sqlstate):
        return RecordUnavailable(
            f"PostgreSQL can write nothing now ({_condition(sqlstate)}); look at its disk and its "
            "role"
        )
    if _AWAY.fullmatch(sqlstate) or (not sqlstate and _lost(error)):
        return RecordUnavailable(_away(error))
    if not sqlstate:
        return RecordRefused("the record refused what was to be written: it is no value it knows")
    return RecordRefused(
        f"PostgreSQL refused what was to be recorded ({_condition(sqlstate)}{_place(error)})",
        sqlstate=sqlstate,
        passing=_PASSING.fullmatch(sqlstate) is not None,
    )


def _sqlstate(error: Exception) -> str:
    cause = getattr(error, "orig", None)
    # psycopg 2 and psycopg 3
    return str(getattr(cause, "pgcode", None) or getattr(cause, "sqlstate", None) or "")


def _lost(error: Exception) -> bool:
    """Whether an error without a code is the connection's: then psycopg 2 sets no code."""
    if not isinstance(error, DBAPIError):
        return False
    kind = type(error).__name__
    return error.connection_invalidated or kind in ("OperationalError", "InterfaceError")


def _away(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    first = (str(cause).strip().splitlines() or ["no answer"])[0]
    return f"PostgreSQL does not answer ({first}); check database.url and that the server runs"


def _condition(sqlstate: str) -> str:
    """The code with its name in words: "SQLSTATE 22003, numeric value out of range"."""
    try:
        name = lookup(sqlstate).__name__
    except KeyError:
        return f"SQLSTATE {sqlstate}"
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name).strip().lower()
    return f"SQLSTATE {sqlstate}, {words}"


def _place(error: Exception) -> str:
    # names of our own tables and constraints; other messages and every detail would quote values
    diag: Any = getattr(getattr(error, "orig", None), "diag", None)
    if _NAMES_ONLY.fullmatch(_sqlstate(error)):
        return f": {getattr(diag, 'message_primary', None)}"
    names = [getattr(diag, field, None) for field in ("table_name", "constraint_name")]
    place = " ".join(str(name) for name in names if name)
    return f", {place}" if place else ""


class Sessions:
    """Units of work: leaving the block commits, an error rolls everything back."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._make = sessionmaker(engine, expire_on_commit=False)

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """One transaction.

        RecordUnavailable when PostgreSQL is away, RecordRefused when it does not take it.
        """
        with answering(), self._make.begin() as session:
            yield session
