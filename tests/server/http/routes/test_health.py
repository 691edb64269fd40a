"""Alive without a database; ready with database, room and storage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from starlette.testclient import TestClient

from server.http.fakes import FakeRecord
from tests.support.http.away import AWAY, BOTH_PLACES

MakeClient = Callable[..., TestClient]


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
