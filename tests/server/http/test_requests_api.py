"""/requests over HTTP: the contract's fields, states and statuses."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from agent.values import TargetStatus
from dicom_node.values import Code, ResultKind
from models.errors import LanguageMisconfigured, UnknownModel, WeightsMissing
from server.errors import PictureFailed, TurnsGone
from server.http.app import PICTURES_AT_ONCE
from server.http.fakes import FakePictures, FakeRecord
from server.record.views import DeliveryView, ResultView, TargetView, TurnView
from server.values import DeliveryState, RequestState, StudyState

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def submit(api: TestClient, study: str, *targets: str) -> str:
    """Ask, and give the new request's id."""
    body = {"study_instance_uid": study, "targets": list(targets) or ["liver"]}
    answer = api.post("/api/v1/requests", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_the_same_names_the_request_whose_results_it_gives_unless_it_is_forced(
    api: TestClient, study: str
) -> None:
    body = {"study_instance_uid": study, "targets": ["liver"]}
    forced = body | {"force": True}

    first, again, anew = (
        api.post("/api/v1/requests", json=each).json()["id"] for each in (body, body, forced)
    )

    told = [api.get(f"/api/v1/requests/{each}").json()["repeats"] for each in (first, again, anew)]
    assert told == [None, first, None]


def test_a_request_is_taken_and_found_where_it_says(api: TestClient, study: str) -> None:
    answer = api.post(
        "/api/v1/requests", json={"study_instance_uid": study, "targets": ["left kidney"]}
    )

    assert answer.status_code == 202
    assert set(answer.json()) == {"id", "state"}
    assert answer.json()["state"] == "QUEUED"
    found = api.get(answer.headers["Location"])
    assert found.status_code == 200
    assert found.json()["id"] == answer.json()["id"]


def test_everything_asked_reaches_the_record(
    api: TestClient, record: FakeRecord, study: str
) -> None:
    body = {
        "study_instance_uid": study,
        "targets": ["liver", "milt"],
        "series_instance_uid": f"{study}.1",
        "destinations": ["archive", "pacs"],
        "priority": 7,
        "policy": "openai",
        "segmenter": "medsam2",
    }

    answer = api.post("/api/v1/requests", json=body)

    kept = record.kept_requests[answer.json()["id"]]
    assert [target.text for target in kept.targets] == ["liver", "milt"]
    assert kept.series_instance_uid == f"{study}.1"
    assert [delivery.destination for delivery in kept.deliveries] == ["archive", "pacs"]
    assert kept.priority == 7
    assert (kept.policy, kept.segmenter) == ("openai", "medsam2")
    assert kept.actor.startswith("token ")


def test_a_request_whole_has_the_fields_of_the_contract(
    api: TestClient, record: FakeRecord, study: str
) -> None:
    # Arrange: as a worker and a delivery would leave it
    request_id = submit(api, study)
    liver = TargetView(
        index=0,
        text="liver",
        structure="liver",
        code=Code("10200004", "SCT", "Liver"),
        laterality=None,
        status=TargetStatus.SEGMENTED,
        reason="",
        volume_ml=412.5,
        turns=21,
        confidence=0.93,
        warnings=(),
    )
    record.kept_requests[request_id] = replace(
        record.kept_requests[request_id],
        state=RequestState.DONE,
        targets=(liver,),
        results=(ResultView(ResultKind.SEG, "1.2.3", "1.2.4", "1.2.840", "work/seg"),),
        deliveries=(
            DeliveryView("pacs", DeliveryState.DELIVERED, 1, None, None, NOON, (ResultKind.SEG,)),
        ),
        series_choice="It is the only series.",
        warnings=("slice 3 is thick",),
        ended_at=NOON,
    )

    # Act
    told = api.get(f"/api/v1/requests/{request_id}").json()

    # Assert
    assert told["state"] == "DONE"
    assert told["study_instance_uid"] == study
    (target,) = told["targets"]
    assert target["code"] == {"value": "10200004", "scheme": "SCT", "meaning": "Liver"}
    assert target["status"] == "segmented"
    assert (target["volume_ml"], target["turns"], target["confidence"]) == (412.5, 21, 0.93)
    (result,) = told["results"]
    assert (result["kind"], result["sop_instance_uid"]) == ("SEG", "1.2.3")
    assert "path" not in result  # a place on the server's disk is nobody's business
    (delivery,) = told["deliveries"]
    assert (delivery["destination"], delivery["state"]) == ("pacs", "delivered")
    assert (delivery["delivered_at"], delivery["kinds"]) == ("2026-05-01T12:00:00Z", ["SEG"])
    assert told["series_choice"] == "It is the only series."
    assert (told["policy"], told["segmenter"]) == ("locator", "litemedsam")
    assert told["error"] is None
    assert told["warnings"] == ["slice 3 is thick"]


def test_requests_are_listed_oldest_first(api: TestClient, study: str) -> None:
    ids = [submit(api, study) for _ in range(3)]

    told = api.get("/api/v1/requests").json()

    assert [each["id"] for each in told] == ids
    assert {"id", "state", "study_instance_uid"} <= set(told[0])


def test_a_list_comes_in_pages(api: TestClient, study: str) -> None:
    ids = [submit(api, study) for _ in range(5)]

    first = api.get("/api/v1/requests", params={"limit": 2, "state": "QUEUED"})
    second = api.get(first.links["next"]["url"])
    last = api.get(second.links["next"]["url"])

    assert [[each["id"] for each in page.json()] for page in (first, second, last)] == [
        ids[:2],
        ids[2:4],
        ids[4:],
    ]
    assert "state=QUEUED" in second.links["next"]["url"]
    assert "Link" not in last.headers


def test_a_list_that_names_no_size_has_a_screenful(api: TestClient, study: str) -> None:
    ids = [submit(api, study) for _ in range(51)]

    answer = api.get("/api/v1/requests")

    assert [each["id"] for each in answer.json()] == ids[:50]
    assert answer.links["next"]["url"].startswith("/api/v1/requests?")


def test_a_list_can_begin_with_the_newest(api: TestClient, study: str) -> None:
    ids = [submit(api, study) for _ in range(3)]

    first = api.get("/api/v1/requests", params={"order": "newest", "limit": 2})
    rest = api.get(first.links["next"]["url"])

    assert [each["id"] for each in (*first.json(), *rest.json())] == ids[::-1]


def test_a_list_can_be_of_one_study(api: TestClient, record: FakeRecord, study: str) -> None:
    record.add_study("1.2.9")
    submit(api, study)
    other = submit(api, "1.2.9")

    told = api.get("/api/v1/requests", params={"study_instance_uid": "1.2.9"}).json()

    assert [each["id"] for each in told] == [other]


def test_a_row_of_a_list_has_the_request_but_not_what_hangs_on_it(
    api: TestClient, study: str
) -> None:
    submit(api, study)

    (row,) = api.get("/api/v1/requests").json()

    assert {"id", "state", "study_instance_uid", "error", "route", "created_at"} <= set(row)
    assert not {"targets", "results", "deliveries", "number"} & set(row)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UnknownModel("segmenter", "gpt", ("litemedsam",)), "unknown-model"),
        (WeightsMissing("MedSAM2_latest", Path("/w"), "fetch them"), "weights-missing"),
        (LanguageMisconfigured("language.endpoints", "name a server"), "no-language-model"),
    ],
)
def test_models_that_are_not_here_are_the_callers_business(
    api: TestClient, record: FakeRecord, study: str, error: Exception, kind: str
) -> None:
    record.away = error

    answer = api.post("/api/v1/requests", json={"study_instance_uid": study, "targets": ["liver"]})

    assert answer.status_code == 422
    assert answer.json()["type"].endswith(kind)
    assert answer.json()["detail"] == str(error)


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0},
        {"limit": 1001},
        {"limit": "many"},
        {"cursor": -1},
        {"cursor": 2**63},  # more than PostgreSQL would take
        {"cursor": "elsewhere"},
        {"order": "by name"},
        {"study_instance_uid": "1.2\n"},
        {"study_instance_uid": "1" * 65},
        {"state": "BORED"},
    ],
)
def test_a_page_that_cannot_be_is_refused(api: TestClient, params: dict[str, Any]) -> None:
    answer = api.get("/api/v1/requests", params=params)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_list_can_be_of_one_state(api: TestClient, study: str) -> None:
    kept, ended = submit(api, study), submit(api, study)
    api.post(f"/api/v1/requests/{ended}/cancel")

    told = api.get("/api/v1/requests", params={"state": "QUEUED"}).json()

    assert [each["id"] for each in told] == [kept]


