"""Numbers about the record, for health and metrics: one query each, no rows loaded."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server.record.engine import Sessions
from server.record.parts import PartTable
from server.record.tables import DeliveryRow, RequestRow, StudyRow
from server.record.views import Counts, PartView
from server.values import DeliveryState, RequestState, StudyState

State = TypeVar("State", bound=StrEnum)


class RecordCounting:
    """See server.http.ports.Counting."""

    def __init__(self, sessions: Sessions, parts: PartTable) -> None:
        self._sessions, self._parts = sessions, parts

    def parts(self) -> tuple[PartView, ...]:
        """How the parts of the node are; RecordUnavailable."""
        return self._parts.parts()

    def counts(self) -> Counts:
        """Requests, studies and deliveries by state; RecordUnavailable."""
        with self._sessions.begin() as session:
            return Counts(
                _by_state(session, RequestRow.state, RequestState),
                _by_state(session, StudyRow.state, StudyState),
                _by_state(session, DeliveryRow.state, DeliveryState),
            )


def _by_state(session: Session, column: Any, states: type[State]) -> dict[State, int]:
    rows = session.execute(select(column, func.count()).group_by(column))
    return {states(state): count for state, count in rows}
