"""Roles of the embedded database: its owner makes tables, the node's role owns nothing.

A fault in a statement of the node's can then neither change tables, nor take a line out of the
audit trail, nor run a program of the database server's machine, which a superuser may.
"""

from __future__ import annotations

from sqlalchemy import Connection, make_url, text

from server.record.database.engine import answering, open_engine
from server.record.database.jobs import DBOS_SCHEMA
from server.record.database.migrate import upgrade

APPLICATION_ROLE = "segnode"
_LOCK = 0x5E6_0DF  # beside the migrations' own
_MAKE_ROLE = (
    f"CREATE ROLE {APPLICATION_ROLE} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION"
)
_GRANTS = (
    *(
        statement
        for schema in ("public", DBOS_SCHEMA)
        for statement in (
            f"GRANT USAGE ON SCHEMA {schema} TO {APPLICATION_ROLE}",
            (
                f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO "
                f"{APPLICATION_ROLE}"
            ),
            f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {APPLICATION_ROLE}",
            f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {APPLICATION_ROLE}",
        )
    ),
    # a trigger holds it too
    f"REVOKE UPDATE, DELETE ON audit FROM {APPLICATION_ROLE}",
)


def application_url(owner_url: str) -> str:
    """Update the tables at `owner_url`; the URL of the node's own role. RecordUnavailable.

    Doing so again is harmless, also by several processes at once.
    """
    engine = open_engine(owner_url, pool_size=2)
    try:
        upgrade(engine)
        with answering(), engine.begin() as connection:
            _grant(connection)
    finally:
        engine.dispose()
    url = make_url(owner_url).set(username=APPLICATION_ROLE)
    return url.render_as_string(hide_password=False)


def _grant(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    exists = connection.scalar(
        text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": APPLICATION_ROLE}
    )
    if not exists:
        connection.execute(text(_MAKE_ROLE))
    for statement in _GRANTS:
        connection.execute(text(statement))
