"""Numbers about the record, for health and metrics: sums of counters that triggers keep."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from server.record.database.engine import Sessions
from server.record.processes.parts import PartTable
from server.record.tables import DeliveryRow, RequestRow, StudyRow, TallyRow
from server.record.views import Counts, PartView
from server.values import DeliveryState, RequestState, StudyState

State = TypeVar("State", bound=StrEnum)

MOST_TALLIES = 1000
"""Rows above which they are replaced by their sums; reading this many takes about a millisecond."""


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
            rows = session.execute(
                select(
                    TallyRow.kind, TallyRow.state, func.sum(TallyRow.change), func.count()
                ).group_by(TallyRow.kind, TallyRow.state)
            ).all()
            if sum(entries for *_, entries in rows) > MOST_TALLIES:
                sum_up(session)
        sums = {(kind, state): int(total) for kind, state, total, _ in rows}
        return Counts(
            _by_state(sums, RequestRow.__tablename__, RequestState),
            _by_state(sums, StudyRow.__tablename__, StudyState),
            _by_state(sums, DeliveryRow.__tablename__, DeliveryState),
        )


def sum_up(session: Session) -> None:
    """Replace tallies by their sums: those that nobody else is summing up just now."""
    free = select(TallyRow.id).with_for_update(skip_locked=True).subquery()
    gone = (
        delete(TallyRow)
        .where(TallyRow.id.in_(select(free.c.id)))
        .returning(TallyRow.kind, TallyRow.state, TallyRow.change)
        .cte("gone")
    )
    sums = select(gone.c.kind, gone.c.state, func.sum(gone.c.change)).group_by(
        gone.c.kind, gone.c.state
    )
    session.execute(insert(TallyRow).from_select(["kind", "state", "change"], sums))


def _by_state(sums: dict[tuple[str, str], int], kind: str, states: type[State]) -> dict[State, int]:
    return {state: sums[kind, state] for state in states if sums.get((kind, state))}