def test_turns_come_as_they_are_in_the_trace(
    api: TestClient, record: FakeRecord, study: str
) -> None:
    request_id = submit(api, study)
    turn = {"action": {"kind": "stop"}, "outcome": "stopped"}
    record.kept_turns[request_id] = (TurnView(0, 11, 2, turn, NOON),)

    told = api.get(f"/api/v1/requests/{request_id}/turns").json()

    assert told == [
        {
            "target_index": 0,
            "slice_index": 11,
            "turn_index": 2,
            "turn": turn,
            "at": "2026-05-01T12:00:00Z",
            "n": 0,
        }
    ]


@pytest.fixture
def two_turns(api: TestClient, record: FakeRecord, study: str) -> str:
    """The path of the turns of a request that is DONE and has two of them, of two targets."""
    request_id = submit(api, study)
    record.kept_turns[request_id] = (
        TurnView(0, 11, 2, {"reply": "first"}, NOON),
        TurnView(1, 4, 0, {"reply": "second"}, NOON),
    )
    record.kept_requests[request_id] = replace(
        record.kept_requests[request_id], state=RequestState.DONE
    )
    return f"/api/v1/requests/{request_id}/turns"


def test_a_turn_has_the_picture_of_its_number(
    api: TestClient, pictures: FakePictures, two_turns: str
) -> None:
    second = api.get(two_turns).json()[1]

    answer = api.get(f"{two_turns}/{second['n']}/picture.png")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.content == FakePictures.PNG
    assert answer.headers["cache-control"] == "no-store"
    assert pictures.asked == [(two_turns.split("/")[-2], 1, {"reply": "second"})]


