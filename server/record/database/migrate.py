"""The tables are brought up to date at start, by whichever process comes first."""

from __future__ import annotations

import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from dbos import DBOS
from sqlalchemy import Engine, text

from server.record.database.engine import answering, dbos_url
from server.record.database.jobs import DBOS_SCHEMA

# any constant will do, as long as every version of Segnode takes the same one
_LOCK = 0x5E6_0DE
_ASK_AGAIN_S = 0.1


def upgrade(engine: Engine) -> None:
    """Bring our tables and DBOS's to this version; RecordUnavailable when PostgreSQL is away.

    Processes that start together wait for each other. They ask for the lock again and again, each
    time in a statement that ends at once: DBOS builds indexes concurrently, which waits for every
    statement that is open, so that one which waited for the lock would be waited for in turn.
    """
    with (
        answering(),
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as holder,
    ):
        while not holder.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}):
            time.sleep(_ASK_AGAIN_S)  # to wait within the statement would block DBOS, as said above
        try:
            with engine.begin() as connection:
                config = alembic_config()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
            url = engine.url.render_as_string(hide_password=False)
            DBOS.migrate(dbos_url(url), schema=DBOS_SCHEMA)
        finally:
            holder.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})


def alembic_config() -> Config:
    """Alembic's settings: the migrations beside this file, no file of its own."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
