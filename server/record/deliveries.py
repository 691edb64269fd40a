"""What a try to deliver tells the record: one row a destination.

The next try is queued in the same transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_node.values import ResultKind, WrittenResult
from server.errors import RunEnded
from server.record import audit, requests
from server.record.database.engine import Sessions
from server.record.database.jobs import Jobs
from server.record.states import check_delivery
from server.record.tables import DeliveryRow, RequestRow
from server.values import OPEN_DELIVERIES, DeliveryState, RequestState, Stage

_MOST_AT_ONCE = 100  # deliveries made due in one transaction: each that is taken makes more so


@dataclass(frozen=True)
class DeliveryAttempt:
    """One try to deliver: the `attempt`-th (one-based) of `run` of a request to `destination`."""

    request_id: str
    destination: str
    run: int
    attempt: int


class Deliveries:
    """The record as the delivery workflow sees it; all calls may be repeated.

    Results lie under `storage`.
    """

    def __init__(self, sessions: Sessions, jobs: Jobs, storage: Path = Path()) -> None:
        self._sessions = sessions
        self._jobs = jobs
        self._storage = storage

    def begin(self, attempt: DeliveryAttempt) -> tuple[WrittenResult, ...]:
        """What is to be sent; RunEnded when this try is not wanted any more."""
        with self._sessions.begin() as session:
            row, _ = _open(session, attempt)
            return requests.results_of(row, self._storage)

    def delivered(
        self, attempt: DeliveryAttempt, kinds: Sequence[ResultKind], seconds: float, how: str = ""
    ) -> None:
        """The destination took everything that it takes: results of these `kinds`; `how`
        segmentations went where that may differ.
        """
        with self._sessions.begin() as session:
            row, delivery = _open(session, attempt)
            delivery.delivered_at, delivery.next_try_at = audit.utc_now(), None
            delivery.last_error, delivery.kinds = None, list(kinds)
            detail = {"segmentation": how} if how else {}
            _move(
                session,
                row,
                delivery,
                DeliveryState.DELIVERED,
                attempt,
                kinds=list(kinds),
                **detail,
            )
            _took(row, seconds)
            _settle(session, row)
            reason = "the destination took another delivery"
            _make_due(session, self._jobs, attempt.destination, audit.SYSTEM, reason)

    def send_now(self, destination: str, *, actor: str) -> int:
        """Send at once what waits to be sent to a destination, which answered `actor`; how many
        deliveries.
        """
        with self._sessions.begin() as session:
            reason = "the destination answered an echo"
            return _make_due(session, self._jobs, destination, actor, reason)

    def failed(
        self, attempt: DeliveryAttempt, sentence: str, seconds: float, again_in_s: float | None
    ) -> None:
        """The destination did not; the next try is in `again_in_s` seconds, or never (None)."""
        with self._sessions.begin() as session:
            row, delivery = _open(session, attempt)
            delivery.last_error = sentence
            _took(row, seconds)
            if again_in_s is None:
                delivery.next_try_at = None
                _move(session, row, delivery, DeliveryState.DEAD, attempt, error=sentence)
                _settle(session, row)
            else:
                delivery.next_try_at = audit.utc_now() + timedelta(seconds=again_in_s)
                _move(session, row, delivery, DeliveryState.RETRYING, attempt, error=sentence)
                self._jobs.delivery(
                    session,
                    row.id,
                    attempt.destination,
                    attempt.run,
                    attempt.attempt + 1,
                    again_in_s,
                )


def _make_due(session: Session, jobs: Jobs, destination: str, actor: str, reason: str) -> int:
    """Make due what waits for its next time to be sent to `destination`; how many deliveries.

    A request that another transaction works on is left out: it is being tried, or ends.
    """
    query = (
        select(RequestRow, DeliveryRow)
        .join(DeliveryRow, DeliveryRow.request_id == RequestRow.id)
        .where(
            RequestRow.state == RequestState.SENDING,
            DeliveryRow.state == DeliveryState.RETRYING,
            DeliveryRow.destination == destination,
            DeliveryRow.next_try_at > audit.utc_now(),
        )
        .order_by(RequestRow.number)
        .limit(_MOST_AT_ONCE)
        .with_for_update(of=RequestRow, skip_locked=True)
    )
    rows = session.execute(query).all()
    for row, delivery in rows:
        delivery.next_try_at = audit.utc_now()
        jobs.delivery_now(session, row.id, destination, row.run, delivery.attempts + 1)
        audit.note(
            session,
            "delivery.now",
            study=row.study_instance_uid,
            request_id=row.id,
            actor=actor,
            destination=destination,
            attempt=delivery.attempts + 1,
            reason=reason,
        )
    return len(rows)


def _open(session: Session, attempt: DeliveryAttempt) -> tuple[RequestRow, DeliveryRow]:
    row = requests.working(session, attempt.request_id, attempt.run)
    delivery = session.get(DeliveryRow, (attempt.request_id, attempt.destination))
    # a later try than this one is under way when a step is repeated after it was recorded
    if (
        delivery is None
        or delivery.state not in OPEN_DELIVERIES - {DeliveryState.HELD}
        or delivery.attempts >= attempt.attempt
    ):
        raise RunEnded(f"try {attempt} has been made", over=False)
    return row, delivery


def _move(
    session: Session,
    row: RequestRow,
    delivery: DeliveryRow,
    after: DeliveryState,
    attempt: DeliveryAttempt,
    **detail: Any,
) -> None:
    before = DeliveryState(delivery.state)
    check_delivery(before, after)
    delivery.state, delivery.attempts = after, attempt.attempt
    audit.note(
        session,
        f"delivery.{after}",
        study=row.study_instance_uid,
        request_id=row.id,
        before=before,
        after=after,
        destination=attempt.destination,
        attempt=attempt.attempt,
        run=attempt.run,
        **detail,
    )


def _settle(session: Session, row: RequestRow) -> None:
    """End the request when no delivery is open any more."""
    if any(delivery.state in OPEN_DELIVERIES for delivery in row.deliveries):
        return
    dead = [delivery for delivery in row.deliveries if delivery.state == DeliveryState.DEAD]
    if dead:
        named = "; ".join(f"{delivery.destination}: {delivery.last_error}" for delivery in dead)
        row.error, row.failed_stage = f"could not be delivered to {named}", Stage.SEND
        requests.move(session, row, RequestState.FAILED, stage=Stage.SEND)
    else:
        row.stage = None
        requests.move(session, row, RequestState.DONE)


def _took(row: RequestRow, seconds: float) -> None:
    spent = row.stage_seconds.get(Stage.SEND, 0.0) + seconds
    row.stage_seconds = {**row.stage_seconds, Stage.SEND: round(spent, 3)}
