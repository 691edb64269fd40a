"""Requests: made with job and audit row in one transaction, moved along the table of states."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import Session

from agent.values import Target, TargetStatus
from dicom_node.values import ResultKind, WrittenResult
from models.pair import ModelPair
from server.errors import RecordRefused, RunEnded, UnknownRequest, WrongState
from server.record import audit
from server.record.database.engine import record_error
from server.record.database.jobs import Jobs
from server.record.states import check_delivery, check_request
from server.record.storable import bounded
from server.record.tables import DeliveryRow, RequestRow, StudyRow, TargetRow
from server.rules.catalogue import Catalogue
from server.rules.synonyms import fold
from server.values import (
    ENDED_STATES,
    OPEN_DELIVERIES,
    DeliveryState,
    RequestState,
    Stage,
    StepProgress,
)

logger = logging.getLogger(__name__)

DEFAULT_PRIORITY = 50
_WORKED_ON = (
    RequestState.QUEUED,  # until its series is selected
    RequestState.SELECTED,
    RequestState.SEGMENTING,
    RequestState.WRITING,
)
_OPEN_STATES = tuple(state for state in RequestState if state not in ENDED_STATES)


@dataclass(frozen=True)
class NewRequest:
    """A request to be: everything checked and resolved."""

    study_instance_uid: str
    study_version: int
    targets: tuple[Target, ...]
    destinations: tuple[str, ...]
    actor: str
    series_instance_uid: str | None = None
    pair: ModelPair | None = None
    route: str | None = None
    priority: int = DEFAULT_PRIORITY
    supersedes: str | None = None
    hold_doubtful: bool = False
    forced: bool = False


def create(session: Session, jobs: Jobs, catalogue: Catalogue, new: NewRequest) -> RequestRow:
    """Row, targets, deliveries, audit row and job, all in the caller's transaction."""
    row = _row(new, catalogue, jobs.pipeline_version)
    _add(session, row)
    _audit(session, row, "request.queued", None, new.actor, route=new.route)
    jobs.study(session, row.id, row.run, row.priority)
    return row


def create_rejected(
    session: Session, pipeline_version: int, catalogue: Catalogue, new: NewRequest, sentence: str
) -> RequestRow:
    """A request that ended before there was anything to work on, as `sentence` says.

    Nothing is queued.
    """
    row = _row(new, catalogue, pipeline_version)
    row.state, row.ended_at = RequestState.REJECTED, row.created_at
    row.error, row.failed_stage = bounded(sentence), Stage.INDEX
    _withdraw(row)
    _add(session, row)
    _audit(session, row, "request.rejected", None, new.actor, route=new.route, stage=Stage.INDEX)
    return row


def standing(session: Session, new: NewRequest) -> RequestRow | None:
    """The request that asked the same of the same version before, whoever made it; the newest one.

    The same are series, targets in their order, destinations and models. One that was cancelled or
    superseded does not stand.
    """
    query = (
        select(RequestRow)
        .where(
            RequestRow.study_instance_uid == new.study_instance_uid,
            RequestRow.study_version == new.study_version,
            RequestRow.state.not_in([RequestState.CANCELLED, RequestState.SUPERSEDED]),
        )
        .order_by(RequestRow.number.desc())
    )
    return next((row for row in session.scalars(query) if _asks_the_same(row, new)), None)


def answered_before(session: Session, row: RequestRow) -> RequestRow | None:
    """The latest request before this one that was answered from the same series of the same version
    under the same digest. Results that a person held back for good were cancelled: not among them;
    nor is one of which a target failed, as it need not fail again.
    """
    query = (
        select(RequestRow)
        .where(
            RequestRow.study_instance_uid == row.study_instance_uid,
            RequestRow.study_version == row.study_version,
            RequestRow.selected_series_instance_uid == row.selected_series_instance_uid,
            RequestRow.answer_digest == row.answer_digest,
            RequestRow.state.in_([RequestState.SENDING, RequestState.DONE]),
            RequestRow.number < row.number,
            ~RequestRow.targets.any(TargetRow.status == TargetStatus.FAILED),
        )
        .order_by(RequestRow.number.desc())
        .limit(1)
    )
    return session.scalars(query).first()


