"""Connections to PostgreSQL: one dialect, and one error when it does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from server.errors import RecordUnavailable

CONNECT_TIMEOUT_S = 5


def record_url(url: str) -> URL:
    """The URL for our own tables: always psycopg 2, whatever the site wrote (bare means psycopg 3 in SQLAlchemy 2.1)."""
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
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "segnode"},
    )


@contextmanager
def answering() -> Iterator[None]:
    """Turn "the database is away" into RecordUnavailable; every other error passes."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise RecordUnavailable(_plain(error)) from error
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        raise RecordUnavailable(_plain(error)) from error


def _plain(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    first = (str(cause).strip().splitlines() or ["no answer"])[0]
    return f"PostgreSQL does not answer ({first}); check database.url and that the server runs"


class Sessions:
    """Units of work: leaving the block commits, an error rolls everything back."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._make = sessionmaker(engine, expire_on_commit=False)

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """One transaction; RecordUnavailable when PostgreSQL is away."""
        with answering(), self._make.begin() as session:
            yield session
