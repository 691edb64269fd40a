"""Studies and their index of headers: arriving, complete, complete again with late instances."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dicom_node.values import InstanceHeader, StoredInstance
from server.errors import UnknownStudy
from server.record import audit
from server.record.states import STUDY_TRANSITIONS
from server.record.tables import (
    ConflictRow,
    InstanceRow,
    ResultRow,
    StudyRow,
    StudyVersionRow,
)
from server.values import StudyState


def locked(session: Session, study_instance_uid: str) -> StudyRow:
    """The study's row, held until the transaction ends; UnknownStudy if the node does not hold it."""
    # a NUL byte cannot even be asked for
    if "\0" not in study_instance_uid:
        row = session.get(StudyRow, study_instance_uid, with_for_update=True)
        if row is not None:
            return row
    raise UnknownStudy(
        f"this node does not hold the study {study_instance_uid!r}: send it here first"
    )


def known_instances(session: Session, study_instance_uid: str) -> set[tuple[str, str]]:
    """(series, SOP instance) UIDs that are indexed."""
    if "\0" in study_instance_uid:
        return set()
    query = select(InstanceRow.series_instance_uid, InstanceRow.sop_instance_uid).where(
        InstanceRow.study_instance_uid == study_instance_uid
    )
    return {(series, instance) for series, instance in session.execute(query)}


def complete_studies(session: Session) -> dict[str, int]:
    """Every complete study with how many of its instances are indexed."""
    query = (
        select(StudyRow.study_instance_uid, func.count(InstanceRow.sop_instance_uid))
        .outerjoin(InstanceRow)
        .where(StudyRow.state == StudyState.COMPLETE)
        .group_by(StudyRow.study_instance_uid)
    )
    return dict(session.execute(query).all())


def add(
    session: Session,
    study_instance_uid: str,
    headers: Sequence[InstanceHeader],
    conflicts: Iterable[StoredInstance],
) -> None:
    """Index headers that are new; a complete study that grew is receiving again. Repeating it adds nothing."""
    now = audit.utc_now()
    created = session.execute(
        insert(StudyRow)
        .values(
            study_instance_uid=study_instance_uid,
            state=StudyState.RECEIVING,
            version=0,
            created_at=now,
            updated_at=now,
        )
        .on_conflict_do_nothing()
        .returning(StudyRow.study_instance_uid)
    ).first()
    study = locked(session, study_instance_uid)
    if created:
        audit.note(session, "study.receiving", study=study_instance_uid, after=study.state)
    grew = _insert_instances(session, study_instance_uid, headers)
    if grew:
        study.updated_at = now
        if study.state == StudyState.COMPLETE:
            move(session, study, StudyState.RECEIVING, instances=grew)
    for conflict in conflicts:
        _note_conflict(session, study_instance_uid, conflict)


def _insert_instances(
    session: Session, study_instance_uid: str, headers: Sequence[InstanceHeader]
) -> int:
    """How many were new and not our own."""
    if not headers:
        return 0
    uids = [header.sop_instance_uid for header in headers]
    sent = set(
        session.scalars(
            select(ResultRow.sop_instance_uid).where(ResultRow.sop_instance_uid.in_(uids))
        )
    )
    values = [_instance_values(study_instance_uid, header, sent) for header in headers]
    query = insert(InstanceRow).on_conflict_do_nothing().returning(InstanceRow.ours)
    return sum(not ours for ours in session.scalars(query, values))


