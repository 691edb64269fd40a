"""Every change of state is one line in the log, once it stands."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from dicom_node.errors import TransientDeliveryError
from dicom_node.fakes import FakeDestination
from dicom_node.log_text import JsonFormatter
from server.errors import InputError
from server.fakes import FakeStages
from server.record import audit
from server.record.deliveries import DeliveryAttempt
from server.values import Selection, Stage
from server.work.deadlines import StageLimits, StageWatch
from server.work.delivery import DeliveryStep, RetryPolicy
from server.work.stages import StageSteps
from tests.server.conftest import Desk


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.endswith("audit")]


def test_a_request_and_its_study_can_be_followed(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "server.record.audit")
    request_id = desk.request()
    desk.runs.enter(request_id, 1, Stage.SELECT)
    desk.runs.selected(request_id, 1, Selection("1.2", (1, 2, 3), ()), 0.1)
    study = desk.record.request(request_id).study_instance_uid

    told = lines(caplog)

    assert told.count(f"study {study}: COMPLETE after RECEIVING") == 1
    assert [line for line in told if line.startswith(f"request {request_id} ")] == [
        f"request {request_id} on study {study}: QUEUED",
        f"request {request_id} on study {study}: SELECTED after QUEUED",
    ]


def test_a_delivery_and_a_route_are_named(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "server.record.audit")
    with desk.sessions.begin() as session:
        audit.note(
            session,
            "delivery.retrying",
            study="1.2",
            request_id="r",
            before="pending",
            after="retrying",
            by_route="abdomen",
            destination="pacs",
        )
        assert lines(caplog) == []

    assert lines(caplog) == [
        "delivery to pacs of request r of route abdomen on study 1.2: retrying after pending"
    ]


def test_what_is_taken_back_is_not_told(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "server.record.audit")
    with desk.sessions.begin() as other, Session(other.get_bind()) as session:
        audit.note(session, "study.complete", study="1.2", before="RECEIVING", after="COMPLETE")
        session.rollback()
        audit.note(session, "study.complete", study="1.3", after="COMPLETE")
        session.commit()

    assert lines(caplog) == ["study 1.3: COMPLETE"]


class Objects(logging.Handler):
    """Keeps what JSON says of each record, read again."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter("work"))
        self.objects: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.objects.append(json.loads(self.format(record)))


@pytest.fixture
def objects(caplog: pytest.LogCaptureFixture) -> Iterator[Objects]:
    caplog.set_level(logging.INFO, "server")
    handler = Objects()
    logging.getLogger("server").addHandler(handler)
    yield handler
    logging.getLogger("server").removeHandler(handler)


def test_json_names_request_and_study_of_a_change_of_state(desk: Desk, objects: Objects) -> None:
    request_id = desk.request()
    study = desk.record.request(request_id).study_instance_uid

    queued = [line for line in objects.objects if line["message"].endswith(": QUEUED")]

    assert [(line["request"], line["study"]) for line in queued] == [(request_id, study)]


def test_json_names_the_request_of_what_fails(desk: Desk, objects: Objects, tmp_path: Path) -> None:
    # Arrange
    def hook(point: str) -> None:
        if point == "write":
            raise InputError("the stage's own words")

    request_id = desk.request(destinations=("pacs",))
    watch = StageWatch(desk.runs, StageLimits())
    pacs = FakeDestination("pacs", [TransientDeliveryError("away", destination="pacs")])
    delivery = DeliveryAttempt(request_id, "pacs", 1, 1)

    # Act
    steps = StageSteps(FakeStages(tmp_path, hook), desk.runs, watch)
    steps.select(request_id, 1)
    steps.outline(request_id, 1, 0)
    steps.finish(request_id, 1, 0)
    steps.write(request_id, 1)
    DeliveryStep({"pacs": pacs}, desk.deliveries, RetryPolicy(1, 5.0, 600.0)).attempt(delivery)

    # Assert
    study = desk.record.request(request_id).study_instance_uid
    (stage,) = [line for line in objects.objects if line["logger"] == "server.work.stages"]
    (delivered,) = [line for line in objects.objects if line["logger"] == "server.work.delivery"]
    assert stage["message"] == f"request {request_id} ended in write: the stage's own words"
    assert (stage["request"], stage["study"]) == (request_id, study)
    assert delivered["request"] == request_id
