"""Lists of studies and requests: a page is read by an index from where the last one ended."""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy import Select, select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import InstrumentedAttribute

from server.record.reading import as_view, series_of, study_summaries
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
    rows = session.scalars(paged(query, RequestRow.number, page))
    return tuple(as_view(RequestSummary, row, series_instance_uid=series_of(row)) for row in rows)


def studies(session: Session, page: Page, unrouted: bool | None = None) -> tuple[StudySummary, ...]:
    """A page of studies: of those that no route matched, of the others, or of all."""
    query = select(StudyRow)
    if unrouted is not None:
        reason = StudyRow.unrouted_reason
        query = query.where(reason.is_not(None) if unrouted else reason.is_(None))
    rows = session.scalars(paged(query, StudyRow.number, page))
    return study_summaries(session, rows.all())


def paged(query: Query, number: InstrumentedAttribute[int], page: Page) -> Query:
    """The part of `query` that a page is, in the order of `number`."""
    if page.after is not None:
        query = query.where(number < page.after if page.newest else number > page.after)
    return query.order_by(number.desc() if page.newest else number).limit(page.limit)
