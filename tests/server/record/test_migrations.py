"""The migrations make exactly the tables that the code knows, whoever runs them, however often."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, text

from server.record.database.engine import open_engine, record_url
from server.record.database.migrate import alembic_config, upgrade
from server.record.tables import Base


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


def test_head_is_what_the_code_knows(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_there_is_one_head() -> None:
    assert len(ScriptDirectory.from_config(alembic_config()).get_heads()) == 1


def test_processes_that_start_together_wait_for_each_other(postgres_url: str) -> None:
    # Arrange: an empty database
    admin = create_engine(record_url(postgres_url), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE fresh"))
    engine = open_engine(postgres_url.replace("/segnode?", "/fresh?"))

    # Act
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: upgrade(engine), range(3)))

    # Assert: ours and DBOS's are there
    with engine.connect() as connection:
        for table in ("requests", "dbos.workflow_status"):
            assert connection.scalar(text(f"SELECT count(*) FROM {table}")) == 0
    engine.dispose()
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE fresh WITH (FORCE)"))
    admin.dispose()
