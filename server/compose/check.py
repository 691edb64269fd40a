"""`segnode check`: what the command looks at."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.errors import DeliveryError
from dicom_node.ports import Destination
from server.compose import load
from server.compose.choice import choice, resources
from server.compose.soundness.configuration import findings, second_weights
from server.compose.soundness.reach import answers as answers_of
from server.nodes.postgres import EmbeddedPostgres
from server.record.database.engine import answering, open_engine
from server.settings import Settings

__all__ = ["answers", "choice", "database_version", "findings", "resources", "second_weights"]


def answers(settings: Settings) -> Iterator[tuple[Destination, str | DeliveryError]]:
    """What each configured destination answers; without any, what speaks DICOM is not loaded."""
    if settings.destinations:
        yield from answers_of(load("destinations").destinations(settings))


def database_version(settings: Settings) -> str:
    """What database answers at database.url, in words; RecordUnavailable, ConfigurationError.
    Starts none.
    """
    url: str | None = settings.database.url.get_secret_value()
    if settings.database.embedded:
        url = EmbeddedPostgres(settings.storage.dir).running_url()
    if url is None:
        return "embedded PostgreSQL, not running now: it starts with the node"
    with answering():
        engine = open_engine(url)
        try:
            with engine.connect() as connection:
                version = connection.dialect.server_version_info or ()
        finally:
            engine.dispose()
    number = ".".join(str(part) for part in version)
    return f"PostgreSQL {number}, {'embedded' if settings.database.embedded else 'as configured'}"
