"""Why no route matched a study.

Revision 0007. Of studies of before it is not known until the routes are applied to them again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and the index that lists such studies."""
    op.add_column("studies", sa.Column("unrouted_reason", sa.String(), nullable=True))
    op.create_index(
        "ix_studies_unrouted",
        "studies",
        ["number"],
        postgresql_where=sa.text("unrouted_reason IS NOT NULL"),
    )
