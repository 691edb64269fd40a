"""The node works as a role that owns nothing: enough for every request, too little to change a
table or the audit trail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import ProgrammingError

from server.record.database.engine import open_engine
from server.record.database.migrate import upgrade
from server.record.database.roles import APPLICATION_ROLE, application_url
from server.values import RequestState
from server.work.worker import Worker
from tests.server.conftest import Desk


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The database as the node's role sees it."""
    engine = open_engine(application_url(database_url))
    yield engine
    engine.dispose()


def test_it_is_no_superuser_and_owns_nothing(engine: Engine, database_url: str) -> None:
    assert application_url(database_url) == application_url(database_url)  # once more is harmless
    with engine.connect() as connection:
        role = connection.execute(
            text(
                "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole FROM pg_roles "
                "WHERE rolname = current_user"
            )
        ).one()
        owned = connection.scalar(
            text("SELECT count(*) FROM pg_class WHERE pg_get_userbyid(relowner) = current_user")
        )

    assert tuple(role) == (APPLICATION_ROLE, False, False, False)
    assert owned == 0


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE more (x int)",
        "DROP TABLE turns",
        "ALTER TABLE requests ADD COLUMN more int",
        "DROP TRIGGER audit_is_append_only ON audit",
        "ALTER TABLE audit DISABLE TRIGGER ALL",
        "DELETE FROM audit",
        "UPDATE audit SET actor = 'nobody'",
        "TRUNCATE audit",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT pg_read_file('/etc/passwd')",
        "CREATE ROLE other SUPERUSER",
    ],
)
def test_what_it_may_not(engine: Engine, statement: str) -> None:
    with (
        pytest.raises(ProgrammingError, match=r"permission denied|must be owner"),
        engine.begin() as connection,
    ):
        connection.execute(text(statement))


def test_it_can_look_whether_the_tables_are_up_to_date(engine: Engine) -> None:
    upgrade(engine)


def test_a_worker_does_all_its_work_as_it(desk: Desk, start_worker: Callable[..., Worker]) -> None:
    request_id = desk.request("liver", "spleen", destinations=("pacs", "archive"))
    desk.url = application_url(desk.url)

    start_worker()

    assert desk.wait_for_end(request_id) == RequestState.DONE
