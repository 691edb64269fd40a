"""The record, and the received studies that it speaks of.

`<storage.dir>` holds inbox/ (as received), work/ (one folder a request), encodings/ (by series),
cache/ (exported networks, where the user has no cache folder), postgres/ and token, each private by
its own mode: storage.dir itself must let the embedded PostgreSQL's own user through where the node
runs as root.
"""

from __future__ import annotations

from dicom_node.receive.inbox import Inbox
from server.compose.database import database
from server.compose.rules import rules
from server.nodes.header_process import HeaderProcess
from server.record import reading
from server.record.database.engine import Sessions, open_engine
from server.record.database.jobs import DbosJobs
from server.record.record import Record
from server.record.stored_studies import StoredStudyReader
from server.record.views import TurnView
from server.settings import Settings


def record(settings: Settings, url: str) -> Record:
    """The record in the database at `url`."""
    sessions = Sessions(open_engine(url))
    return Record(sessions, DbosJobs(url), rules(settings), stored_studies(settings))


def stored_studies(settings: Settings) -> StoredStudyReader:
    """The received studies; their headers are read in a process that may die of them."""
    return StoredStudyReader(inbox_of(settings), HeaderProcess().read_header)


def inbox_of(settings: Settings) -> Inbox:
    """Where instances are kept as they were received."""
    return Inbox(settings.storage.dir / "inbox", settings.storage.minimum_free_bytes)


def request_turns(settings: Settings, request_id: str) -> tuple[TurnView, ...]:
    """The turns of a request as the database holds them; UnknownRequest, RecordUnavailable."""
    with database(settings) as (url, _):
        engine = open_engine(url)
        try:
            with Sessions(engine).begin() as session:
                return reading.turns(session, request_id)
        finally:
            engine.dispose()
