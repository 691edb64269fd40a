"""Run by Alembic: upgrades the connection that `server.record.database.migrate` hands over."""

from __future__ import annotations

from alembic import context

from server.record.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    compare_server_default=True,
    # DBOS keeps its own tables in its own schema
    include_schemas=False,
)
with context.begin_transaction():
    context.run_migrations()
