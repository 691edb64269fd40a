"""The database of the record: where it is, the node's own while a process runs, its tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from server.nodes.postgres import EmbeddedPostgres
from server.record.database.engine import open_engine
from server.record.database.migrate import upgrade
from server.record.database.roles import application_url
from server.settings import Settings


@contextmanager
def database(settings: Settings) -> Iterator[tuple[str, Callable[[], None]]]:
    """The record's URL while the block runs, and what to call now and then to keep an embedded
    server up.
    """
    if not settings.database.embedded:
        yield settings.database.url.get_secret_value(), lambda: None
        return
    embedded = EmbeddedPostgres(settings.storage.dir)
    url = embedded.start()
    try:
        yield application_url(url), embedded.keep_up
    finally:
        embedded.stop()


def migrate(url: str) -> None:
    """Bring the tables at `url` up to date; RecordUnavailable."""
    engine = open_engine(url)
    try:
        upgrade(engine)
    finally:
        engine.dispose()