def _asks_the_same(row: RequestRow, new: NewRequest) -> bool:
    return (
        row.series_instance_uid == new.series_instance_uid
        and list(map(target_key, targets_of(row))) == list(map(target_key, new.targets))
        and {delivery.destination for delivery in row.deliveries} == set(new.destinations)
        and pair_of(row) == new.pair
    )


def rejected_before(session: Session, study_instance_uid: str, version: int) -> list[RequestRow]:
    """Requests of a study's version that `create_rejected` made, oldest first."""
    query = (
        select(RequestRow)
        .where(
            RequestRow.study_instance_uid == study_instance_uid,
            RequestRow.study_version == version,
            RequestRow.state == RequestState.REJECTED,
            RequestRow.failed_stage == Stage.INDEX,
        )
        .order_by(RequestRow.number)
        .with_for_update()
    )
    return list(session.scalars(query))


def _add(session: Session, row: RequestRow) -> None:
    study = session.get_one(StudyRow, row.study_instance_uid)
    study.requests = StudyRow.requests + 1
    session.add(row)
    session.flush()


def _row(new: NewRequest, catalogue: Catalogue, pipeline_version: int) -> RequestRow:
    now = audit.utc_now()
    return RequestRow(
        id=str(uuid.uuid4()),
        study_instance_uid=new.study_instance_uid,
        study_version=new.study_version,
        series_instance_uid=new.series_instance_uid,
        state=RequestState.QUEUED,
        route=new.route,
        actor=new.actor,
        priority=new.priority,
        policy=new.pair.policy if new.pair else None,
        segmenter=new.pair.segmenter if new.pair else None,
        run=1,
        pipeline_version=pipeline_version,
        stage_attempts=0,
        warnings=[],
        stage_seconds={},
        encoder_passes=0,
        hold_doubtful=new.hold_doubtful,
        forced=new.forced,
        supersedes=new.supersedes,
        created_at=now,
        updated_at=now,
        targets=[_target(i, target, catalogue) for i, target in enumerate(new.targets)],
        deliveries=[_delivery(name) for name in new.destinations],
    )


def _target(index: int, target: Target, catalogue: Catalogue) -> TargetRow:
    structure = catalogue.structure(target)
    return TargetRow(
        index=index,
        text=target.text,
        structure=target.structure,
        code=asdict(structure.type),
        laterality=asdict(structure.laterality) if structure.laterality else None,
        reason="",
        turns=0,
        warnings=[],
        for_review=False,
    )


def _delivery(destination: str) -> DeliveryRow:
    return DeliveryRow(destination=destination, state=DeliveryState.PENDING, attempts=0, kinds=[])


def locked(session: Session, request_id: str) -> RequestRow:
    """The request's row, held until the transaction ends; UnknownRequest."""
    row = session.get(RequestRow, request_id, with_for_update={"of": RequestRow})
    if row is None:
        raise UnknownRequest(f"there is no request {request_id!r}")
    return row


def working(session: Session, request_id: str, run: int) -> RequestRow:
    """The row of a request that is still worked on by this `run`; RunEnded otherwise."""
    row = locked(session, request_id)
    if row.run != run or row.state in ENDED_STATES:
        over = row.state in (RequestState.CANCELLED, RequestState.SUPERSEDED)
        raise RunEnded(
            f"request {request_id} is {row.state}, run {row.run}; this is run {run}", over=over
        )
    return row


