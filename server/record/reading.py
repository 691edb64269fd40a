"""Rows as frozen views."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import Select, func, select, true
from sqlalchemy.orm import Session, selectinload

from server.errors import UnknownRequest, UnknownStudy, UnknownTurn
from server.record import requests
from server.record.tables import (
    Base,
    ConflictRow,
    InstanceRow,
    RequestRow,
    StudyRow,
    StudyVersionRow,
    TurnRow,
)
from server.record.views import (
    ConflictView,
    DeliveryView,
    FaultyInstanceView,
    RequestOfStudy,
    RequestView,
    ResultView,
    SeriesView,
    StudySummary,
    StudyVersionView,
    StudyView,
    TargetView,
    TurnView,
)
from server.values import RequestState

View = TypeVar("View")

ON_HOLD = (
    "the results are in doubt and held back: `segnode release ID`, or POST /requests/ID/release, "
    "sends them; cancel keeps them here"
)
"""What a request says while a person is to look at it."""

_MOST_REQUESTS = 10  # of a study in a list
MOST_FAULTY = 100
"""Faulty instances that a study shows; a series of 2,000 may have the same fault in each."""

_WHOLE = (
    selectinload(RequestRow.targets),
    selectinload(RequestRow.results),
    selectinload(RequestRow.deliveries),
)


def request(session: Session, request_id: str) -> RequestView:
    """One request; UnknownRequest."""
    row = session.get(RequestRow, request_id, options=_WHOLE)
    if row is None:
        raise UnknownRequest(f"there is no request {request_id!r}")
    return request_view(row)


def as_view(kind: type[View], row: Base, **others: object) -> View:
    """A row as the frozen value `kind`: every field by its name, but for those in `others`.

    Text becomes the enum that a field wants, a list a tuple, JSON the value it holds.
    """
    view_class: Any = kind
    names = [field.name for field in fields(view_class) if field.name not in others]
    values = {name: getattr(row, name) for name in names} | others
    view: View = _adapter(view_class).validate_python(values)
    return view


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def request_view(row: RequestRow) -> RequestView:
    """A request's row, with what hangs on it, as a value."""
    return as_view(
        RequestView,
        row,
        series_instance_uid=series_of(row),
        targets=[as_view(TargetView, target) for target in row.targets],
        results=[as_view(ResultView, result) for result in row.results],
        deliveries=[as_view(DeliveryView, delivery) for delivery in row.deliveries],
        warnings=_warnings(row),
    )


def series_of(row: RequestRow) -> str | None:
    """The series that a request works on, or asked for; None while it is not known."""
    return row.selected_series_instance_uid or row.series_instance_uid


def _warnings(row: RequestRow) -> tuple[str, ...]:
    of_targets = [f"{t.text}: {warning}" for t in row.targets for warning in t.warnings]
    on_hold = (ON_HOLD,) if requests.is_on_hold(row) else ()
    return (*row.warnings, *of_targets, *on_hold)


def turns(session: Session, request_id: str) -> tuple[TurnView, ...]:
    """All turns of a request by target, in the order they happened; UnknownRequest."""
    request(session, request_id)
    rows = session.scalars(turns_in_order(request_id))
    return tuple(as_view(TurnView, row, n=n) for n, row in enumerate(rows))


def turn(session: Session, request_id: str, n: int) -> TurnView:
    """The turn with number `n`, from 0, of `turns`; UnknownRequest, UnknownTurn."""
    request(session, request_id)
    row = session.scalars(turns_in_order(request_id).offset(n).limit(1)).first()
    if row is None:
        raise UnknownTurn(f"request {request_id!r} has no turn {n}; they are counted from 0")
    return as_view(TurnView, row, n=n)


def turns_in_order(request_id: str) -> Select[TurnRow]:
    """The turns of a request by target, in the order they happened."""
    return (
        select(TurnRow)
        .where(TurnRow.request_id == request_id)
        .order_by(TurnRow.target_index, TurnRow.number)
    )


def study(session: Session, uid: str) -> StudyView:
    """One study whole; UnknownStudy."""
    row = session.get(StudyRow, uid)
    if row is None:
        raise UnknownStudy(f"this node does not hold the study {uid!r}: send it here first")
    (summary,) = study_summaries(session, [row])
    return StudyView(
        summary,
        _series(session, uid),
        _versions(session, uid),
        _conflicts(session, uid),
        _faulty(session, uid),
    )