@pytest.mark.parametrize(("n", "status"), [("2", 404), ("-1", 422), ("x", 422), ("9" * 30, 422)])
def test_a_turn_that_is_not_there_has_no_picture(
    api: TestClient, pictures: FakePictures, two_turns: str, n: str, status: int
) -> None:
    answer = api.get(f"{two_turns}/{n}/picture.png")

    assert answer.status_code == status
    assert not pictures.asked


def test_a_request_that_is_worked_on_has_no_pictures_yet(
    api: TestClient, record: FakeRecord, pictures: FakePictures, two_turns: str
) -> None:
    [request_id] = record.kept_requests
    record.kept_requests[request_id] = replace(
        record.kept_requests[request_id], state=RequestState.SEGMENTING
    )

    answer = api.get(f"{two_turns}/0/picture.png")

    assert answer.status_code == 409
    assert "is SEGMENTING: its turns can be drawn when it has ended" in answer.json()["detail"]
    assert not pictures.asked


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        (TurnsGone("the masks are gone"), 410, "turns-gone"),
        (PictureFailed("drawing it takes too long"), 500, "picture-failed"),
    ],
)
def test_a_picture_that_cannot_be_drawn_says_why(
    api: TestClient,
    pictures: FakePictures,
    two_turns: str,
    fault: Exception,
    status: int,
    kind: str,
) -> None:
    pictures.fault = fault

    answer = api.get(f"{two_turns}/0/picture.png")

    assert (answer.status_code, answer.json()["detail"]) == (status, str(fault))
    assert answer.json()["type"] == f"urn:segnode:problem:{kind}"


def test_a_picture_needs_the_token(stranger: TestClient, two_turns: str) -> None:
    assert stranger.get(f"{two_turns}/0/picture.png").status_code == 401


def test_as_many_pictures_wait_as_may_and_no_more(
    api: TestClient, pictures: FakePictures, two_turns: str, until: Callable[..., object]
) -> None:
    # Arrange: every place is taken by one who waits
    pictures.go_on.clear()
    with api, ThreadPoolExecutor(PICTURES_AT_ONCE) as pool:
        path = f"{two_turns}/0/picture.png"
        waiting = [pool.submit(api.get, path) for _ in range(PICTURES_AT_ONCE)]
        until(lambda: len(pictures.asked) == PICTURES_AT_ONCE)

        # Act
        refused = api.get(path)
        pictures.go_on.set()

        # Assert
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
        assert [each.result().status_code for each in waiting] == [200] * PICTURES_AT_ONCE


def test_cancel_ends_a_request_once(api: TestClient, study: str) -> None:
    request_id = submit(api, study)

    first = api.post(f"/api/v1/requests/{request_id}/cancel")
    second = api.post(f"/api/v1/requests/{request_id}/cancel")

    assert (first.status_code, first.json()["state"]) == (200, "CANCELLED")
    assert second.status_code == 409
    assert second.json()["type"] == "urn:segnode:problem:wrong-state"


def test_only_a_failed_request_is_tried_again(
    api: TestClient, record: FakeRecord, study: str
) -> None:
    request_id = submit(api, study)
    early = api.post(f"/api/v1/requests/{request_id}/retry")
    record.kept_requests[request_id] = replace(
        record.kept_requests[request_id], state=RequestState.FAILED
    )

    answer = api.post(f"/api/v1/requests/{request_id}/retry")

    assert early.status_code == 409
    assert (answer.status_code, answer.json()["state"]) == (202, "QUEUED")