def move(
    session: Session,
    row: RequestRow,
    after: RequestState,
    actor: str = audit.SYSTEM,
    **detail: Any,
) -> None:
    """Change a request's state along the table, with its audit row, unless it has that state."""
    before = RequestState(row.state)
    if before == after:
        return
    check_request(before, after)
    row.state, row.updated_at = after, audit.utc_now()
    row.ended_at = row.updated_at if after in ENDED_STATES else None
    if after not in _WORKED_ON:
        row.progress = None
    if after in ENDED_STATES and after != RequestState.DONE:
        withdrawn = _withdraw(row)
        detail |= {"withdrawn": withdrawn} if withdrawn else {}
    _audit(session, row, f"request.{after.lower()}", before, actor, **detail)


def _withdraw(row: RequestRow) -> list[str]:
    """Nobody sends any more what is still open: the destinations of that."""
    deliveries = [each for each in row.deliveries if each.state in OPEN_DELIVERIES]
    for delivery in deliveries:
        check_delivery(DeliveryState(delivery.state), DeliveryState.WITHDRAWN)
        delivery.state, delivery.next_try_at = DeliveryState.WITHDRAWN, None
    return [delivery.destination for delivery in deliveries]


def note_progress(session: Session, request_id: str, progress: StepProgress) -> None:
    """How far a request is, unless nobody works on it any more."""
    session.execute(
        update(RequestRow)
        .where(RequestRow.id == request_id, RequestRow.state.in_(_WORKED_ON))
        .values(progress=asdict(progress))
    )


def begin_anew(session: Session, jobs: Jobs, row: RequestRow, *, actor: str, reason: str) -> None:
    """Start the next run of a request: from its start, or, once it was sending, with that."""
    sending = row.state == RequestState.SENDING or row.failed_stage == Stage.SEND
    row.run += 1
    row.pipeline_version = jobs.pipeline_version
    row.stage, row.stage_attempts, row.error, row.failed_stage = None, 0, None, None
    row.progress = None
    after = RequestState.SENDING if sending else RequestState.QUEUED
    if row.state == after:
        _audit(session, row, "request.anew", RequestState(row.state), actor, reason=reason)
    else:
        move(session, row, after, actor, reason=reason)
    if sending:
        queue_deliveries(session, jobs, row)
    else:
        for delivery in row.deliveries:
            if delivery.state == DeliveryState.WITHDRAWN:
                delivery.state = DeliveryState.PENDING
        jobs.study(session, row.id, row.run, row.priority)


def begin_older_anew(session: Session, jobs: Jobs) -> int:
    """Begin anew what an older pipeline left unfinished; how many requests."""
    query = (
        select(RequestRow)
        .where(
            RequestRow.pipeline_version < jobs.pipeline_version,
            # named, not excluded: an index finds those few among all that have ended
            RequestRow.state.in_(_OPEN_STATES),
        )
        .order_by(RequestRow.number)
        .with_for_update()
    )
    rows = list(session.scalars(query))
    return sum(_begun_anew(session, jobs, row) for row in rows)


def _begun_anew(session: Session, jobs: Jobs, row: RequestRow) -> bool:
    """Begin a request of an older pipeline anew; False, with a log line, where it is refused."""
    request_id = row.id  # after an error the row can no longer be asked
    reason = f"pipeline {row.pipeline_version} is now {jobs.pipeline_version}"
    try:
        with session.begin_nested():
            begin_anew(session, jobs, row, actor=audit.SYSTEM, reason=reason)
    except StatementError as error:
        refusal = record_error(error)
        if not isinstance(refusal, RecordRefused):
            raise refusal from None
        # one request must not keep the worker from starting
        logger.error("request %s cannot begin anew: %s", request_id, refusal)
        return False
    return True


def queue_deliveries(session: Session, jobs: Jobs, row: RequestRow) -> None:
    """Queue the first try of the row's run for each destination that has not got everything, but
    for those that wait for a person.
    """
    for delivery in row.deliveries:
        if delivery.state not in (DeliveryState.DELIVERED, DeliveryState.HELD):
            delivery.state, delivery.attempts, delivery.kinds = DeliveryState.PENDING, 0, []
            delivery.next_try_at = None
            jobs.delivery(session, row.id, delivery.destination, row.run, 1, 0.0)


