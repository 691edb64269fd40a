"""Headers of every answer: never sniffed, never kept."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from server.http.fakes import FakeRecord


@pytest.mark.parametrize(
    ("method", "path", "token_sent", "status"),
    [
        ("GET", "/health/live", False, 200),
        ("GET", "/metrics", False, 200),
        ("GET", "/api/v1/openapi.json", False, 200),
        ("GET", "/api/v1/studies", True, 200),
        ("GET", "/api/v1/studies", False, 401),
        ("GET", "/nowhere", True, 404),
        ("DELETE", "/api/v1/studies", True, 405),
        ("OPTIONS", "/api/v1/studies", True, 405),
        ("POST", "/api/v1/requests", True, 422),
    ],
)
def test_no_answer_is_sniffed_or_kept(
    api: TestClient, stranger: TestClient, method: str, path: str, token_sent: bool, status: int
) -> None:
    answer = (api if token_sent else stranger).request(method, path)

    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_fault_of_the_node_is_not_kept_either(api: TestClient, record: FakeRecord) -> None:
    record.away = ZeroDivisionError("a fault")

    answer = api.get("/api/v1/studies")

    assert answer.status_code == 500
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
