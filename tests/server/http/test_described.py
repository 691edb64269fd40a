"""The description that the API gives of itself."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from server.http.schemas import RequestIn
from server.record.views import RequestView, Submitted


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
        "POST /requests/{request_id}/release",
        "GET /studies",
        "GET /studies/{study_instance_uid}",
        "POST /studies/{study_instance_uid}/complete",
        "POST /studies/{study_instance_uid}/route",
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
