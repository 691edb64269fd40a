"""Who works on a request: its policy and its segmenter.

Revision 0002. Requests of before have neither: the worker's own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the two columns."""
    op.add_column("requests", sa.Column("policy", sa.String(), nullable=True))
    op.add_column("requests", sa.Column("segmenter", sa.String(), nullable=True))
