"""Why a series was selected, and which kinds of results a destination was sent.

Revision 0005. Requests of before say neither.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the two columns."""
    op.add_column("requests", sa.Column("series_choice", sa.String(), nullable=True))
    op.add_column("deliveries", sa.Column("kinds", JSONB(), nullable=False, server_default="[]"))
    op.alter_column("deliveries", "kinds", server_default=None)
