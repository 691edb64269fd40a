"""Generated calls: for each operation of the API's own description, values of the right and of the
wrong kind.

Whatever is sent, the answer has a status that the description names, and is JSON that nobody sniffs
or keeps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from server.http.app import create_app
from server.http.fakes import FakeCounting, FakePictures, FakeRecord, FakeWaiting
from server.http.ports import Services
from server.http.tokens import tokens_of
from server.record.counting import RecordCounting
from server.record.processes.parts import PartTable
from server.record.processes.workers import WorkerIdentity
from tests.server.conftest import Desk

TOKEN = "a-token-of-good-length"
Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
MOMENTS = st.sampled_from(
    [
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "2026-05-01T12:00:00+15:59",
        "2026-05-01T12:00:00+23:59",
        "2026-05-01T12:00:00-23:59",
        "2026-05-01T12:00:00",
        "2026-02-30T12:00:00Z",
        "1e400",
        "-1",
        "99999999999999999999",
        "nan",
        "inf",
        "",
    ]
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
ANY_PARAMETER = TEXT | MOMENTS | st.integers().map(str) | st.just("QUEUED")


@pytest.fixture
def real(desk: Desk, tmp_path: Path) -> TestClient:
    """The API over a record on PostgreSQL, with a complete CT study."""
    desk.complete_study()
    parts = PartTable(desk.sessions, WorkerIdentity.of_this_process())
    services = Services(
        desk.record,
        RecordCounting(desk.sessions, parts),
        desk.deliveries,
        FakePictures(),
        (),
        tmp_path,
        0,
    )
    app = create_app(services, tokens_of((TOKEN,)))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return TestClient(app, headers=headers, raise_server_exceptions=False)


@cache
def description() -> dict[str, Any]:
    """The API's own description."""
    services = Services(
        FakeRecord(),
        FakeCounting(FakeRecord()),
        FakeWaiting(FakeRecord()),
        FakePictures(),
        (),
        Path(),
        0,
    )
    return dict(create_app(services, tokens_of((TOKEN,))).openapi())


OPERATIONS = [(method, path) for path, known in description()["paths"].items() for method in known]


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema, or what it refers to."""
    if "$ref" not in schema:
        return schema
    return dict(description()["components"]["schemas"][schema["$ref"].rpartition("/")[2]])


def values(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Values of a body's schema, and now and then anything else in their place."""
    known = resolved(schema)
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "string": TEXT,
        "integer": st.integers(),
        "number": st.floats() | st.integers(),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    if "anyOf" in known:
        right: st.SearchStrategy[Any] = st.one_of([values(each) for each in known["anyOf"]])
    elif known.get("type") == "object":
        members = {name: values(each) for name, each in known.get("properties", {}).items()}
        right = st.fixed_dictionaries({}, optional=members)
    elif known.get("type") == "array":
        right = st.lists(values(known.get("items", {})), max_size=4)
    else:
        right = kinds.get(str(known.get("type")), Json)
    return st.one_of(right, right, right, Json)


def call(api: TestClient, study: str, data: st.DataObject, method: str, path: str) -> Any:
    """The answer to a generated call of an operation."""
    operation = description()["paths"][path][method]
    query: dict[str, str] = {}
    for parameter in operation.get("parameters", []):
        value = data.draw(ANY_PARAMETER | st.just(study), label=parameter["name"])
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", quote(value or "x", safe=""))
        elif data.draw(st.booleans()):
            query[parameter["name"]] = value
    content: bytes | None = None
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        body = data.draw(values(schema), label="body")
        content = json.dumps(body).encode("utf-8", "surrogatepass")
    elif data.draw(st.booleans()):
        content = data.draw(st.binary(max_size=50), label="a body that nobody asked for")
    headers = {"Content-Type": "application/json"}
    return api.request(method, path, params=query, content=content, headers=headers)


def check(answer: Any, method: str, path: str) -> None:
    """The answer is one that the description names."""
    described = {int(status) for status in description()["paths"][path][method]["responses"]}
    # with a slash in a parameter, a path is another one
    assert answer.status_code in described - {500} | {404, 405}
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert json.loads(answer.content)["status"] == answer.status_code


GENERATED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=str)
@settings(GENERATED, max_examples=30)
@given(data=st.data())
def test_every_answer_is_one_that_the_description_names(
    api: TestClient, study: str, method: str, path: str, data: st.DataObject
) -> None:
    check(call(api, study, data, method, path), method, path)


@settings(GENERATED, max_examples=150)
@given(operation=st.sampled_from(OPERATIONS), data=st.data())
def test_so_it_is_with_the_record_on_postgresql(
    real: TestClient, study: str, operation: tuple[str, str], data: st.DataObject
) -> None:
    check(call(real, study, data, *operation), *operation)


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("post", "/requests", {"202", "401", "404", "409", "413", "422", "500", "503"}),
        ("post", "/destinations/{name}/echo", {"200", "401", "404", "429", "502"}),
        ("post", "/studies/{study_instance_uid}/complete", {"200", "404", "429", "507"}),
        ("get", "/health/ready", {"200", "503"}),
    ],
)
def test_the_description_names_what_can_go_wrong(
    method: str, path: str, statuses: set[str]
) -> None:
    assert statuses <= set(description()["paths"][f"/api/v1{path}"][method]["responses"])
