"""`segnode replay` of a request: its turns in the database and its work folder, both only read."""

from __future__ import annotations

from agent.trace import turn_from_record
from server.compose.database import database
from server.errors import UnknownRequest
from server.record import reading
from server.record.database.engine import Sessions, open_engine
from server.record.views import TurnView
from server.settings import Settings
from server.study.replay import RequestReplay

__all__ = ["request_replay"]


def request_replay(settings: Settings, request_id: str) -> RequestReplay:
    """The replay of a request of this node; UnknownRequest, ReplayError, RecordUnavailable."""
    turns = _turns(settings, request_id)
    rows = {
        (row.target_index, row.slice_index, row.turn_index): turn_from_record(row.turn)
        for row in turns
    }
    return RequestReplay(settings.storage.dir / "work" / request_id, rows)


def _turns(settings: Settings, request_id: str) -> tuple[TurnView, ...]:
    with database(settings) as (url, _):
        engine = open_engine(url)
        try:
            with Sessions(engine).begin() as session:
                return reading.turns(session, request_id)
        except UnknownRequest as error:
            raise UnknownRequest(f"{error}, and no folder of that name") from error
        finally:
            engine.dispose()
