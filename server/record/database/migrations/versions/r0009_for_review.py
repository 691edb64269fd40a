"""Which targets are in doubt, and whether their request holds its results back for that.

Revision 0009. Requests of before were sent whatever was in doubt.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_COLUMNS = (("targets", "for_review"), ("requests", "hold_doubtful"))


def upgrade() -> None:
    """Add the two columns."""
    for table, name in _COLUMNS:
        column: sa.Column[bool] = sa.Column(
            name, sa.Boolean(), nullable=False, server_default=sa.false()
        )
        op.add_column(table, column)
        op.alter_column(table, name, server_default=None)
