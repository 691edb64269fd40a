"""The index of headers: a row an instance, with the reason for one that PostgreSQL refuses."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import Session

from dicom_node.receive.dataset_uids import is_uid
from dicom_node.values import InstanceHeader
from server.errors import RecordRefused
from server.record import audit
from server.record.database.engine import record_error
from server.record.storable import (
    bounded,
    bounded_faults,
    bounded_uid,
    column_integer,
)
from server.record.stored_studies import WHOLE
from server.record.tables import InstanceRow, ResultRow

logger = logging.getLogger(__name__)

BATCH = 1000
"""Rows a statement; a header takes a few kilobytes."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Added:
    """What came into the index: rows, rows not of our own results, series without a row before."""

    instances: int = 0
    not_ours: int = 0
    series: int = 0


def add(session: Session, study_instance_uid: str, headers: Sequence[InstanceHeader]) -> Added:
    """Index the headers that are new, under the study's lock.

    RecordUnavailable when PostgreSQL is away; the fault of a single row does not raise.
    """
    result_uids = _result_uids(session, [header.sop_instance_uid for header in headers])
    rows = [_row(study_instance_uid, header, result_uids) for header in headers]
    mentioned = {row["series_instance_uid"] for row in rows}
    before = series_of(session, study_instance_uid, mentioned)
    are_ours = [
        is_ours
        for start in range(0, len(rows), BATCH)
        for is_ours in _insert(session, rows[start : start + BATCH])
    ]
    new_series = series_of(session, study_instance_uid, mentioned - before)
    return Added(len(are_ours), sum(not is_ours for is_ours in are_ours), len(new_series))


def _insert(session: Session, rows: list[Row]) -> Iterator[bool]:
    """Insert rows; for each that was new, whether it is ours.

    A refused batch is halved until the refused row is alone.
    """
    try:
        with session.begin_nested():
            query = insert(InstanceRow).on_conflict_do_nothing().returning(InstanceRow.ours)
            new = list(session.scalars(query, rows))
    except StatementError as error:
        refusal = record_error(error)
        if not isinstance(refusal, RecordRefused) or refusal.passing:
            raise refusal from None
        if len(rows) > 1:
            middle = len(rows) // 2
            yield from _insert(session, rows[:middle])
            yield from _insert(session, rows[middle:])
        else:
            yield from _insert_bare(session, rows[0], refusal)
    else:
        yield from new


def _insert_bare(session: Session, row: Row, refusal: RecordRefused) -> Iterator[bool]:
    """The row without anything that came from the instance but its UIDs, and with why."""
    reason = f"{WHOLE}: its header could not be recorded: {refusal}"
    bare = row | _EMPTY | {"faults": bounded_faults([reason])}
    try:
        with session.begin_nested():
            query = insert(InstanceRow).on_conflict_do_nothing().returning(InstanceRow.ours)
            new = list(session.scalars(query, [bare]))
    except StatementError as error:
        raise record_error(error) from None
    logger.warning(
        "instance %s of study %s is shown without its header: %s",
        row["sop_instance_uid"],
        row["study_instance_uid"],
        refusal,
    )
    yield from new


_EMPTY: Row = {
    "sop_class_uid": "",
    "transfer_syntax_uid": "",
    "modality": "",
    "series_number": None,
    "series_description": "",
    "instance_number": None,
    "number_of_frames": 1,
    "manufacturer": "",
    "attributes": {},
}


def _result_uids(session: Session, uids: Sequence[str]) -> set[str]:
    """Those of `uids` that name results this node has written."""
    query = select(ResultRow.sop_instance_uid)
    return {
        uid
        for start in range(0, len(uids), BATCH)
        for uid in session.scalars(
            query.where(ResultRow.sop_instance_uid.in_(uids[start : start + BATCH]))
        )
    }


def series_of(session: Session, study_instance_uid: str, uids: set[str]) -> set[str]:
    """Those of `uids` that are series of the study in the index.

    Each takes one look into the index.
    """
    named = func.unnest(sorted(uids)).table_valued("uid").render_derived(name="wanted")
    there = (
        select(InstanceRow.sop_instance_uid)
        .where(
            InstanceRow.study_instance_uid == study_instance_uid,
            InstanceRow.series_instance_uid == named.c.uid,
        )
        .exists()
    )
    return set(session.scalars(select(named.c.uid).where(there))) if uids else set()


def _faults(header: InstanceHeader) -> list[str]:
    """The faults of a header, that of the whole data set with its reason."""
    whole = f"{WHOLE}: {header.reason}" if header.reason else WHOLE
    return [whole if fault == WHOLE else fault for fault in header.faults]


def _row(study_instance_uid: str, header: InstanceHeader, result_uids: set[str]) -> Row:
    """A header as its row; `faults` names every value that had to be changed to fit its column."""
    uids = {
        "SeriesInstanceUID": header.series_instance_uid,
        "SOPInstanceUID": header.sop_instance_uid,
    }
    integers = {
        "SeriesNumber": header.series_number,
        "InstanceNumber": header.instance_number,
        "NumberOfFrames": header.number_of_frames,
    }
    unusable = [name for name, uid in uids.items() if not is_uid(uid)]
    unusable += [name for name, value in integers.items() if value != column_integer(value)]
    return {
        "study_instance_uid": study_instance_uid,
        "series_instance_uid": bounded_uid(header.series_instance_uid),
        "sop_instance_uid": bounded_uid(header.sop_instance_uid),
        "sop_class_uid": bounded(header.sop_class_uid),
        "transfer_syntax_uid": bounded(header.transfer_syntax_uid),
        "path": str(header.path),
        "modality": bounded(header.modality),
        "series_number": column_integer(header.series_number),
        "series_description": bounded(header.series_description),
        "instance_number": column_integer(header.instance_number),
        "number_of_frames": column_integer(header.number_of_frames) or 1,
        "manufacturer": bounded(header.manufacturer),
        "attributes": {
            bounded(keyword): bounded(text) for keyword, text in header.attributes.items()
        },
        "faults": bounded_faults([*_faults(header), *unusable]),
        "ours": header.sop_instance_uid in result_uids,
        "version": None,
        "indexed_at": audit.utc_now(),
    }
