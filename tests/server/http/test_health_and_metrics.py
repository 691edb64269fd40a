"""/health and /metrics: open to all, and true."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from server.errors import RecordUnavailable
from server.http.fakes import FakeRecord
from server.values import DeliveryState, RequestState, StudyState

MakeClient = Callable[..., TestClient]
AWAY = RecordUnavailable("PostgreSQL does not answer (connection refused)")
BOTH_PLACES = pytest.mark.parametrize("at", ["", "/api/v1"])


@BOTH_PLACES
def test_a_process_that_answers_is_alive_even_without_a_database(
    stranger: TestClient, record: FakeRecord, at: str
) -> None:
    record.away = AWAY

    assert stranger.get(f"{at}/health/live").status_code == 200


@BOTH_PLACES
def test_a_node_with_database_and_room_is_ready(stranger: TestClient, at: str) -> None:
    answer = stranger.get(f"{at}/health/ready")

    assert answer.status_code == 200
    told = answer.json()
    assert told["status"] == "ready"
    assert told["checks"] == dict.fromkeys(
        ("database", "listener", "intake", "worker", "storage"), "ok"
    )
    assert [part["part"] for part in told["parts"]] == ["listener", "intake", "worker", "storage"]
    assert all(part["age_s"] < part["limit_s"] for part in told["parts"])


def test_a_node_without_a_database_is_not_ready(stranger: TestClient, record: FakeRecord) -> None:
    record.away = AWAY

    answer = stranger.get("/health/ready")

    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0
    assert "PostgreSQL" in answer.json()["checks"]["database"]
    assert answer.json()["checks"]["storage"] == "ok"


def test_a_node_without_room_is_not_ready(make_client: MakeClient) -> None:
    answer = make_client(minimum_free_bytes=2**62).get("/health/ready")

    assert answer.status_code == 503
    assert "make room" in answer.json()["detail"]


def test_a_node_without_its_storage_is_not_ready(make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client(storage=tmp_path / "unmounted", minimum_free_bytes=1)

    assert client.get("/health/ready").status_code == 503


def samples(text: str) -> dict[str, int]:
    """Name with labels -> value, of every line that is no comment."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in lines}


@BOTH_PLACES
def test_metrics_count_what_the_record_holds(
    api: TestClient, stranger: TestClient, record: FakeRecord, study: str, at: str
) -> None:
    # Arrange: two requests, one of them cancelled, and a study that is arriving
    body = {"study_instance_uid": study, "targets": ["liver"]}
    first = api.post("/api/v1/requests", json=body).json()["id"]
    api.post("/api/v1/requests", json=body)
    api.post(f"/api/v1/requests/{first}/cancel")
    record.add_study("1.2.9", StudyState.RECEIVING)

    # Act
    answer = stranger.get(f"{at}/metrics")

    # Assert
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    told = samples(answer.text)
    assert told['segnode_requests{state="QUEUED"}'] == 1
    assert told['segnode_requests{state="CANCELLED"}'] == 1
    assert told['segnode_requests{state="DONE"}'] == 0
    assert told['segnode_studies{state="RECEIVING"}'] == 1
    assert told['segnode_deliveries{state="pending"}'] == 2
    assert told["segnode_record_up"] == 1
    assert told["segnode_storage_free_bytes"] > 0


def test_every_state_has_its_line_from_the_start(stranger: TestClient) -> None:
    told = samples(stranger.get("/metrics").text)

    for name, states in (
        ("requests", RequestState),
        ("studies", StudyState),
        ("deliveries", DeliveryState),
    ):
        assert {f'segnode_{name}{{state="{state}"}}' for state in states} <= set(told)


def test_metrics_go_on_without_a_database(stranger: TestClient, record: FakeRecord) -> None:
    record.away = AWAY

    told = samples(stranger.get("/metrics").text)

    assert set(told) == {"segnode_storage_free_bytes", "segnode_record_up"}
    assert told["segnode_record_up"] == 0


def test_metrics_keep_to_the_text_format(stranger: TestClient) -> None:
    text = stranger.get("/metrics").text
    line = re.compile(
        r"# (HELP [a-z_]+ .+\.|TYPE [a-z_]+ gauge)|[a-z_]+(\{state=\"[A-Za-z]+\"\})? \d+"
    )

    assert text.endswith("\n")
    assert [each for each in text.splitlines() if not line.fullmatch(each)] == []
