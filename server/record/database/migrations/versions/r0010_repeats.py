"""What decides a request's answer, and whose answer it gave again.

Revision 0010. Requests of before have no digest, so nothing repeats them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the three columns."""
    op.add_column(
        "requests", sa.Column("forced", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.alter_column("requests", "forced", server_default=None)
    op.add_column("requests", sa.Column("answer_digest", sa.String(), nullable=True))
    op.add_column("requests", sa.Column("repeats", sa.String(), nullable=True))
    op.create_foreign_key("fk_requests_repeats", "requests", "requests", ["repeats"], ["id"])