def study_summaries(session: Session, rows: Sequence[StudyRow]) -> tuple[StudySummary, ...]:
    """Studies with what one of their images says of them and their latest requests, by two queries
    however many they are.
    """
    uids = [row.study_instance_uid for row in rows]
    attributes = first_attributes(session, uids)
    requests_by_study = _latest_requests(session, uids)
    return tuple(
        as_view(
            StudySummary,
            row,
            study_date=attributes.get(row.study_instance_uid, {}).get("StudyDate", ""),
            accession_number=attributes.get(row.study_instance_uid, {}).get("AccessionNumber", ""),
            latest_requests=requests_by_study.get(row.study_instance_uid, ()),
        )
        for row in rows
    )


def first_attributes(
    session: Session, study_instance_uids: Collection[str]
) -> Mapping[str, Mapping[str, str]]:
    """What routes match on of one image of each study that holds one, none of our own results."""
    first = (
        select(InstanceRow.attributes)
        .where(
            InstanceRow.study_instance_uid == StudyRow.study_instance_uid,
            InstanceRow.ours.is_(False),
        )
        .order_by(InstanceRow.series_instance_uid, InstanceRow.sop_instance_uid)
        .limit(1)
        .correlate(StudyRow)
        .scalar_subquery()
    )
    query = select(StudyRow.study_instance_uid, first).where(
        StudyRow.study_instance_uid.in_(sorted(study_instance_uids))
    )
    rows = session.execute(query)
    return {uid: attributes for uid, attributes in rows if attributes is not None}


def _latest_requests(
    session: Session, study_instance_uids: Collection[str]
) -> Mapping[str, tuple[RequestOfStudy, ...]]:
    latest = (
        select(RequestRow)
        .where(RequestRow.study_instance_uid == StudyRow.study_instance_uid)
        .order_by(RequestRow.number.desc())
        .limit(_MOST_REQUESTS)
        .lateral()
    )
    query = (
        select(StudyRow.study_instance_uid, latest.c.id, latest.c.state, latest.c.created_at)
        .join(latest, true())
        .where(StudyRow.study_instance_uid.in_(sorted(study_instance_uids)))
        .order_by(StudyRow.study_instance_uid, latest.c.number.desc())
    )
    by_study: dict[str, list[RequestOfStudy]] = {}
    for uid, request_id, state, created_at in session.execute(query):
        row = RequestOfStudy(request_id, RequestState(state), created_at)
        by_study.setdefault(uid, []).append(row)
    return {uid: tuple(of_study) for uid, of_study in by_study.items()}


def _faulty(session: Session, uid: str) -> tuple[FaultyInstanceView, ...]:
    query = (
        select(InstanceRow.sop_instance_uid, InstanceRow.series_instance_uid, InstanceRow.faults)
        .where(InstanceRow.study_instance_uid == uid, InstanceRow.faults != [])
        .order_by(InstanceRow.series_instance_uid, InstanceRow.sop_instance_uid)
        .limit(MOST_FAULTY)
    )
    return tuple(
        FaultyInstanceView(instance, series, tuple(faults))
        for instance, series, faults in session.execute(query)
    )


def _series(session: Session, uid: str) -> tuple[SeriesView, ...]:
    query = (
        select(
            InstanceRow.series_instance_uid,
            func.min(InstanceRow.modality),
            func.min(InstanceRow.series_description),
            func.count(),
            func.bool_and(InstanceRow.ours),
        )
        .where(InstanceRow.study_instance_uid == uid)
        .group_by(InstanceRow.series_instance_uid)
        .order_by(func.min(InstanceRow.series_number), InstanceRow.series_instance_uid)
    )
    return tuple(SeriesView(*row) for row in session.execute(query))


def _versions(session: Session, uid: str) -> tuple[StudyVersionView, ...]:
    query = (
        select(StudyVersionRow)
        .where(StudyVersionRow.study_instance_uid == uid)
        .order_by(StudyVersionRow.version)
    )
    return tuple(as_view(StudyVersionView, row) for row in session.scalars(query))


def _conflicts(session: Session, uid: str) -> tuple[ConflictView, ...]:
    query = (
        select(ConflictRow)
        .where(ConflictRow.study_instance_uid == uid)
        .order_by(ConflictRow.noted_at, ConflictRow.path)
    )
    return tuple(as_view(ConflictView, row) for row in session.scalars(query))
