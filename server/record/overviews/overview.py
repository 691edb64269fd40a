"""Requests with their targets and deliveries, what their studies are, their turns and their trail.

Each call takes a number of queries that depends neither on how many rows it gives nor on how many
there are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

from server.record import audit, reading, studies
from server.record.database.engine import Sessions
from server.record.lists import paged
from server.record.tables import DeliveryRow, RequestRow, TurnRow
from server.record.views import AuditView, Page, RequestView, StudyFacts, TurnView
from server.values import DeliveryState, RequestState


class RecordOverview:
    """See server.pages.ports.Overview. Every method may raise RecordError."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def requests(
        self,
        page: Page,
        *,
        states: Collection[RequestState] = (),
        study_instance_uid: str | None = None,
        undelivered: bool = False,
    ) -> tuple[RequestView, ...]:
        """A page of requests whole, of these states (all where there are none) and this study.

        With `undelivered` only those with a delivery that was given up.
        """
        query = select(RequestRow).options(
            selectinload(RequestRow.targets),
            selectinload(RequestRow.results),
            selectinload(RequestRow.deliveries),
        )
        if states:
            query = query.where(RequestRow.state.in_(sorted(states)))
        if study_instance_uid is not None:
            query = query.where(RequestRow.study_instance_uid == study_instance_uid)
        if undelivered:
            query = query.where(RequestRow.deliveries.any(DeliveryRow.state == DeliveryState.DEAD))
        with self._sessions.begin() as session:
            rows = session.scalars(paged(query, RequestRow.number, page))
            return tuple(map(reading.request_view, rows))

    def facts(self, study_instance_uids: Collection[str]) -> Mapping[str, StudyFacts]:
        """What studies are, by their UIDs; one that holds no image has none."""
        with self._sessions.begin() as session:
            by_study = reading.first_attributes(session, study_instance_uids)
        return {uid: _facts(attributes) for uid, attributes in by_study.items()}

    def turns(self, request_id: str, first: int, most: int) -> tuple[TurnView, ...]:
        """At most `most` turns of a request from the one numbered `first` on; UnknownRequest."""
        with self._sessions.begin() as session:
            reading.request(session, request_id)
            rows = session.scalars(
                reading.turns_in_order(request_id).offset(first).limit(most)
            ).all()
            return tuple(
                reading.as_view(TurnView, row, n=n) for n, row in enumerate(rows, start=first)
            )

    def count_turns(self, request_id: str) -> int:
        """How many turns a request has."""
        query = select(func.count()).select_from(TurnRow).where(TurnRow.request_id == request_id)
        with self._sessions.begin() as session:
            return session.scalar(query) or 0

    def trail(self, request_id: str, most: int) -> tuple[AuditView, ...]:
        """The last `most` lines of a request's audit trail, oldest first."""
        with self._sessions.begin() as session:
            return audit.of_request(session, request_id, most)

    def attributes(self, study_instance_uid: str) -> Sequence[Mapping[str, str]]:
        """What routes match on, each distinct set once, without our own results; UnknownStudy."""
        with self._sessions.begin() as session:
            return _attributes(session, study_instance_uid)


def _attributes(session: Session, study_instance_uid: str) -> list[dict[str, str]]:
    reading.study(session, study_instance_uid)
    return studies.attributes(session, study_instance_uid)


def _facts(attributes: Mapping[str, str]) -> StudyFacts:
    return StudyFacts(
        modality=attributes.get("Modality", ""),
        description=attributes.get("StudyDescription", ""),
        date=attributes.get("StudyDate", ""),
    )
