"""Whether the parts of the node move.

Revision 0003.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of parts."""
    op.create_table(
        "parts",
        sa.Column("part", sa.String(), nullable=False),
        sa.Column("executor_id", sa.String(), nullable=False),
        sa.Column("machine", sa.String(), nullable=False),
        sa.Column("process_id", sa.Integer(), nullable=False),
        sa.Column("process_started", sa.String(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("age_s", sa.Float(), nullable=False),
        sa.Column("limit_s", sa.Float(), nullable=False),
        sa.Column("doing", sa.String(), nullable=False),
        sa.Column("fault", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("part", "executor_id", name="pk_parts"),
    )
