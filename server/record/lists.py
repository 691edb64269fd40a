"""Lists of studies and requests, page by page: each page is read by an index from the row where the
last one ended.
"""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy import Select, select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import InstrumentedAttribute

from server.record.reading import study_summary
from server.record.tables import RequestRow, StudyRow
from server.record.views import Page, RequestSummary, StudySummary
from server.values import RequestState

Query = TypeVar("Query", bound=Select[Any])


def requests(
    session: Session, page: Page, state: RequestState | None, study_instance_uid: str | None
) -> tuple[RequestSummary, ...]:
    """A page of requests: of one state, of one study, or of all."""
    query = select(RequestRow)
    if state is not None:
        query = query.where(RequestRow.state == state)
    if study_instance_uid is not None:
        query = query.where(RequestRow.study_instance_uid == study_instance_uid)
    rows = session.scalars(_paged(query, RequestRow.number, page))
    return tuple(_request_summary(row) for row in rows)


def studies(session: Session, page: Page) -> tuple[StudySummary, ...]:
    """A page of studies."""
    rows = session.scalars(_paged(select(StudyRow), StudyRow.number, page))
    return tuple(study_summary(row) for row in rows)


def _paged(query: Query, number: InstrumentedAttribute[int], page: Page) -> Query:
    if page.after is not None:
        query = query.where(number < page.after if page.newest else number > page.after)
    return query.order_by(number.desc() if page.newest else number).limit(page.limit)


def _request_summary(row: RequestRow) -> RequestSummary:
    return RequestSummary(
        number=row.number,
        id=row.id,
        state=RequestState(row.state),
        study_instance_uid=row.study_instance_uid,
        study_version=row.study_version,
        series_instance_uid=row.selected_series_instance_uid or row.series_instance_uid,
        route=row.route,
        actor=row.actor,
        priority=row.priority,
        policy=row.policy,
        segmenter=row.segmenter,
        run=row.run,
        error=row.error,
        failed_stage=row.failed_stage,
        supersedes=row.supersedes,
        created_at=row.created_at,
        updated_at=row.updated_at,
        ended_at=row.ended_at,
    )
