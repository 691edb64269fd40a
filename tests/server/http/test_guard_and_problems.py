"""Who gets in, and in which words everybody else is sent away."""

from __future__ import annotations

import inspect
import logging
from http import HTTPStatus
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

import agent.errors as agent_errors
import dicom_node.errors as dicom_errors
import server.errors as server_errors
from server.errors import RecordUnavailable, RequestError, UnknownStudy
from server.http.fakes import FakeRecord
from server.http.problems import PROBLEMS, kind_of
from server.http.schemas import RequestIn
from server.record.views import RequestView, Submitted

RFC_MEMBERS = {"type", "title", "status", "detail", "instance"}


def errors_of(module: ModuleType) -> list[type[Exception]]:
    """The error classes that a room defines."""
    found = inspect.getmembers(module, inspect.isclass)
    return [each for _, each in found if issubclass(each, Exception)]


@pytest.mark.parametrize(
    "error",
    [*errors_of(server_errors), *errors_of(dicom_errors), *errors_of(agent_errors)],
    ids=lambda each: each.__name__,
)
def test_every_error_has_its_row(error: type[Exception]) -> None:
    assert error in PROBLEMS


def test_an_error_without_a_row_is_that_of_the_class_above_it() -> None:
    class TooLoud(RequestError):
        pass

    assert kind_of(TooLoud()) == PROBLEMS[RequestError]
    assert kind_of(ZeroDivisionError()).status == HTTPStatus.INTERNAL_SERVER_ERROR


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


def test_a_path_that_is_not_there_is_a_problem(api: TestClient) -> None:
    answer = api.get("/api/v1/n%C3%BCscht")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["instance"] == "/api/v1/n%C3%BCscht"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/api/v1/requests", "GET, POST"), ("/api/v1/requests/x/retry", "POST"), ("/metrics", "GET")],
)
def test_a_method_that_is_not_allowed_names_those_that_are(
    api: TestClient, path: str, allowed: str
) -> None:
    answer = api.delete(path)

    assert answer.status_code == 405
    assert answer.headers["Allow"] == allowed
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_database_that_is_away_says_when_to_come_back(
    api: TestClient, record: FakeRecord
) -> None:
    record.away = RecordUnavailable("PostgreSQL does not answer (connection refused)")

    answer = api.get("/api/v1/requests")

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json()["type"] == "urn:segnode:problem:record-unavailable"


def test_a_fault_of_the_node_tells_nothing_of_its_inside(
    api: TestClient, record: FakeRecord, caplog: pytest.LogCaptureFixture
) -> None:
    record.away = ZeroDivisionError("the password is 1234")

    with caplog.at_level(logging.ERROR):
        answer = api.get("/api/v1/requests")

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "1234" not in answer.text


def test_problems_have_the_members_of_the_rfc(api: TestClient) -> None:
    told = api.get("/api/v1/studies/1.2.3.4").json()

    assert set(told) == RFC_MEMBERS
    assert told["status"] == 404
    assert told["title"] == PROBLEMS[UnknownStudy].title
    assert told["instance"] == "/api/v1/studies/1.2.3.4"


def test_a_bad_body_is_told_field_by_field(api: TestClient) -> None:
    told = api.post("/api/v1/requests", json={"targets": [1], "colour": "red"}).json()

    assert {each["at"] for each in told["errors"]} == {
        "body.study_instance_uid",
        "body.targets.0",
        "body.colour",
    }


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


def test_a_body_that_is_too_long_is_a_problem(api: TestClient) -> None:
    answer = api.post("/api/v1/requests", content=b" " * (4 * 2**20 + 1))

    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"


@pytest.fixture
def description(stranger: TestClient) -> dict[str, Any]:
    answer = stranger.get("/api/v1/openapi.json")
    assert answer.status_code == 200
    return dict(answer.json())


def test_the_description_has_every_operation_of_the_contract(description: dict[str, Any]) -> None:
    told = {
        f"{method.upper()} {path.removeprefix('/api/v1')}"
        for path, operations in description["paths"].items()
        for method in operations
    }

    assert told == {
        "POST /requests",
        "GET /requests",
        "GET /requests/{request_id}",
        "GET /requests/{request_id}/turns",
        "GET /requests/{request_id}/turns/{n}/picture.png",
        "POST /requests/{request_id}/retry",
        "POST /requests/{request_id}/cancel",
        "GET /studies",
        "GET /studies/{study_instance_uid}",
        "POST /studies/{study_instance_uid}/complete",
        "GET /destinations",
        "POST /destinations/{name}/echo",
        "GET /audit",
        "GET /health/live",
        "GET /health/ready",
        "GET /metrics",
    }


def test_every_operation_is_described_and_says_whether_it_needs_a_token(
    description: dict[str, Any],
) -> None:
    for path, operations in description["paths"].items():
        for operation in operations.values():
            assert operation["description"]
            is_open = path.startswith(("/api/v1/health", "/api/v1/metrics"))
            assert ("security" in operation) is not is_open


def fits(value: Any, schema: dict[str, Any], schemas: dict[str, Any]) -> bool:
    """Whether `value` has every member that `schema` requires, and none that it does not name."""
    while "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        return any(fits(value, each, schemas) for each in schema["anyOf"])
    if schema.get("type") == "array":
        return all(fits(each, schema["items"], schemas) for each in value)
    members = schema.get("properties")
    if not members:
        return (value is None) == (schema.get("type") == "null")
    return (
        isinstance(value, dict)
        and set(schema.get("required", ())) <= set(value) <= set(members)
        and all(fits(value[name], members[name], schemas) for name in value)
    )


@pytest.mark.parametrize("model", [RequestIn, Submitted, RequestView])
def test_the_description_has_examples_that_are_valid(
    description: dict[str, Any], model: type[Any]
) -> None:
    schemas = description["components"]["schemas"]
    examples = schemas[model.__name__]["examples"]

    assert examples
    # the description leaves out members that are null, so the example itself is tried
    config = getattr(model, "model_config", None) or model.__pydantic_config__
    assert fits(config["json_schema_extra"]["examples"][0], schemas[model.__name__], schemas)


def test_what_the_node_needs_for_itself_is_not_shown(description: dict[str, Any]) -> None:
    schemas = description["components"]["schemas"]

    for name, internal in (("ResultView", "path"), ("TargetView", "index")):
        assert internal not in schemas[name]["properties"]
    for name in ("RequestSummary", "StudySummary"):
        assert "number" not in schemas[name]["properties"]


def test_the_description_names_problems(description: dict[str, Any]) -> None:
    responses = description["paths"]["/api/v1/requests"]["post"]["responses"]

    for status in ("401", "404", "409", "422", "503"):
        assert "application/problem+json" in responses[status]["content"]