def _instance_values(
    study_instance_uid: str, header: InstanceHeader, sent: set[str]
) -> dict[str, Any]:
    return {
        "study_instance_uid": study_instance_uid,
        "series_instance_uid": header.series_instance_uid,
        "sop_instance_uid": header.sop_instance_uid,
        "sop_class_uid": header.sop_class_uid,
        "transfer_syntax_uid": header.transfer_syntax_uid,
        "path": str(header.path),
        "modality": _clean(header.modality),
        "series_number": header.series_number,
        "series_description": _clean(header.series_description),
        "instance_number": header.instance_number,
        "number_of_frames": header.number_of_frames,
        "manufacturer": _clean(header.manufacturer),
        "attributes": {key: _clean(text) for key, text in header.attributes.items()},
        "faults": [_clean(fault) for fault in header.faults],
        "ours": header.sop_instance_uid in sent,
        "version": None,
        "indexed_at": audit.utc_now(),
    }


def _clean(text: str) -> str:
    # PostgreSQL has no NUL in text, and cannot encode half a surrogate pair
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def _note_conflict(session: Session, study_instance_uid: str, conflict: StoredInstance) -> None:
    added = session.execute(
        insert(ConflictRow)
        .values(
            path=str(conflict.path),
            study_instance_uid=study_instance_uid,
            series_instance_uid=conflict.series_instance_uid,
            sop_instance_uid=conflict.sop_instance_uid,
            sha256=conflict.sha256,
            noted_at=audit.utc_now(),
        )
        .on_conflict_do_nothing()
        .returning(ConflictRow.path)
    ).first()
    if added:
        audit.note(
            session,
            "instance.conflict",
            study=study_instance_uid,
            sop_instance_uid=conflict.sop_instance_uid,
        )


def complete(session: Session, study: StudyRow, *, evidence: str, actor: str) -> int | None:
    """Make what is new a version and return its number, None if nothing but our own results is new."""
    fresh = (
        InstanceRow.study_instance_uid == study.study_instance_uid,
        InstanceRow.version.is_(None),
        InstanceRow.ours.is_(False),
    )
    added = session.scalar(select(func.count()).select_from(InstanceRow).where(*fresh)) or 0
    if added:
        study.version += 1
        session.execute(update(InstanceRow).where(*fresh).values(version=study.version))
        session.add(
            StudyVersionRow(
                study_instance_uid=study.study_instance_uid,
                version=study.version,
                completed_at=audit.utc_now(),
                evidence=evidence,
                instances=_countable(session, study.study_instance_uid),
            )
        )
    if study.state != StudyState.COMPLETE:
        detail = {"version": study.version, "evidence": evidence, "new_instances": added}
        move(session, study, StudyState.COMPLETE, actor=actor, **detail)
    return study.version if added else None


def _countable(session: Session, study_instance_uid: str) -> int:
    query = (
        select(func.count())
        .select_from(InstanceRow)
        .where(InstanceRow.study_instance_uid == study_instance_uid, InstanceRow.ours.is_(False))
    )
    return session.scalar(query) or 0


def move(
    session: Session, study: StudyRow, after: StudyState, actor: str = audit.SYSTEM, **detail: Any
) -> None:
    """Change a study's state, with its audit row."""
    before = StudyState(study.state)
    if after not in STUDY_TRANSITIONS[before]:
        raise ValueError(f"a study that is {before} cannot become {after}")
    study.state, study.updated_at = after, audit.utc_now()
    audit.note(
        session,
        f"study.{after.lower()}",
        actor=actor,
        study=study.study_instance_uid,
        before=before,
        after=after,
        **detail,
    )


def attributes(session: Session, study_instance_uid: str) -> list[dict[str, str]]:
    """What routes match on, each distinct set once, without our own results."""
    query = (
        select(InstanceRow.attributes)
        .where(InstanceRow.study_instance_uid == study_instance_uid, InstanceRow.ours.is_(False))
        .distinct()
    )
    return list(session.scalars(query))


def check_series(session: Session, study_instance_uid: str, series_instance_uid: str) -> None:
    """UnknownStudy, in words of its own, unless the study holds the series."""
    known = {series for series, _ in known_instances(session, study_instance_uid)}
    if series_instance_uid not in known:
        raise UnknownStudy(
            f"the study {study_instance_uid} has no series {series_instance_uid!r} on this node"
        )