def hold(session: Session, row: RequestRow) -> None:
    """Hold back every delivery of a request whose results are in doubt."""
    _turn_deliveries(row, DeliveryState.HELD)
    doubtful = [target.index for target in row.targets if target.for_review]
    _audit(session, row, "request.held", RequestState(row.state), audit.SYSTEM, targets=doubtful)


def release(session: Session, jobs: Jobs, row: RequestRow, actor: str) -> None:
    """Queue the deliveries that were held back; WrongState where none was."""
    if not is_on_hold(row):
        raise WrongState(f"nothing of this request is held back: it is {row.state}")
    _turn_deliveries(row, DeliveryState.PENDING)
    row.updated_at = audit.utc_now()
    _audit(session, row, "request.released", RequestState(row.state), actor)
    queue_deliveries(session, jobs, row)


def is_on_hold(row: RequestRow) -> bool:
    """Whether its results are written and wait for a person."""
    waiting = any(delivery.state == DeliveryState.HELD for delivery in row.deliveries)
    return waiting and row.state == RequestState.SENDING


def _turn_deliveries(row: RequestRow, after: DeliveryState) -> None:
    """All that wait, to be held back or to be sent."""
    for delivery in row.deliveries:
        if delivery.state in (DeliveryState.PENDING, DeliveryState.HELD):
            check_delivery(DeliveryState(delivery.state), after)
            delivery.state = after


def supersede(session: Session, study_instance_uid: str, version: int) -> list[RequestRow]:
    """End every request of an older version of a study, running or ended; those ended."""
    query = (
        select(RequestRow)
        .where(
            RequestRow.study_instance_uid == study_instance_uid,
            RequestRow.study_version < version,
            RequestRow.state.not_in([RequestState.CANCELLED, RequestState.SUPERSEDED]),
        )
        .order_by(RequestRow.number)
        .with_for_update()
    )
    rows = list(session.scalars(query))
    for row in rows:
        move(session, row, RequestState.SUPERSEDED, by_version=version)
    return rows


def before_on_study(session: Session, row: RequestRow) -> int:
    """How many requests there were on the study before this one, whatever came of them."""
    query = select(func.count()).where(
        RequestRow.study_instance_uid == row.study_instance_uid, RequestRow.number < row.number
    )
    return session.scalars(query).one()


def targets_of(row: RequestRow) -> tuple[Target, ...]:
    """What a request asked for."""
    return tuple(Target(target.text, target.structure) for target in row.targets)


def results_of(row: RequestRow, storage: Path) -> tuple[WrittenResult, ...]:
    """The results of a request, their files under `storage`."""
    return tuple(
        WrittenResult(
            kind=ResultKind(result.kind),
            path=storage / result.path,
            sop_class_uid=result.sop_class_uid,
            sop_instance_uid=result.sop_instance_uid,
            series_instance_uid=result.series_instance_uid,
        )
        for result in row.results
    )


def target_key(target: Target) -> str:
    """What two targets that mean the same have in common, however they were written."""
    return target.structure or fold(target.text)


def pair_of(row: RequestRow) -> ModelPair | None:
    """Who works on a request; None where it was made before that could be chosen."""
    if row.policy is None or row.segmenter is None:
        return None
    return ModelPair(row.policy, row.segmenter)


def destinations_of(row: RequestRow, configured: Collection[str]) -> tuple[str, ...]:
    """Where a request's results were to go, as far as it is still configured."""
    return tuple(d.destination for d in row.deliveries if d.destination in configured)


def _audit(
    session: Session,
    row: RequestRow,
    event: str,
    before: RequestState | None,
    actor: str,
    **detail: Any,
) -> None:
    audit.note(
        session,
        event,
        actor=actor,
        study=row.study_instance_uid,
        request_id=row.id,
        before=before,
        after=row.state,
        by_route=row.route,
        **{"run": row.run, "study_version": row.study_version, **detail},
    )
