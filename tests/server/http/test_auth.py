"""Nobody gets in without the token, and nobody makes the guard fail."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from tests.support.http.problems import RFC_MEMBERS


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong-token-of-good-length",
        "Bearer a-token-of-good-lengt",  # all but the last letter
        "Bearer a-token-of-good-lengthy",
        "Bearer A-TOKEN-OF-GOOD-LENGTH",
        "Basic a-token-of-good-length",
        "a-token-of-good-length",
        "Bearer a-token-of-good-length extra",
        "Bearer \xff\xfe",
        "Bearer " + "x" * 60_000,
    ],
)
def test_nobody_gets_in_without_the_token(stranger: TestClient, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}

    answer = stranger.get("/api/v1/requests", headers=headers)  # type: ignore[arg-type] # raw bytes are meant

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert set(answer.json()) == RFC_MEMBERS


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_read_in_any_case(stranger: TestClient, token: str, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {token}"}

    assert stranger.get("/api/v1/requests", headers=headers).status_code == 200


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(max_codepoint=255, exclude_characters="\r\n")))
def test_no_header_makes_the_guard_fail(stranger: TestClient, text: str) -> None:
    headers = {"Authorization": text.encode("latin-1")}

    answer = stranger.get("/api/v1/requests", headers=headers)  # type: ignore[arg-type] # raw bytes are meant

    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/requests"),
        ("POST", "/api/v1/requests"),
        ("GET", "/api/v1/requests/x"),
        ("GET", "/api/v1/requests/x/turns"),
        ("GET", "/api/v1/requests/x/turns/0/picture.png"),
        ("POST", "/api/v1/requests/x/retry"),
        ("POST", "/api/v1/requests/x/cancel"),
        ("POST", "/api/v1/requests/x/release"),
        ("GET", "/api/v1/studies"),
        ("GET", "/api/v1/studies/1.2"),
        ("POST", "/api/v1/studies/1.2/complete"),
        ("GET", "/api/v1/destinations"),
        ("POST", "/api/v1/destinations/pacs/echo"),
        ("GET", "/api/v1/audit"),
        ("GET", "/nowhere"),
        ("GET", "/api/v1/health/live/"),
    ],
)
def test_everything_but_health_and_metrics_needs_the_token(
    stranger: TestClient, method: str, path: str
) -> None:
    assert stranger.request(method, path).status_code == 401


def test_a_stranger_learns_nothing_of_a_body(stranger: TestClient) -> None:
    answer = stranger.post("/api/v1/requests", content=b"{")

    assert answer.status_code == 401
