"""/studies over HTTP."""

from __future__ import annotations

from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from server.http.fakes import FakeRecord
from server.record.views import AppliedRoute, StudyRouting, Submitted
from server.rules.explained import ConditionExplained
from server.values import RequestState, StudyState


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


def test_studies_that_no_route_matched_are_listed_alone(
    api: TestClient, record: FakeRecord, study: str
) -> None:
    record.add_study("1.2.9")
    view = record.kept_studies[study]
    why = "no route of the 1 configured matches: head (no instance has Modality = 'MR')"
    summary = replace(view.summary, unrouted=True, unrouted_reason=why)
    record.kept_studies[study] = replace(view, summary=summary)

    (told,) = api.get("/api/v1/studies", params={"unrouted": "true"}).json()
    (other,) = api.get("/api/v1/studies", params={"unrouted": "false"}).json()
    whole = api.get(f"/api/v1/studies/{study}").json()

    assert (told["study_instance_uid"], told["unrouted"]) == (study, True)
    assert told["unrouted_reason"] == whole["unrouted_reason"] == why
    assert (other["study_instance_uid"], other["unrouted"]) == ("1.2.9", False)
    assert whole["unrouted"] is True


def test_the_routes_are_applied_to_a_study(api: TestClient, record: FakeRecord, study: str) -> None:
    condition = ConditionExplained("Modality", "CT", True, ("CT",))
    request = Submitted("request-7", RequestState.QUEUED)
    applied = AppliedRoute("abdomen", True, (condition,), None, request, True)
    record.routings[study] = StudyRouting(study, 1, (applied,), None)

    answer = api.post(f"/api/v1/studies/{study}/route")

    assert answer.status_code == 200
    assert answer.json() == {
        "study_instance_uid": study,
        "study_version": 1,
        "unrouted_reason": None,
        "routes": [
            {
                "name": "abdomen",
                "matches": True,
                "conditions": [
                    {"keyword": "Modality", "pattern": "CT", "holds": True, "values": ["CT"]}
                ],
                "why_not": None,
                "request": {"id": "request-7", "state": "QUEUED"},
                "made": True,
            }
        ],
    }
    assert record.trail[-1].event == "study.routed"
    assert record.trail[-1].actor.startswith("token ")


def test_a_study_that_still_arrives_is_not_routed(api: TestClient, record: FakeRecord) -> None:
    record.add_study("1.2.9", StudyState.RECEIVING)

    assert api.post("/api/v1/studies/1.2.9/route").status_code == 409


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("POST", "/complete"), ("POST", "/route")]
)
def test_a_study_that_is_not_there_is_not_found(api: TestClient, method: str, path: str) -> None:
    answer = api.request(method, f"/api/v1/studies/1.2.3.4{path}")

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:segnode:problem:unknown-study"
