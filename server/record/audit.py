"""The audit trail: written in the transaction of what it tells of, or not at all."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.record.tables import AuditRow
from server.record.views import AuditView

SYSTEM = "segnode"


def utc_now() -> datetime:
    """Now, aware."""
    return datetime.now(UTC)


def note(
    session: Session,
    event: str,
    *,
    actor: str = SYSTEM,
    study: str | None = None,
    request_id: str | None = None,
    before: str | None = None,
    after: str | None = None,
    **detail: Any,
) -> None:
    """Add a line in the caller's transaction.

    `detail` holds UIDs, counts and sentences, never patient data.
    """
    session.add(
        AuditRow(
            at=utc_now(),
            actor=actor,
            event=event,
            study_instance_uid=study,
            request_id=request_id,
            before=before,
            after=after,
            detail=detail,
        )
    )


def read(
    session: Session, *, limit: int, offset: int, since: datetime | None
) -> tuple[AuditView, ...]:
    """Lines in the order they were written, those at or after `since`."""
    query = select(AuditRow).order_by(AuditRow.id).limit(limit).offset(offset)
    if since is not None:
        query = query.where(AuditRow.at >= since)
    return tuple(_view(row) for row in session.scalars(query))


def _view(row: AuditRow) -> AuditView:
    return AuditView(
        id=row.id,
        at=row.at,
        actor=row.actor,
        event=row.event,
        study_instance_uid=row.study_instance_uid,
        request_id=row.request_id,
        before=row.before,
        after=row.after,
        detail=row.detail,
    )
