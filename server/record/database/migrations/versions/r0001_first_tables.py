"""The first tables.

Revision 0001. The audit trail can only grow: a trigger refuses every change, also by our own code.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_REFUSE = """
CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'the audit trail is append-only'; END $$
"""
_GUARD = """
CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()
"""


def upgrade() -> None:
    """Make every table, and the audit trail's guard."""
    _studies()
    _instances()
    _requests()
    _targets()
    _deliveries()
    _workers()
    _audit()
    op.execute(_REFUSE)
    op.execute(_GUARD)


def _studies() -> None:
    op.create_table(
        "studies",
        sa.Column("study_instance_uid", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("study_instance_uid", name="pk_studies"),
    )
    op.create_index("ix_studies_created_at", "studies", ["created_at"], unique=False)
    op.create_table(
        "conflicts",
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("study_instance_uid", sa.String(), nullable=False),
        sa.Column("series_instance_uid", sa.String(), nullable=False),
        sa.Column("sop_instance_uid", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["studies.study_instance_uid"],
            name="fk_conflicts_study_instance_uid",
        ),
        sa.PrimaryKeyConstraint("path", name="pk_conflicts"),
    )
    op.create_index(
        "ix_conflicts_study_instance_uid", "conflicts", ["study_instance_uid"], unique=False
    )
    op.create_table(
        "study_versions",
        sa.Column("study_instance_uid", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("evidence", sa.String(), nullable=False),
        sa.Column("instances", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["studies.study_instance_uid"],
            name="fk_study_versions_study_instance_uid",
        ),
        sa.PrimaryKeyConstraint("study_instance_uid", "version", name="pk_study_versions"),
    )


def _instances() -> None:
    op.create_table(
        "instances",
        sa.Column("study_instance_uid", sa.String(), nullable=False),
        sa.Column("series_instance_uid", sa.String(), nullable=False),
        sa.Column("sop_instance_uid", sa.String(), nullable=False),
        sa.Column("sop_class_uid", sa.String(), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("modality", sa.String(), nullable=False),
        sa.Column("series_number", sa.Integer(), nullable=True),
        sa.Column("series_description", sa.String(), nullable=False),
        sa.Column("instance_number", sa.Integer(), nullable=True),
        sa.Column("number_of_frames", sa.Integer(), nullable=False),
        sa.Column("manufacturer", sa.String(), nullable=False),
        sa.Column("attributes", postgresql.JSONB(), nullable=False),
        sa.Column("faults", postgresql.JSONB(), nullable=False),
        sa.Column("ours", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("indexed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["studies.study_instance_uid"],
            name="fk_instances_study_instance_uid",
        ),
        sa.PrimaryKeyConstraint(
            "study_instance_uid", "series_instance_uid", "sop_instance_uid", name="pk_instances"
        ),
    )
    op.create_index(
        "ix_instances_unversioned", "instances", ["study_instance_uid", "version"], unique=False
    )


def _requests() -> None:
    op.create_table(
        "requests",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_instance_uid", sa.String(), nullable=False),
        sa.Column("study_version", sa.Integer(), nullable=False),
        sa.Column("series_instance_uid", sa.String(), nullable=True),
        sa.Column("selected_series_instance_uid", sa.String(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("route", sa.String(), nullable=True),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("pipeline_version", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(), nullable=True),
        sa.Column("stage_attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("failed_stage", sa.String(), nullable=True),
        sa.Column("warnings", postgresql.JSONB(), nullable=False),
        sa.Column("stage_seconds", postgresql.JSONB(), nullable=False),
        sa.Column("encoder_passes", sa.Integer(), nullable=False),
        sa.Column("supersedes", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["studies.study_instance_uid"],
            name="fk_requests_study_instance_uid",
        ),
        sa.ForeignKeyConstraint(["supersedes"], ["requests.id"], name="fk_requests_supersedes"),
        sa.PrimaryKeyConstraint("id", name="pk_requests"),
        sa.UniqueConstraint("number", name="uq_requests_number"),
    )
    op.create_index("ix_requests_state", "requests", ["state"], unique=False)
    op.create_index(
        "ix_requests_study_instance_uid", "requests", ["study_instance_uid"], unique=False
    )


def _targets() -> None:
    op.create_table(
        "targets",
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("structure", sa.String(), nullable=True),
        sa.Column("code", postgresql.JSONB(), nullable=False),
        sa.Column("laterality", postgresql.JSONB(), nullable=True),
        sa.Column("status", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("volume_ml", sa.Double(), nullable=True),
        sa.Column("turns", sa.Integer(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("warnings", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name="fk_targets_request_id"),
        sa.PrimaryKeyConstraint("request_id", "index", name="pk_targets"),
    )
    op.create_table(
        "turns",
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("target_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slice_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("turn_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("turn", postgresql.JSONB(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["request_id", "target_index"],
            ["targets.request_id", "targets.index"],
            name="fk_turns_request_id_target_index",
        ),
        sa.PrimaryKeyConstraint(
            "request_id", "target_index", "slice_index", "turn_index", name="pk_turns"
        ),
    )


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("destination", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.String(), nullable=True),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name="fk_deliveries_request_id"),
        sa.PrimaryKeyConstraint("request_id", "destination", name="pk_deliveries"),
    )
    op.create_table(
        "results",
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("sop_instance_uid", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("sop_class_uid", sa.String(), nullable=False),
        sa.Column("series_instance_uid", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name="fk_results_request_id"),
        sa.PrimaryKeyConstraint("request_id", "sop_instance_uid", name="pk_results"),
    )
    op.create_index("ix_results_sop_instance_uid", "results", ["sop_instance_uid"], unique=False)


def _workers() -> None:
    op.create_table(
        "workers",
        sa.Column("executor_id", sa.String(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("machine", sa.String(), nullable=False),
        sa.Column("process_id", sa.Integer(), nullable=False),
        sa.Column("process_started", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("executor_id", name="pk_workers"),
    )


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("study_instance_uid", sa.String(), nullable=True),
        sa.Column("request_id", sa.String(), nullable=True),
        sa.Column("before", sa.String(), nullable=True),
        sa.Column("after", sa.String(), nullable=True),
        sa.Column("detail", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_at", "audit", ["at"], unique=False)
    op.create_index("ix_audit_request_id", "audit", ["request_id"], unique=False)
    op.create_index("ix_audit_study_instance_uid", "audit", ["study_instance_uid"], unique=False)
