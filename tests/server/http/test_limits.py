"""Bodies that are too long, or of another kind, are refused."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient


@pytest.mark.parametrize(
    "change",
    [
        {"targets": "liver"},
        {"targets": {"liver": 1}},
        {"targets": ["liver", 1]},
        {"targets": [True]},
        {"priority": "5"},
        {"priority": True},
        {"priority": 5.0},
        {"priority": None},
        {"study_instance_uid": 12},
        {"destinations": "pacs"},
        {"destinations": [1]},
        {"policy": 1},
        {"segmenter": False},
        {"colour": "red"},
        {"Targets": ["liver"]},
    ],
    ids=str,
)
def test_a_body_is_of_the_kind_it_must_be(
    api: TestClient, study: str, change: dict[str, Any]
) -> None:
    body = {"study_instance_uid": study, "targets": ["liver"]} | change

    answer = api.post("/api/v1/requests", json=body)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_that_is_too_long_is_a_problem(api: TestClient) -> None:
    answer = api.post("/api/v1/requests", content=b" " * (4 * 2**20 + 1))

    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
