"""Destinations as configured and as they answer, and the audit trail."""

from __future__ import annotations

from starlette.testclient import TestClient

from dicom_node.errors import TransientDeliveryError
from dicom_node.fakes import FakeDestination
from server.errors import RecordUnavailable
from server.http.fakes import FakeRecord


def test_destinations_are_listed_as_configured(api: TestClient) -> None:
    assert api.get("/api/v1/destinations").json() == [
        {
            "name": "pacs",
            "ae_title": "PACS",
            "host": "127.0.0.1",
            "port": 4242,
            "kinds": ["SEG", "SR"],
        }
    ]


def test_a_destination_that_answers_is_ok(api: TestClient) -> None:
    answer = api.post("/api/v1/destinations/pacs/echo")

    assert answer.status_code == 200
    assert answer.json()["destination"] == "pacs"
    assert answer.json()["ok"] is True


def test_the_record_being_away_holds_no_answer_back(api: TestClient, record: FakeRecord) -> None:
    record.away = RecordUnavailable("the database does not answer")

    answer = api.post("/api/v1/destinations/pacs/echo")

    assert (answer.status_code, answer.json()["tried_now"]) == (200, 0)


def test_a_destination_that_does_not_answer_says_why(
    api: TestClient, pacs: FakeDestination
) -> None:
    pacs.failures.append(TransientDeliveryError("nobody listens on 4242", destination="pacs"))

    answer = api.post("/api/v1/destinations/pacs/echo")

    assert answer.status_code == 502
    assert answer.json()["detail"] == "nobody listens on 4242"


def test_an_unknown_destination_is_not_found_and_the_known_are_named(api: TestClient) -> None:
    answer = api.post("/api/v1/destinations/attic/echo")

    assert answer.status_code == 404
    assert "pacs" in answer.json()["detail"]


def test_the_audit_trail_comes_oldest_first_and_from_a_time_on(api: TestClient, study: str) -> None:
    # Arrange: two lines, a second apart
    body = {"study_instance_uid": study, "targets": ["liver"]}
    taken = api.post("/api/v1/requests", json=body).json()
    api.post(f"/api/v1/requests/{taken['id']}/cancel")

    # Act
    trail = api.get("/api/v1/audit").json()
    later = api.get("/api/v1/audit", params={"since": trail[1]["at"]}).json()

    # Assert
    assert [line["event"] for line in trail] == ["request.queued", "request.cancelled"]
    assert trail[0]["request_id"] == taken["id"]
    assert later == trail[1:]


def test_a_time_without_its_zone_is_refused(api: TestClient) -> None:
    answer = api.get("/api/v1/audit", params={"since": "2026-01-01T00:00:00"})

    assert answer.status_code == 422
