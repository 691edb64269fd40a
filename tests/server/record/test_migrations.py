"""The migrations make exactly the tables that the code knows, whoever runs them, however often."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, text

from server.record import reading
from server.record.database.engine import Sessions, open_engine, record_url
from server.record.database.migrate import alembic_config, upgrade
from server.record.requests import note_progress
from server.record.tables import Base
from server.values import StepProgress, WorkStep

OLDER_STUDY = """
INSERT INTO studies (study_instance_uid, state, version, instances, series, requests, files,
                     created_at, updated_at)
VALUES ('1.2.3', 'COMPLETE', 1, 20, 1, 1, 20, now(), now())
"""
OLDER_REQUEST = """
INSERT INTO requests (id, study_instance_uid, study_version, state, actor, priority, run,
                      pipeline_version, stage_attempts, warnings, stage_seconds, encoder_passes,
                      created_at, updated_at)
VALUES ('r1', '1.2.3', 1, 'SEGMENTING', 'jo', 50, 1, 1, 1, '[]', '{}', 0, now(), now())
"""

OLDER_DELIVERIES = """
INSERT INTO deliveries (request_id, destination, state, attempts, next_try_at, kinds)
SELECT 'r' || n, state, state, 1, now(), '[]' FROM generate_series(1, 6) AS n,
       unnest(ARRAY['pending', 'retrying', 'delivered', 'dead']) AS state
"""
OLDER_STATES = ("SEGMENTING", "FAILED", "REJECTED", "CANCELLED", "SUPERSEDED", "DONE")


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


@pytest.fixture
def older(postgres_url: str) -> Iterator[Engine]:
    """A database with the tables of revision 0005, and a request in each of several states."""
    admin = create_engine(record_url(postgres_url), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE older"))
    engine = open_engine(postgres_url.replace("/segnode?", "/older?"))
    with engine.begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0005")
        connection.execute(text(OLDER_STUDY))
        for number, state in enumerate(OLDER_STATES, start=1):
            request = OLDER_REQUEST.replace("r1", f"r{number}").replace("SEGMENTING", state)
            connection.execute(text(request))
        connection.execute(text(OLDER_DELIVERIES))
    yield engine
    engine.dispose()
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE older WITH (FORCE)"))
    admin.dispose()


def test_a_request_of_before_tells_no_progress_and_can_tell_it_now(older: Engine) -> None:
    upgrade(older)

    with Sessions(older).begin() as session:
        assert reading.request(session, "r1").progress is None
        note_progress(session, "r1", StepProgress(WorkStep.ENCODE, 3, 20))
    with Sessions(older).begin() as session:
        told = reading.request(session, "r1").progress
    assert told == StepProgress(WorkStep.ENCODE, 3, 20)


def test_what_no_request_of_before_will_send_is_withdrawn_and_counted(older: Engine) -> None:
    upgrade(older)

    with older.connect() as connection:
        deliveries = connection.execute(
            text("SELECT request_id, destination, state, next_try_at IS NULL FROM deliveries")
        ).all()
        tallies: dict[str, int] = dict(
            connection.execute(
                text(
                    "SELECT state, sum(change)::int FROM tallies WHERE kind = 'deliveries' "
                    "GROUP BY state"
                )
            ).all()
        )
    before = {(request, state) for request, state, after, _ in deliveries if after == "withdrawn"}
    assert before == {(f"r{n}", state) for n in (2, 3, 4, 5) for state in ("pending", "retrying")}
    assert all(idle == (after == "withdrawn") for *_, after, idle in deliveries)
    assert tallies == {"pending": 2, "retrying": 2, "delivered": 6, "dead": 6, "withdrawn": 8}


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
