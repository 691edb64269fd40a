"""The API over the real record on a real PostgreSQL, and over one that is not there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from server.http.app import create_app
from server.http.fakes import FakePictures, FakeRecord, FakeWaiting
from server.http.ports import Counting, RecordPort, Services
from server.http.tokens import tokens_of
from server.pulses import Part, PulseState
from server.record.counting import RecordCounting
from server.record.database.engine import Sessions, open_engine
from server.record.processes.parts import PartTable
from server.record.processes.workers import WorkerIdentity
from server.record.record import Record
from tests.server.conftest import Desk

TOKEN = "a-token-of-good-length"
ME = WorkerIdentity.of_this_process()


def client_of(record: RecordPort, counting: Counting, storage: Path) -> TestClient:
    """A client with the token."""
    app = create_app(
        Services(record, counting, FakeWaiting(FakeRecord()), FakePictures(), (), storage, 0),
        tokens_of((TOKEN,)),
    )
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return TestClient(app, headers=headers, raise_server_exceptions=False)


@pytest.fixture
def real(desk: Desk, tmp_path: Path) -> TestClient:
    """The API over a record with a complete CT study."""
    desk.complete_study()
    return client_of(
        desk.record, RecordCounting(desk.sessions, PartTable(desk.sessions, ME)), tmp_path
    )


def submit(real: TestClient, study: str, **more: Any) -> Any:
    """The answer to a request for a liver."""
    body = {"study_instance_uid": study, "targets": ["liver"]} | more
    return real.post("/api/v1/requests", json=body)


def test_a_request_goes_in_and_comes_out(real: TestClient, desk: Desk, study: str) -> None:
    taken = submit(real, study, targets=["left kidney", "LIVER"], destinations=["archive"]).json()

    told = real.get(f"/api/v1/requests/{taken['id']}").json()

    assert told["state"] == "QUEUED"
    assert [target["text"] for target in told["targets"]] == ["left kidney", "LIVER"]
    kidney = told["targets"][0]
    # SNOMED CT: kidney structure, left
    assert kidney["code"]["value"] == "64033007"
    assert kidney["laterality"]["value"] == "7771000"
    assert told["deliveries"][0]["destination"] == "archive"
    assert told["actor"].startswith("token ")
    assert desk.events(taken["id"]) == ["request.queued"]


def test_lists_studies_turns_and_trail_come_out_of_the_record(real: TestClient, study: str) -> None:
    ids = [submit(real, study).json()["id"] for _ in range(3)]
    real.post(f"/api/v1/requests/{ids[1]}/cancel")

    assert [each["id"] for each in real.get("/api/v1/requests").json()] == ids
    cancelled = real.get("/api/v1/requests", params={"state": "CANCELLED"}).json()
    assert [each["id"] for each in cancelled] == [ids[1]]
    assert real.get(f"/api/v1/requests/{ids[0]}/turns").json() == []
    told = real.get(f"/api/v1/studies/{study}").json()
    assert (told["state"], told["version"], told["instances"]) == ("COMPLETE", 1, 3)
    assert [each["evidence"] for each in told["versions"]] == ["forced"]
    events = [line["event"] for line in real.get("/api/v1/audit").json()]
    assert events[-1] == "request.cancelled"


def test_metrics_are_counted_by_the_database(real: TestClient, study: str) -> None:
    ids = [submit(real, study).json()["id"] for _ in range(3)]
    real.post(f"/api/v1/requests/{ids[0]}/cancel")

    lines = real.get("/metrics").text.splitlines()

    assert 'segnode_requests{state="QUEUED"} 2' in lines
    assert 'segnode_requests{state="CANCELLED"} 1' in lines
    assert 'segnode_studies{state="COMPLETE"} 1' in lines
    assert "segnode_record_up 1" in lines


def test_a_node_is_ready_once_the_record_knows_of_all_its_parts(
    real: TestClient, desk: Desk
) -> None:
    before = real.get("/health/ready")
    PartTable(desk.sessions, ME).publish([PulseState(part, 0.1, 10.0) for part in Part])
    after = real.get("/health/ready")

    assert before.status_code == 503
    assert "no worker runs" in before.json()["checks"]["worker"]
    assert after.status_code == 200
    assert {part["part"] for part in after.json()["parts"]} == set(Part)


@pytest.mark.parametrize(
    ("since", "lines"),
    [
        ("2026-05-01T12:00:00+23:59", True),
        ("2026-05-01T12:00:00-23:59", True),
        ("0001-01-01T00:00:00Z", True),
        ("0001-01-01T00:00:00+23:59", True),  # before the first moment there is
        ("0001-01-01T00:00:00-23:59", True),
        ("9999-12-31T23:59:59.999999Z", False),
        ("9999-12-31T23:59:59-23:59", False),  # after the last one
        ("9999-12-31T23:59:59+23:59", False),
    ],
)
def test_the_trail_is_read_from_any_moment_on(
    real: TestClient, study: str, since: str, lines: bool
) -> None:
    submit(real, study)

    answer = real.get("/api/v1/audit", params={"since": since})

    assert answer.status_code == 200
    # the days of the test are those of whoever runs it
    assert since.startswith("2026") or bool(answer.json()) is lines


@pytest.mark.parametrize(
    "since", ["2026-05-01T12:00:00", "2026-02-30T12:00:00Z", "now", "", "1e400", "nan"]
)
def test_what_is_no_moment_with_its_zone_is_refused(real: TestClient, since: str) -> None:
    assert real.get("/api/v1/audit", params={"since": since}).status_code == 422


@pytest.mark.parametrize(
    ("more", "status", "kind"),
    [
        ({"targets": []}, 422, "no-targets"),
        ({"targets": [""]}, 422, "bad-target"),
        ({"targets": ["liver\n"]}, 422, "bad-target"),
        ({"targets": ["li\x00ver"]}, 422, "bad-target"),
        ({"targets": ["x" * 201]}, 422, "bad-target"),
        ({"targets": ["liver"] * 10_000}, 422, "too-many-targets"),
        ({"targets": [f"part {n}" for n in range(201)]}, 422, "too-many-targets"),
        ({"destinations": ["attic"]}, 422, "unknown-destination"),
        ({"destinations": ["\x00"]}, 422, "unknown-destination"),
        ({"study_instance_uid": "1.2.3.4"}, 404, "unknown-study"),
        ({"study_instance_uid": "'; DROP TABLE request"}, 422, "bad-request"),
    ],
)
def test_what_cannot_be_done_is_refused_by_the_record(
    real: TestClient, study: str, more: dict[str, Any], status: int, kind: str
) -> None:
    answer = submit(real, study, **more)

    assert answer.status_code == status, answer.text
    assert answer.json()["type"] == f"urn:segnode:problem:{kind}"


def test_half_a_surrogate_pair_can_be_named_in_a_problem(real: TestClient, study: str) -> None:
    body = f'{{"study_instance_uid": "{study}", "targets": ["liver"], "destinations": ["\\ud800"]}}'

    answer = real.post(
        "/api/v1/requests", content=body, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:segnode:problem:unknown-destination"


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    targets=st.lists(st.text(max_size=30), max_size=3),
    series=st.none() | st.text(max_size=70),
    priority=st.integers(-5, 2000),
)
def test_no_words_make_the_record_fail(
    real: TestClient, study: str, targets: list[str], series: str | None, priority: int
) -> None:
    answer = submit(real, study, targets=targets, series_instance_uid=series, priority=priority)

    assert answer.status_code in (202, 404, 422), answer.text


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=st.text(min_size=1, max_size=80))
@pytest.mark.parametrize("kind", ["requests", "studies"])
def test_no_name_in_a_path_makes_the_record_fail(real: TestClient, kind: str, text: str) -> None:
    from urllib.parse import quote

    name = quote(text, safe="")

    assert real.get(f"/api/v1/{kind}/{name}").status_code in (200, 404, 405)


@pytest.fixture
def away(desk: Desk, tmp_path: Path) -> Iterator[TestClient]:
    """The API over a record whose PostgreSQL is not there."""
    engine = open_engine("postgresql://nobody@127.0.0.1:1/none")
    sessions = Sessions(engine)
    record = Record(sessions, desk.jobs, desk.rules, desk.record._stored_studies)
    yield client_of(record, RecordCounting(sessions, PartTable(sessions, ME)), tmp_path)
    engine.dispose()


CALLS: list[Callable[[TestClient, str], Any]] = [
    lambda api, study: submit(api, study),
    lambda api, study: api.get("/api/v1/requests"),
    lambda api, study: api.get("/api/v1/requests/x"),
    lambda api, study: api.post("/api/v1/requests/x/retry"),
    lambda api, study: api.post("/api/v1/requests/x/release"),
    lambda api, study: api.get(f"/api/v1/studies/{study}"),
    lambda api, study: api.post(f"/api/v1/studies/{study}/complete"),
    lambda api, study: api.get("/api/v1/audit"),
    lambda api, study: api.get("/health/ready"),
]


@pytest.mark.parametrize("call", CALLS)
def test_without_postgresql_everybody_is_told_to_come_back(
    away: TestClient, study: str, call: Callable[[TestClient, str], Any]
) -> None:
    answer = call(away, study)

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["content-type"] == "application/problem+json"


def test_without_postgresql_the_process_is_alive(away: TestClient) -> None:
    assert away.get("/health/live").status_code == 200
    assert "segnode_record_up 0" in away.get("/metrics").text
