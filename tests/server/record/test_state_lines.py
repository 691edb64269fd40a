"""Every change of state is one line in the log, once it stands."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy.orm import Session

from server.record import audit
from server.values import Selection, Stage
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
