"""Counts are kept where lists show them, and lists are read by index.

Revision 0004. Before it every page of studies read all instances, and every look at the metrics all
requests.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_COUNTS = ("instances", "series", "requests", "files")
# what was counted by reading all, once more and for the last time
_COUNT_STUDIES = """
UPDATE studies SET instances = counted.instances, series = counted.series FROM (
    SELECT study_instance_uid, count(*) AS instances, count(DISTINCT series_instance_uid) AS series
    FROM instances GROUP BY study_instance_uid
) AS counted WHERE counted.study_instance_uid = studies.study_instance_uid
"""
_COUNT_REQUESTS = """
UPDATE studies SET requests = counted.requests FROM (
    SELECT study_instance_uid, count(*) AS requests FROM requests GROUP BY study_instance_uid
) AS counted WHERE counted.study_instance_uid = studies.study_instance_uid
"""
# every file that was indexed or kept apart is one file on disk; where there are more, the next
# start looks at the study
_COUNT_FILES = """
UPDATE studies SET files = instances + (
    SELECT count(*) FROM conflicts WHERE conflicts.study_instance_uid = studies.study_instance_uid
)
"""
_NUMBER_STUDIES = """
UPDATE studies SET number = counted.number FROM (
    SELECT study_instance_uid, row_number() OVER (ORDER BY created_at, study_instance_uid) AS number
    FROM studies
) AS counted WHERE counted.study_instance_uid = studies.study_instance_uid
"""
_GO_ON_NUMBERING = (
    "SELECT setval(pg_get_serial_sequence('studies', 'number'), max(number)) FROM studies "
    "HAVING count(*) > 0"
)
_TALLY = """
CREATE FUNCTION tally_state() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.state = NEW.state THEN RETURN NULL; END IF;
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO tallies (kind, state, change) VALUES (TG_TABLE_NAME, OLD.state, -1);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO tallies (kind, state, change) VALUES (TG_TABLE_NAME, NEW.state, 1);
    END IF;
    RETURN NULL;
END $$
"""
_TALLIED = """
INSERT INTO tallies (kind, state, change)
SELECT '{table}', state, count(*) FROM {table} GROUP BY state
"""
_TRIGGER = """
CREATE TRIGGER tally_{table} AFTER INSERT OR UPDATE OF state OR DELETE ON {table}
FOR EACH ROW EXECUTE FUNCTION tally_state()
"""


def upgrade() -> None:
    """Add the columns, count what is there, and let triggers go on counting."""
    _studies()
    _requests()
    op.create_table(
        "tallies",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("change", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tallies"),
    )
    op.execute(_TALLY)
    for table in ("requests", "studies", "deliveries"):
        op.execute(_TALLIED.format(table=table))
        op.execute(_TRIGGER.format(table=table))


def _studies() -> None:
    for name in _COUNTS:
        op.add_column("studies", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    op.add_column("studies", sa.Column("fault", sa.String(), nullable=True))
    op.add_column("studies", sa.Column("number", sa.BigInteger(), nullable=True))
    for statement in (_COUNT_STUDIES, _COUNT_REQUESTS, _COUNT_FILES, _NUMBER_STUDIES):
        op.execute(statement)
    for name in _COUNTS:
        op.alter_column("studies", name, server_default=None)
    op.alter_column("studies", "number", nullable=False)
    op.execute("ALTER TABLE studies ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY")
    op.execute(_GO_ON_NUMBERING)
    op.create_unique_constraint("uq_studies_number", "studies", ["number"])
    op.drop_index("ix_studies_created_at", "studies")


def _requests() -> None:
    op.drop_index("ix_requests_state", "requests")
    op.drop_index("ix_requests_study_instance_uid", "requests")
    op.create_index("ix_requests_state_number", "requests", ["state", "number"])
    op.create_index(
        "ix_requests_study_instance_uid_number", "requests", ["study_instance_uid", "number"]
    )
