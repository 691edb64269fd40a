"""The tables of the record. Every time is UTC and aware; text states are those of server.values.

studies ─┬─ study_versions          what was complete, when, on which evidence
         ├─ instances               the index of headers
         ├─ conflicts               same SOP Instance UID, other content
         └─ requests ─┬─ targets ── turns
                      ├─ results
                      └─ deliveries
workers                             who is alive
parts                               whether the loops of each process still move
tallies                             how many are in which state, kept by triggers
audit                               append-only, held by a trigger; names no patient
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    MetaData,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from server.record.storable import StorableText

Json = dict[str, Any]


class Base(DeclarativeBase):
    """All tables, with names for every constraint so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it as a plain class attribute
        str: StorableText(),
        datetime: DateTime(timezone=True),
        Json: JSONB,
        list[str]: JSONB,
    }


class StudyRow(Base):
    """A study: `version` counts how often it was complete, 0 before the first time; `number` is the
    order of lists.

    `instances`, `series` and `requests` are how many rows it has in those tables, changed in the
    same transaction. `files` is how many files its folders had when it was last indexed, or given
    up with `fault`: what a start compares. `unrouted_reason` says why no route matched it when they
    were last applied.
    """

    __tablename__ = "studies"
    __table_args__ = (
        Index(
            "ix_studies_unrouted", "number", postgresql_where=text("unrouted_reason IS NOT NULL")
        ),
    )

    study_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    state: Mapped[str]
    version: Mapped[int]
    instances: Mapped[int]
    series: Mapped[int]
    requests: Mapped[int]
    files: Mapped[int]
    fault: Mapped[str | None]
    unrouted_reason: Mapped[str | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    @property
    def unrouted(self) -> bool:
        """Whether no route matched."""
        return self.unrouted_reason is not None


class StudyVersionRow(Base):
    """One time a study was complete: `evidence` "quiet" or "forced", `instances` without our own
    results.
    """

    __tablename__ = "study_versions"

    study_instance_uid: Mapped[str] = mapped_column(
        ForeignKey("studies.study_instance_uid"), primary_key=True
    )
    version: Mapped[int] = mapped_column(primary_key=True)
    completed_at: Mapped[datetime]
    evidence: Mapped[str]
    instances: Mapped[int]


class InstanceRow(Base):
    """The header of an instance in the inbox; `version` is the study version that first held it.

    `ours` marks results of Segnode that came back: kept, but no reason to work.
    """

    __tablename__ = "instances"
    __table_args__ = (Index("ix_instances_unversioned", "study_instance_uid", "version"),)

    study_instance_uid: Mapped[str] = mapped_column(
        ForeignKey("studies.study_instance_uid"), primary_key=True
    )
    series_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    sop_class_uid: Mapped[str]
    transfer_syntax_uid: Mapped[str]
    path: Mapped[str]
    modality: Mapped[str]
    series_number: Mapped[int | None]
    series_description: Mapped[str]
    instance_number: Mapped[int | None]
    number_of_frames: Mapped[int]
    manufacturer: Mapped[str]
    attributes: Mapped[Json]
    faults: Mapped[list[str]]
    ours: Mapped[bool]
    version: Mapped[int | None]
    indexed_at: Mapped[datetime]


class ConflictRow(Base):
    """Content that came under a SOP Instance UID already taken: kept apart at `path`."""

    __tablename__ = "conflicts"

    path: Mapped[str] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(
        ForeignKey("studies.study_instance_uid"), index=True
    )
    series_instance_uid: Mapped[str]
    sop_instance_uid: Mapped[str]
    sha256: Mapped[str]
    noted_at: Mapped[datetime]


class RequestRow(Base):
    """A request. `policy` and `segmenter` are who works on it; `run` counts beginnings: work of an
    earlier run finds its number stale and stops. `hold_doubtful` holds results back that are in
    doubt. `series_choice` says in a sentence why this series
    was selected. `progress` is a StepProgress while it is worked on.

    `answer_digest` is that of all that decides its answer beside the images, None before its series
    is selected. `repeats` is the request whose answer it gave again; a `forced` one never does.

    `stage_attempts` counts how often the current stage was begun in this run.
    """

    __tablename__ = "requests"
    # what lists are picked by, each with the order of the list
    __table_args__ = (
        Index("ix_requests_state_number", "state", "number"),
        Index("ix_requests_study_instance_uid_number", "study_instance_uid", "number"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    study_instance_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_instance_uid"))
    study_version: Mapped[int]
    series_instance_uid: Mapped[str | None]
    selected_series_instance_uid: Mapped[str | None]
    series_choice: Mapped[str | None]
    state: Mapped[str]
    route: Mapped[str | None]
    actor: Mapped[str]
    priority: Mapped[int]
    policy: Mapped[str | None]
    segmenter: Mapped[str | None]
    run: Mapped[int]
    pipeline_version: Mapped[int]
    stage: Mapped[str | None]
    stage_attempts: Mapped[int]
    progress: Mapped[Json | None]
    error: Mapped[str | None]
    failed_stage: Mapped[str | None]
    warnings: Mapped[list[str]]
    stage_seconds: Mapped[Json]
    encoder_passes: Mapped[int]
    hold_doubtful: Mapped[bool]
    forced: Mapped[bool]
    answer_digest: Mapped[str | None]
    repeats: Mapped[str | None] = mapped_column(ForeignKey("requests.id"))
    supersedes: Mapped[str | None] = mapped_column(ForeignKey("requests.id"))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    targets: Mapped[list[TargetRow]] = relationship(order_by="TargetRow.index")
    results: Mapped[list[ResultRow]] = relationship(order_by="ResultRow.kind")
    deliveries: Mapped[list[DeliveryRow]] = relationship(order_by="DeliveryRow.destination")


class TargetRow(Base):
    """One thing asked for; `status` is empty until it has ended."""

    __tablename__ = "targets"

    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"), primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    text: Mapped[str]
    structure: Mapped[str | None]
    code: Mapped[Json]
    laterality: Mapped[Json | None]
    status: Mapped[str | None]
    reason: Mapped[str]
    volume_ml: Mapped[float | None]
    turns: Mapped[int]
    confidence: Mapped[float | None]
    warnings: Mapped[list[str]]
    for_review: Mapped[bool]


class TurnRow(Base):
    """One turn, keyed so that a repeated step adds nothing; `turn` as in a trace."""

    __tablename__ = "turns"
    __table_args__ = (
        ForeignKeyConstraint(
            ["request_id", "target_index"], ["targets.request_id", "targets.index"]
        ),
    )

    request_id: Mapped[str] = mapped_column(primary_key=True)
    target_index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    slice_index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    turn_index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    turn: Mapped[Json]
    at: Mapped[datetime]


class ResultRow(Base):
    """A written and checked SEG or SR; its UID follows from request and study version, `path` is
    from storage.dir on.
    """

    __tablename__ = "results"

    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"), primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(primary_key=True, index=True)
    kind: Mapped[str]
    path: Mapped[str]
    sop_class_uid: Mapped[str]
    series_instance_uid: Mapped[str]


class DeliveryRow(Base):
    """One request to one destination; `attempts` counts the tries of the latest run.

    `kinds` are the kinds of results that it was sent, none before it is delivered.
    """

    __tablename__ = "deliveries"

    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"), primary_key=True)
    destination: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    attempts: Mapped[int]
    last_error: Mapped[str | None]
    next_try_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    kinds: Mapped[list[str]]


class WorkerRow(Base):
    """A live worker: `heartbeat_at` by the database's clock; host, boot and process tell whether it
    can still be.
    """

    __tablename__ = "workers"

    executor_id: Mapped[str] = mapped_column(primary_key=True)
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
    machine: Mapped[str]
    process_id: Mapped[int]
    process_started: Mapped[str]


class PartRow(Base):
    """A part of the node in one process, as that process told at `published_at` by the database's
    clock.

    `age_s` since its loop had moved then; it stands still beyond `limit_s`.
    """

    __tablename__ = "parts"

    part: Mapped[str] = mapped_column(primary_key=True)
    executor_id: Mapped[str] = mapped_column(primary_key=True)
    machine: Mapped[str]
    process_id: Mapped[int]
    process_started: Mapped[str]
    published_at: Mapped[datetime]
    age_s: Mapped[float]
    limit_s: Mapped[float]
    doing: Mapped[str]
    fault: Mapped[str | None]


class AuditRow(Base):
    """What happened, by whom, from which state to which. Never changed, never deleted (trigger)."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    actor: Mapped[str]
    event: Mapped[str]
    study_instance_uid: Mapped[str | None] = mapped_column(index=True)
    request_id: Mapped[str | None] = mapped_column(index=True)
    before: Mapped[str | None]
    after: Mapped[str | None]
    detail: Mapped[Json]


class TallyRow(Base):
    """`change` more of `kind` ("requests", "studies", "deliveries") are in `state`: the sum of all
    rows is how many there are.

    Triggers add rows, RecordCounting sums them up: nobody waits for a row that another transaction
    counts in.
    """

    __tablename__ = "tallies"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    kind: Mapped[str]
    state: Mapped[str]
    change: Mapped[int] = mapped_column(BigInteger)
