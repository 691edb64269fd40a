"""/studies over HTTP."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

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
