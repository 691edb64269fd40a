"""Studies and their index of headers: arriving, complete, complete again with late instances."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import cast, func, select, update
from sqlalchemy.dialects.postgresql import JSONPATH, insert
from sqlalchemy.orm import Session

from dicom_node.values import InstanceHeader, StoredInstance
from server.errors import UnknownStudy
from server.record import audit, instances
from server.record.states import STUDY_TRANSITIONS
from server.record.storable import bounded, bounded_uid
from server.record.stored_studies import WHOLE
from server.record.tables import ConflictRow, InstanceRow, StudyRow, StudyVersionRow
from server.values import StudyState


def locked(session: Session, study_instance_uid: str) -> StudyRow:
    """The study's row, held until the transaction ends.

    UnknownStudy if the node does not hold it.
    """
    row = session.get(StudyRow, study_instance_uid, with_for_update=True)
    if row is None:
        raise UnknownStudy(
            f"this node does not hold the study {study_instance_uid!r}: send it here first"
        )
    return row


def known_instances(session: Session, study_instance_uid: str) -> set[tuple[str, str]]:
    """(series, SOP instance) UIDs that are indexed."""
    query = select(InstanceRow.series_instance_uid, InstanceRow.sop_instance_uid).where(
        InstanceRow.study_instance_uid == study_instance_uid
    )
    return {(series, instance) for series, instance in session.execute(query)}


@dataclass(frozen=True)
class Settled:
    """What a start compares with the disk: `files` is how many the study's folders last had.

    `over` when nothing is to be done unless that number has changed: complete, or given up.
    """

    files: int
    over: bool


def settled(session: Session) -> dict[str, Settled]:
    """Every study by its UID."""
    query = select(
        StudyRow.study_instance_uid, StudyRow.files, StudyRow.state, StudyRow.fault.is_not(None)
    )
    return {
        uid: Settled(files, state == StudyState.COMPLETE or given_up)
        for uid, files, state, given_up in session.execute(query)
    }


def add(
    session: Session,
    study_instance_uid: str,
    headers: Sequence[InstanceHeader],
    conflicts: Iterable[StoredInstance],
    files: int,
) -> None:
    """Index headers that are new; a complete study that grew is receiving again.

    Repeating it adds nothing.

    `files` is how many its folders had before they were read. A study that had been given up has
    its next chance.
    """
    now = audit.utc_now()
    study = _present(session, study_instance_uid)
    study.files, study.fault = files, None
    added = instances.add(session, study_instance_uid, headers)
    study.instances += added.instances
    study.series += added.series
    if added.not_ours:
        study.updated_at = now
        if study.state == StudyState.COMPLETE:
            move(session, study, StudyState.RECEIVING, instances=added.not_ours)
    noted = _noted_conflicts(session, study_instance_uid)
    for conflict in conflicts:
        if str(conflict.path) not in noted:
            _note_conflict(session, study_instance_uid, conflict)


def give_up(session: Session, study_instance_uid: str, sentence: str, files: int) -> StudyRow:
    """Leave a study until its folders hold another number of files, or a person asks again."""
    study = _present(session, study_instance_uid)
    study.files, study.fault, study.updated_at = files, bounded(sentence), audit.utc_now()
    audit.note(session, "study.given_up", study=study.study_instance_uid, reason=study.fault)
    return study


def _present(session: Session, study_instance_uid: str) -> StudyRow:
    """The study's row, locked, made if this is the first that is heard of it."""
    now = audit.utc_now()
    created = session.execute(
        insert(StudyRow)
        .values(
            study_instance_uid=study_instance_uid,
            state=StudyState.RECEIVING,
            version=0,
            instances=0,
            series=0,
            requests=0,
            files=0,
            created_at=now,
            updated_at=now,
        )
        .on_conflict_do_nothing()
        .returning(StudyRow.study_instance_uid)
    ).first()
    study = locked(session, study_instance_uid)
    if created:
        audit.note(session, "study.receiving", study=study_instance_uid, after=study.state)
    return study


def _noted_conflicts(session: Session, study_instance_uid: str) -> set[str]:
    query = select(ConflictRow.path).where(ConflictRow.study_instance_uid == study_instance_uid)
    return set(session.scalars(query))


def _note_conflict(session: Session, study_instance_uid: str, conflict: StoredInstance) -> None:
    added = session.execute(
        insert(ConflictRow)
        .values(
            path=str(conflict.path),
            study_instance_uid=study_instance_uid,
            series_instance_uid=conflict.series_instance_uid,
            sop_instance_uid=bounded_uid(conflict.sop_instance_uid),
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
    """Make what is new a version; its number, or None if only our own results are new."""
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


def why_unreadable(session: Session, study_instance_uid: str) -> str | None:
    """Why no instance of a study can be read, in the words of one of them.

    None where one can, or all are our own.
    """
    unreadable = func.jsonb_path_exists(
        InstanceRow.faults, cast(f'$[*] ? (@ starts with "{WHOLE}")', JSONPATH)
    )
    query = (
        select(InstanceRow.faults)
        .where(InstanceRow.study_instance_uid == study_instance_uid, InstanceRow.ours.is_(False))
        .order_by(unreadable, InstanceRow.sop_instance_uid)
        .limit(1)
    )
    faults = session.scalar(query) or []
    why = next((fault for fault in faults if fault.startswith(WHOLE)), None)
    return None if why is None else why.removeprefix(WHOLE).removeprefix(": ") or "no DICOM"


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
    if not instances.series_of(session, study_instance_uid, {bounded_uid(series_instance_uid)}):
        raise UnknownStudy(
            f"the study {study_instance_uid} has no series {series_instance_uid!r} on this node"
        )
