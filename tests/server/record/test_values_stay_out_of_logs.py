"""Whatever PostgreSQL refuses in whichever part of the node: no statement, no value, no patient
attribute in log or answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from server.compose.heartbeat import part_table
from server.fakes import FakeStages, FolderDestination
from server.http.app import create_app
from server.http.fakes import FakePictures
from server.http.ports import Services
from server.http.tokens import tokens_of
from server.nodes.intake import ATTEMPTS, Intake
from server.record.counting import RecordCounting
from server.settings import RouteSettings
from server.work.deadlines import StageLimits, StageWatch
from server.work.delivery import DeliveryStep, RetryPolicy
from server.work.stages import StageSteps
from tests.server.conftest import Desk

STUDY = "1.2.826.0.1.3680043.8.498.1"
TOKEN = "a-token-of-good-length"
TELLING = {
    "StudyDate": "19991231",
    "PatientSex": "PATSEX",
    "PatientAge": "077Y",
    "InstitutionName": "Charite Telling",
    "Modality": "CT",
}
WORDS = [
    "19991231",
    "PATSEX",
    "077Y",
    "Telling",
    "INSERT",
    "UPDATE ",
    "SELECT ",  # the statement; a request is SELECTED
    "[SQL",
    "parameters",
]
ROUTE = RouteSettings(name="abdomen", when={"Modality": "CT"}, targets=("liver",))


class DueWatch:
    """A watch on which one study is due until it is forgotten."""

    def __init__(self) -> None:
        self.studies = [STUDY]

    def note(self, study_instance_uid: str) -> None: ...

    def changed(self) -> set[str]:
        return set(self.studies)

    def due(self, quiet_s: float, forced: object = ()) -> list[str]:
        del quiet_s, forced
        return list(self.studies)

    def forget(self, study_instance_uid: str) -> bool:
        self.studies.remove(study_instance_uid)
        return True


def refuse(desk: Any, table: str, event: str = "INSERT OR UPDATE") -> None:
    """Let PostgreSQL refuse every change of a table, and quote the whole row as it does with its
    own errors.
    """
    with desk.sessions.begin() as session:
        session.execute(
            text(
                f"CREATE FUNCTION refuse_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "RAISE EXCEPTION USING ERRCODE = '22003', MESSAGE = 'Telling: ' || NEW, "
                "DETAIL = 'Failing row contains ' || NEW; END $$"
            )
        )
        session.execute(
            text(
                f"CREATE TRIGGER refuse_{table} BEFORE {event} ON {table} "
                f"FOR EACH ROW EXECUTE FUNCTION refuse_{table}()"
            )
        )


def put(desk: Any) -> None:
    desk.held.put(3, attributes=TELLING, series_description="Telling^Series")


def silent(log: str) -> None:
    """No telling word, and not nothing at all."""
    assert log
    for word in WORDS:
        assert word not in log, word


@pytest.fixture
def telling(make_desk: Callable[..., Desk], caplog: pytest.LogCaptureFixture) -> Desk:
    caplog.set_level(logging.DEBUG, logger="server")
    return make_desk(ROUTE)


def test_intake(telling: Desk, caplog: pytest.LogCaptureFixture) -> None:
    # Arrange
    refuse(telling, "instances")
    put(telling)
    clock = iter(range(0, 10_000, 100))
    watch = DueWatch()
    intake = Intake(watch, lambda: telling.record.completion, 0.0, clock=lambda: next(clock))

    # Act
    for _ in range(ATTEMPTS):
        intake.tick()

    # Assert
    assert watch.studies == []
    (rejected,) = telling.record.requests()
    assert rejected.state == "REJECTED"
    assert rejected.error is not None
    assert "SQLSTATE 22003" in rejected.error
    for said in (caplog.text, rejected.error, str(telling.record.audit())):
        silent(said)


@pytest.mark.parametrize("table", ["instances", "studies", "requests", "audit"])
def test_http(telling: Desk, caplog: pytest.LogCaptureFixture, tmp_path: Path, table: str) -> None:
    # Arrange
    if table != "instances":
        put(telling)
        telling.record.complete(STUDY, actor="test")
        telling.held.put(1, first=9, attributes=TELLING)
    else:
        put(telling)
    refuse(telling, table)
    counting = RecordCounting(telling.sessions, part_table(telling.sessions))
    app = create_app(
        Services(telling.record, counting, telling.deliveries, FakePictures(), (), tmp_path, 0),
        tokens_of((TOKEN,)),
    )
    api = TestClient(
        app, headers={"Authorization": f"Bearer {TOKEN}"}, raise_server_exceptions=False
    )

    # Act
    answer = api.post(f"/api/v1/studies/{STUDY}/complete")

    # Assert
    assert answer.status_code == 500
    assert answer.json()["type"] == "urn:segnode:problem:record-refused"
    silent(answer.text)
    for word in WORDS:
        assert word not in caplog.text, word


@pytest.mark.parametrize("stage", ["select", "outline", "write", "send"])
def test_a_stage_ends_the_request_with_a_sentence(
    telling: Desk, caplog: pytest.LogCaptureFixture, tmp_path: Path, stage: str
) -> None:
    # Arrange: what the stage writes is refused, the request's end is not
    put(telling)
    telling.record.complete(STUDY, actor="test")
    request_id = telling.record.requests()[0].id
    steps = StageSteps(FakeStages(tmp_path), telling.runs, StageWatch(telling.runs, StageLimits()))
    run: dict[str, Callable[[], object]] = {
        "select": lambda: steps.select(request_id, 1),
        "outline": lambda: steps.outline(request_id, 1, 0),
        "write": lambda: steps.write(request_id, 1),
        "send": lambda: steps.send(request_id, 1),
    }
    before = list(run)[: list(run).index(stage)]
    for each in before:
        run[each]()
    if stage == "write":
        steps.finish(request_id, 1, 0)
    with telling.sessions.begin() as session:
        session.execute(
            text(
                "ALTER TABLE requests ADD CONSTRAINT telling "
                "CHECK (state IN ('FAILED', 'REJECTED') OR stage IS NULL) NOT VALID"
            )
        )

    # Act
    assert run[stage]() is None

    # Assert
    view = telling.record.request(request_id)
    assert (view.state, view.failed_stage) == ("FAILED", stage)
    assert "SQLSTATE 23514" in str(view.error)
    silent(str(view.error))
    for word in WORDS:
        assert word not in caplog.text, word


def test_a_delivery_ends_too(telling: Desk, tmp_path: Path) -> None:
    # Arrange
    put(telling)
    telling.record.complete(STUDY, actor="test")
    request_id = telling.record.requests()[0].id
    steps = StageSteps(FakeStages(tmp_path), telling.runs, StageWatch(telling.runs, StageLimits()))
    steps.select(request_id, 1)
    steps.outline(request_id, 1, 0)
    steps.finish(request_id, 1, 0)
    steps.write(request_id, 1)
    steps.send(request_id, 1)
    with telling.sessions.begin() as session:
        session.execute(
            text(
                "ALTER TABLE deliveries ADD CONSTRAINT telling CHECK (state <> 'delivered') NOT "
                "VALID"
            )
        )
    (tmp_path / "pacs").mkdir()
    sending = DeliveryStep(
        {name: FolderDestination(name, tmp_path / "pacs") for name in ("pacs", "archive")},
        telling.deliveries,
        RetryPolicy(3, 1.0, 1.0),
    )

    # Act
    from server.record.deliveries import DeliveryAttempt

    for name in ("pacs", "archive"):
        assert sending.attempt(DeliveryAttempt(request_id, name, 1, 1)) == "failed"

    # Assert
    view = telling.record.request(request_id)
    assert view.state == "FAILED"
    assert {delivery.state for delivery in view.deliveries} == {"dead"}
    silent(str(view.error))
