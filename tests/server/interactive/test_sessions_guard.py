"""Who gets in, how long a body may be, and whether the description says what is true."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from server.compose.sessions import segmentation_service
from server.errors import ServerError
from server.http.problems import PROBLEMS
from server.interactive import schemas
from server.interactive.bounds import Bounds
from server.interactive.service import Service
from server.interactive.wire import runs
from server.settings import load_settings

ROUTES = [
    ("POST", "sessions"),
    ("GET", "sessions/x"),
    ("DELETE", "sessions/x"),
    ("POST", "sessions/x/boxes"),
    ("POST", "sessions/x/points"),
    ("POST", "sessions/x/undo"),
    ("POST", "sessions/x/segment"),
    ("POST", "predict"),
    ("POST", "predict_with_state"),
    ("POST", "predict_many"),
]


@pytest.mark.parametrize(("method", "path"), [*ROUTES, ("GET", "nowhere"), ("GET", "health/")])
def test_nothing_but_health_opens_without_a_token(
    make_client: Callable[..., TestClient], method: str, path: str
) -> None:
    answer = make_client(token="").request(method, path, content=b"{")

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_health_and_description_are_open(make_client: Callable[..., TestClient]) -> None:
    stranger = make_client(token="")

    health = stranger.get("health")

    assert health.json() == {
        "status": "ready",
        "segmenters": ["fake"],
        "sessions": 0,
        "max_sessions": 256,
        "encodings_bytes": 0,
        "encoder_passes": 0,
    }
    assert stranger.get("openapi.json").status_code == 200


def test_every_route_is_described_with_its_problems(api: TestClient) -> None:
    described = api.get("openapi.json").json()

    operations = {
        (method.upper(), path.removeprefix("/api/v1/segmentation/")): operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }
    expected = {(m, p.replace("/x", "/{session_id}")) for m, p in ROUTES} | {("GET", "health")}
    assert set(operations) == expected
    for (_, path), operation in operations.items():
        assert operation["description"]
        if path != "health":
            assert {"401", "404", "413", "422", "429", "503"} <= set(operation["responses"])
            assert operation["security"]


@pytest.mark.parametrize(
    "schema",
    [
        schemas.SessionIn,
        schemas.BoxIn,
        schemas.PointJson,
        schemas.AskIn,
        schemas.PredictIn,
        schemas.PredictStateIn,
        schemas.PredictManyIn,
        schemas.SegmentationOut,
        schemas.SessionOut,
    ],
)
def test_the_examples_are_valid(schema: Any) -> None:
    examples = schema.model_json_schema()["examples"]

    assert examples
    for example in examples:
        schema.model_validate(example)


def test_the_examples_work_one_after_the_other(api: TestClient) -> None:
    def example(schema: Any) -> dict[str, Any]:
        first: dict[str, Any] = schema.model_json_schema()["examples"][0]
        return first

    created = api.post("sessions", json=example(schemas.SessionIn))
    session = f"sessions/{created.json()['id']}"
    steps = [
        api.post(f"{session}/boxes", json=example(schemas.BoxIn)),
        api.post(f"{session}/points", json=example(schemas.PointJson)),
        api.post(f"{session}/segment", json=example(schemas.AskIn)),
        api.post("predict", json=example(schemas.PredictIn)),
    ]
    by_hash = example(schemas.PredictStateIn) | {"image_sha256": steps[-1].json()["image_sha256"]}

    assert created.status_code == 201
    assert created.json()["shape"] == [4, 4]
    assert [each.status_code for each in steps] == [200] * 4
    assert api.post("predict_with_state", json=by_hash).status_code == 200


def test_a_body_longer_than_any_image_is_not_read(
    make_client: Callable[..., TestClient], make_service: Callable[..., Service]
) -> None:
    service = make_service(max_image_pixels=1000)
    api = make_client(service)

    answer = api.post("predict", content=b" " * (service.bounds.longest_body_bytes + 1))

    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")


def test_the_longest_body_follows_the_largest_image() -> None:
    assert Bounds(max_image_pixels=10_000).longest_body_bytes == 160_000 + 4 * 2**20
    assert Bounds(max_image_pixels=10**9).longest_body_bytes == 96 * 2**20


def test_an_image_of_too_many_pixels_is_too_large(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    png: Callable[..., str],
) -> None:
    api = make_client(make_service(max_image_pixels=100 * 100))

    fits = api.post("sessions", json={"image": png(np.zeros((100, 100), np.uint8))})
    too_large = api.post("sessions", json={"image": png(np.zeros((100, 101), np.uint8))})

    assert (fits.status_code, too_large.status_code) == (201, 413)
    assert "sessions.max_image_pixels" in too_large.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"image"',
        b"\xff\xfe",
        b'{"image": 7}',
        b'{"image": ""}',
        b'{"image": "AAAA", "hidden": 1}',
        b'{"image": "AAAA", "segmenter": ["fake"]}',
        b'{"image": "\\ud800"}',
        b'{"image": "AAAA", "target": "' + b"x" * 1001 + b'"}',
        b'{"box": [0, 0, NaN, 1]}',
    ],
)
def test_bodies_that_are_none_are_refused_in_words(api: TestClient, body: bytes) -> None:
    answer = api.post("sessions", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "instance"} <= set(answer.json())


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("sessions", {"target": 5}),
        ("sessions", {"segmenter": True}),
        ("predict", {"box": ["1", 1, 2, 2]}),
        ("predict", {"box": [True, 1, 2, 2]}),
        ("predict", {"box": "1122"}),
        ("predict", {"box": {"x": 1}}),
        ("predict", {"points": {"x": 1, "y": 1}}),
        ("predict", {"points": [{"x": "1", "y": 1}]}),
        ("predict", {"points": [{"x": True, "y": 1}]}),
        ("predict", {"points": [{"x": 1, "y": 1, "positive": 1}]}),
        ("predict", {"points": [{"x": 1, "y": 1, "positive": "yes"}]}),
        ("predict", {"points": [{"x": 1, "y": 1, "negative": False}]}),
        ("predict", {"logits": "true"}),
        ("predict", {"logits": 1}),
        ("predict", {"mask_format": "PNG"}),
        ("predict", {"mask_format": 1}),
        ("predict", {"previous_logits": {"shape": ["64", 64], "data": "AAAA"}}),
        ("predict", {"previous_logits": {"shape": [64.5, 64], "data": "AAAA"}}),
        ("predict", {"previous_logits": {"shape": [True, 64], "data": "AAAA"}}),
    ],
    ids=str,
)
def test_a_body_is_of_the_kind_it_must_be(
    api: TestClient, image: str, path: str, change: dict[str, Any]
) -> None:
    usual: dict[str, Any] = {"image": image}
    if path == "predict":
        usual["box"] = [16, 15, 44, 35]

    assert api.post(path, json=usual).status_code in (200, 201)
    assert api.post(path, json=usual | change).status_code == 422


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "health", 200),
        ("GET", "nowhere", 404),
        ("PUT", "sessions", 405),
        ("POST", "predict", 422),
    ],
)
def test_no_answer_is_sniffed_or_kept(api: TestClient, method: str, path: str, status: int) -> None:
    answer = api.request(method, path)

    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert status == 200 or answer.headers["content-type"] == "application/problem+json"


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
)
FIELDS = ("image", "image_sha256", "segmenter", "box", "points", "text", "mask", "previous_logits")


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    path=st.sampled_from([path for method, path in ROUTES if method == "POST"]),
    body=st.dictionaries(st.sampled_from(FIELDS), JSON),
)
def test_no_body_makes_the_process_fail(api: TestClient, path: str, body: dict[str, Any]) -> None:
    answer = api.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})

    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize("session", ["x", "..", "%2e%2e", "0" * 10_000, "\u00e4", "a%00b"])
def test_no_name_of_a_session_opens_another(api: TestClient, session: str) -> None:
    assert api.get(f"sessions/{session}").status_code in (404, 405)


@pytest.mark.parametrize(
    ("mask", "counts"),
    [
        ([[0, 0], [0, 0]], [4]),
        ([[1, 1], [1, 1]], [0, 4]),
        ([[0, 1], [1, 0]], [1, 2, 1]),
        ([[1, 0, 0], [0, 0, 1]], [0, 1, 4, 1]),
        ([[1]], [0, 1]),
    ],
)
def test_run_lengths_begin_with_background(mask: list[list[int]], counts: list[int]) -> None:
    assert runs(np.array(mask, bool)) == counts


def test_errors_of_sessions_have_rows_of_their_own() -> None:
    names = ("UnknownSession", "TooManySessions", "NothingToUndo", "BadPrompt", "BadImage")
    rows = {each.__name__: PROBLEMS[each] for each in PROBLEMS if issubclass(each, ServerError)}

    assert len({rows[name].name for name in names}) == len(names)


def test_the_process_is_composed_as_the_site_says(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(
        f'[storage]\ndir = "{tmp_path}"\n[agent]\nsegmenter = "fake"\n'
        '[sessions]\nsegmenters = ["fake", "litemedsam"]\nmax_sessions = 3\nmemory_bytes = 4000\n'
    )

    service = segmentation_service(load_settings([site], {}))

    assert service.segmenters.names == ("fake", "litemedsam")
    assert (service.bounds.max_sessions, service.bounds.memory_bytes) == (3, 4000)
    assert service.segmenters.get().name == "fake"
    assert service.segmenters.get().logits_shape == (64, 64)


def test_without_a_word_the_agents_segmenter_is_offered(tmp_path: Path) -> None:
    environment = {"SEGNODE_STORAGE__DIR": str(tmp_path), "SEGNODE_AGENT__SEGMENTER": "fake"}

    service = segmentation_service(load_settings([], environment))

    assert service.segmenters.names == ("fake",)
