"""In which words an error of ours, and one of the framework, is answered."""

from __future__ import annotations

import inspect
import logging
from http import HTTPStatus
from types import ModuleType

import pytest
from starlette.testclient import TestClient

import agent.errors as agent_errors
import dicom_node.errors as dicom_errors
import server.errors as server_errors
from server.errors import RecordUnavailable, RequestError, UnknownStudy
from server.http.fakes import FakeRecord
from server.http.problems import PROBLEMS, kind_of
from tests.support.http.problems import RFC_MEMBERS


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
