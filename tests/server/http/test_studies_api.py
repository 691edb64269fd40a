"""/studies, /destinations and /audit over HTTP."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from dicom_node.errors import TransientDeliveryError
from dicom_node.fakes import FakeDestination
from server.http.fakes import FakeRecord
from server.values import StudyState


def test_studies_are_listed_with_their_sizes(api: TestClient, study: str) -> None:
    (told,) = api.get("/api/v1/studies").json()

    assert told["study_instance_uid"] == study
    assert (told["state"], told["version"]) == ("COMPLETE", 1)
    assert (told["series"], told["instances"]) == (1, 20)


def test_studies_come_in_pages(api: TestClient, record: FakeRecord, study: str) -> None:
    record.add_study("1.2.8")
    record.add_study("1.2.9")

    first = api.get("/api/v1/studies", params={"limit": 2})
    rest = api.get(first.links["next"]["url"])
    newest = api.get("/api/v1/studies", params={"limit": 1, "order": "newest"})

    told = [[each["study_instance_uid"] for each in page.json()] for page in (first, rest, newest)]
    assert told == [[study, "1.2.8"], ["1.2.9"], ["1.2.9"]]
    assert "Link" not in rest.headers


def test_a_study_tells_its_series_and_versions(api: TestClient, study: str) -> None:
    told = api.get(f"/api/v1/studies/{study}").json()

    assert [each["modality"] for each in told["series"]] == ["CT"]
    assert [each["evidence"] for each in told["versions"]] == ["quiet"]
    assert told["conflicts"] == []


def test_a_study_is_complete_when_a_person_says_so(api: TestClient, record: FakeRecord) -> None:
    record.add_study("1.2.9", StudyState.RECEIVING)

    before = api.get("/api/v1/studies/1.2.9").json()["state"]
    answer = api.post("/api/v1/studies/1.2.9/complete")

    assert before == "RECEIVING"
    assert (answer.status_code, answer.json()["state"]) == (200, "COMPLETE")
    assert record.trail[-1].event == "study.complete"
    assert record.trail[-1].actor.startswith("token ")


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/complete")])
def test_a_study_that_is_not_there_is_not_found(api: TestClient, method: str, path: str) -> None:
    answer = api.request(method, f"/api/v1/studies/1.2.3.4{path}")

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:segnode:problem:unknown-study"


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
