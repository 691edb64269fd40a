"""Deliveries of requests that ended otherwise than DONE are withdrawn.

Revision 0008. Before it they waited for ever, and were counted as pending.
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# the trigger on deliveries counts them anew
_WITHDRAW = """
UPDATE deliveries SET state = 'withdrawn', next_try_at = NULL FROM requests
WHERE requests.id = deliveries.request_id
  AND requests.state IN ('REJECTED', 'FAILED', 'CANCELLED', 'SUPERSEDED')
  AND deliveries.state IN ('pending', 'retrying')
"""


def upgrade() -> None:
    """Withdraw them."""
    op.execute(_WITHDRAW)
