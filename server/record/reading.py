"""Rows as frozen views."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

from agent.values import TargetStatus
from dicom_node.values import Code
from server.errors import UnknownRequest, UnknownStudy
from server.record.tables import (
    ConflictRow,
    InstanceRow,
    RequestRow,
    StudyRow,
    StudyVersionRow,
    TargetRow,
    TurnRow,
)
from server.record.views import (
    ConflictView,
    DeliveryView,
    FaultyInstanceView,
    RequestView,
    ResultView,
    SeriesView,
    StudySummary,
    StudyVersionView,
    StudyView,
    TargetView,
    TurnView,
)
from server.values import DeliveryState, RequestState, StudyState

MOST_FAULTY = 100
"""Faulty instances that a study shows; a series of 2,000 with the same fault says it often
enough.
"""

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


def request_view(row: RequestRow) -> RequestView:
    """A request's row, with what hangs on it, as a value."""
    return RequestView(
        id=row.id,
        state=RequestState(row.state),
        study_instance_uid=row.study_instance_uid,
        study_version=row.study_version,
        series_instance_uid=row.selected_series_instance_uid or row.series_instance_uid,
        route=row.route,
        actor=row.actor,
        priority=row.priority,
        run=row.run,
        targets=tuple(target_view(target) for target in row.targets),
        results=tuple(
            ResultView(r.kind, r.sop_instance_uid, r.series_instance_uid, r.sop_class_uid, r.path)
            for r in row.results
        ),
        deliveries=tuple(
            DeliveryView(
                d.destination,
                DeliveryState(d.state),
                d.attempts,
                d.last_error,
                d.next_try_at,
                d.delivered_at,
            )
            for d in row.deliveries
        ),
        error=row.error,
        failed_stage=row.failed_stage,
        warnings=_warnings(row),
        stage_seconds=dict(row.stage_seconds),
        encoder_passes=row.encoder_passes,
        supersedes=row.supersedes,
        created_at=row.created_at,
        updated_at=row.updated_at,
        ended_at=row.ended_at,
        policy=row.policy,
        segmenter=row.segmenter,
    )


def _warnings(row: RequestRow) -> tuple[str, ...]:
    of_targets = [f"{t.text}: {warning}" for t in row.targets for warning in t.warnings]
    return (*row.warnings, *of_targets)


def target_view(row: TargetRow) -> TargetView:
    """A target's row as a value."""
    return TargetView(
        index=row.index,
        text=row.text,
        structure=row.structure,
        code=Code(**row.code),
        laterality=Code(**row.laterality) if row.laterality else None,
        status=TargetStatus(row.status) if row.status else None,
        reason=row.reason,
        volume_ml=row.volume_ml,
        turns=row.turns,
        confidence=row.confidence,
        warnings=tuple(row.warnings),
    )


def turns(session: Session, request_id: str) -> tuple[TurnView, ...]:
    """All turns of a request by target, in the order they happened; UnknownRequest."""
    request(session, request_id)
    query = (
        select(TurnRow)
        .where(TurnRow.request_id == request_id)
        .order_by(TurnRow.target_index, TurnRow.number)
    )
    return tuple(
        TurnView(row.target_index, row.slice_index, row.turn_index, row.turn, row.at)
        for row in session.scalars(query)
    )


def study_summary(row: StudyRow) -> StudySummary:
    """A study's row as a value."""
    return StudySummary(
        study_instance_uid=row.study_instance_uid,
        state=StudyState(row.state),
        version=row.version,
        series=row.series,
        instances=row.instances,
        created_at=row.created_at,
        updated_at=row.updated_at,
        number=row.number,
        requests=row.requests,
        fault=row.fault,
    )


def study(session: Session, uid: str) -> StudyView:
    """One study whole; UnknownStudy."""
    row = session.get(StudyRow, uid)
    if row is None:
        raise UnknownStudy(f"this node does not hold the study {uid!r}: send it here first")
    return StudyView(
        study_summary(row),
        _series(session, uid),
        _versions(session, uid),
        _conflicts(session, uid),
        _faulty(session, uid),
    )


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
    return tuple(
        StudyVersionView(row.version, row.completed_at, row.evidence, row.instances)
        for row in session.scalars(query)
    )


def _conflicts(session: Session, uid: str) -> tuple[ConflictView, ...]:
    query = (
        select(ConflictRow)
        .where(ConflictRow.study_instance_uid == uid)
        .order_by(ConflictRow.noted_at, ConflictRow.path)
    )
    return tuple(
        ConflictView(row.sop_instance_uid, row.series_instance_uid, row.sha256, row.noted_at)
        for row in session.scalars(query)
    )