def test_only_what_is_held_back_is_released(
    api: TestClient, record: FakeRecord, study: str
) -> None:
    request_id = submit(api, study)
    early = api.post(f"/api/v1/requests/{request_id}/release")
    view = record.kept_requests[request_id]
    waiting = tuple(replace(each, state=DeliveryState.HELD) for each in view.deliveries)
    record.kept_requests[request_id] = replace(view, state=RequestState.SENDING, deliveries=waiting)

    answer = api.post(f"/api/v1/requests/{request_id}/release")

    assert early.status_code == 409
    assert answer.status_code == 202
    assert [each["state"] for each in answer.json()["deliveries"]] == ["pending"]


@pytest.mark.parametrize("path", ["", "/turns", "/turns/0/picture.png"])
def test_a_request_that_is_not_there_is_not_found(api: TestClient, path: str) -> None:
    answer = api.get(f"/api/v1/requests/nothing{path}")

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:segnode:problem:unknown-request"


def test_a_study_that_is_not_there_is_not_found(api: TestClient) -> None:
    answer = api.post(
        "/api/v1/requests", json={"study_instance_uid": "1.2.3.4", "targets": ["liver"]}
    )

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:segnode:problem:unknown-study"
    assert "1.2.3.4" in answer.json()["detail"]


def test_a_study_that_is_still_arriving_conflicts(api: TestClient, record: FakeRecord) -> None:
    record.add_study("1.2.9", StudyState.RECEIVING)

    answer = api.post(
        "/api/v1/requests", json={"study_instance_uid": "1.2.9", "targets": ["liver"]}
    )

    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:segnode:problem:study-incomplete"


BAD_BODIES: dict[str, Any] = {
    "no targets": {"study_instance_uid": "{study}", "targets": []},
    "targets left out": {"study_instance_uid": "{study}"},
    "a target that is no text": {"study_instance_uid": "{study}", "targets": [7]},
    "targets that are no list": {"study_instance_uid": "{study}", "targets": "liver"},
    "10,000 targets": {"study_instance_uid": "{study}", "targets": ["liver lobe"] * 10_000},
    "no study": {"targets": ["liver"]},
    "an empty study": {"study_instance_uid": "", "targets": ["liver"]},
    "a study with a NUL": {"study_instance_uid": "1.2\u0000.3", "targets": ["liver"]},
    "a study longer than any UID": {"study_instance_uid": "1" * 65, "targets": ["liver"]},
    "an unknown key": {"study_instance_uid": "{study}", "targets": ["liver"], "urgent": True},
    "a priority of zero": {"study_instance_uid": "{study}", "targets": ["liver"], "priority": 0},
    "a priority in words": {
        "study_instance_uid": "{study}",
        "targets": ["liver"],
        "priority": "high",
    },
    "a list": [],
    "nothing": None,
    "a number": 7,
}


@pytest.mark.parametrize("what", BAD_BODIES)
def test_a_body_that_cannot_be_used_is_refused(
    api: TestClient, record: FakeRecord, study: str, what: str
) -> None:
    body = BAD_BODIES[what]
    if isinstance(body, dict) and body.get("study_instance_uid") == "{study}":
        body = body | {"study_instance_uid": study}

    answer = api.post("/api/v1/requests", json=body)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]
    assert record.kept_requests == {}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"study_instance_uid": "1.2\\ud800", "targets": ["liver"]}',
        b'{"\\ud800": 1}',
        b"NaN",
    ],
    ids=["empty", "half", "no UTF-8", "deep", "half a pair", "half a pair as key", "NaN"],
)
def test_a_body_that_is_no_json_is_refused(api: TestClient, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}

    answer = api.post("/api/v1/requests", content=content, headers=headers)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_beyond_the_limit_is_not_read(api: TestClient) -> None:
    headers = {"Content-Type": "application/json"}

    answer = api.post("/api/v1/requests", content=b" " * (4 * 2**20 + 1), headers=headers)

    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_at_the_limit_is_read(api: TestClient) -> None:
    headers = {"Content-Type": "application/json"}

    answer = api.post("/api/v1/requests", content=b" " * (4 * 2**20), headers=headers)

    assert answer.status_code == 422


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
# bodies that are nearly right find more than noise does
NEARLY = st.fixed_dictionaries(
    {"study_instance_uid": JSON | st.just("1.2.3"), "targets": JSON | st.lists(st.text())},
    optional={"series_instance_uid": JSON, "destinations": JSON, "priority": JSON},
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(body=JSON | NEARLY)
def test_no_body_makes_the_node_fail(api: TestClient, body: Any) -> None:
    import json

    content = json.dumps(body).encode()

    answer = api.post(
        "/api/v1/requests", content=content, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code in (202, 404, 422), answer.text
