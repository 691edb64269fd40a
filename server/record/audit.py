"""The audit trail: written in the transaction of what it tells of, or not at all."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.event import listens_for
from sqlalchemy.orm import Session

from dicom_node.log_text import subject_of
from server.record.tables import AuditRow
from server.record.views import AuditView

log = logging.getLogger(__name__)

SYSTEM = "segnode"
_UNTOLD = "changes of state that are not committed"


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
    by_route: str | None = None,
    **detail: Any,
) -> None:
    """Add a line in the caller's transaction; a change of state is logged once that is committed.

    `detail` holds UIDs, counts and sentences, never patient data. `by_route` is for the log.
    """
    if after is not None and after != before:
        subject = f"study {study}"
        if request_id:
            of_route = f" of route {by_route}" if by_route else ""
            subject = f"request {request_id}{of_route} on {subject}"
        if "destination" in detail:
            subject = f"delivery to {detail['destination']} of {subject}"
        line = f"{subject}: {after}" + (f" after {before}" if before else "")
        about = subject_of(request=request_id or "", study=study or "")
        session.info.setdefault(_UNTOLD, []).append((line, about))
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


@listens_for(Session, "after_commit")
def _tell(session: Session) -> None:
    """Log the changes of state that stand now; a savepoint's can still be taken back."""
    if not session.in_nested_transaction():
        for line, about in session.info.pop(_UNTOLD, ()):
            log.info("%s", line, extra=about)


@listens_for(Session, "after_rollback")
def _forget(session: Session) -> None:
    """Nothing is told of what was taken back."""
    session.info.pop(_UNTOLD, None)


def read(
    session: Session, *, limit: int, offset: int, since: datetime | None
) -> tuple[AuditView, ...]:
    """Lines in the order they were written, those at or after `since`."""
    query = select(AuditRow).order_by(AuditRow.id).limit(limit).offset(offset)
    if since is not None:
        query = query.where(AuditRow.at >= since)
    return tuple(_view(row) for row in session.scalars(query))


def of_request(session: Session, request_id: str, most: int) -> tuple[AuditView, ...]:
    """The last `most` lines about a request, in the order they were written."""
    query = (
        select(AuditRow)
        .where(AuditRow.request_id == request_id)
        .order_by(AuditRow.id.desc())
        .limit(most)
    )
    return tuple(reversed([_view(row) for row in session.scalars(query)]))


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
