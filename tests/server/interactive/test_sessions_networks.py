"""Real networks behind the API, with seeded weights: clicks, boxes, logits and candidates as the
segmenter has them.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient

from agent.values import Box, Point, Prompts, Segmentation
from models.runtime.resources import Resources
from models.segmenters.sam2.segmenter import Sam2Segmenter
from server.interactive.service import Service
from server.interactive.wire import image_of
from tests.support import seeded_networks

Mask = NDArray[np.bool_]


@pytest.fixture(scope="module")
def sam2(tmp_path_factory: pytest.TempPathFactory) -> Sam2Segmenter:
    """SAM 2 with its narrowest network."""
    folder = tmp_path_factory.mktemp("sam2")
    resources = Resources(cache_dir=folder, threads=1, device="cpu")
    checkpoint = seeded_networks.sam2_checkpoint(folder)
    return Sam2Segmenter("sam2", checkpoint, seeded_networks.NARROW, resources=resources)


def alone(sam2: Sam2Segmenter, image: str, *asked: Prompts) -> list[Segmentation]:
    """What the segmenter draws without any API, each answer going on from the one before."""
    encoding, drawn = sam2.encode(image_of(image).pixels(10**6)), list[Segmentation]()
    for prompts in asked:
        logits = drawn[-1].logits if drawn else None
        going_on = Prompts(prompts.box, prompts.points, previous_logits=logits)
        drawn.append(sam2.segment(encoding, going_on))
    return drawn


def assert_same(answer: dict[str, Any], mask: Mask, expected: Segmentation) -> None:
    sent = answer["logits"]
    logits = np.frombuffer(base64.b64decode(sent["data"]), "<f4").reshape(sent["shape"])
    np.testing.assert_allclose(logits, expected.logits, atol=2e-4)
    assert np.mean(mask != expected.mask) < 0.002
    assert answer["choice"] == expected.choice
    assert answer["candidate_ious"] == pytest.approx(expected.candidate_ious, abs=1e-4)
    assert len(answer["candidate_ious"]) > 1


def test_a_session_draws_what_the_segmenter_draws(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    sam2: Sam2Segmenter,
    image: str,
    mask_from: Any,
) -> None:
    api = make_client(make_service({"sam2": sam2}))
    click = Point(30.0, 25.0)
    expected = alone(sam2, image, Prompts(points=(click,)), Prompts(Box(16, 15, 44, 35), (click,)))
    session = f"sessions/{api.post('sessions', json={'image': image}).json()['id']}"

    api.post(f"{session}/points", json={"x": 30, "y": 25})
    first = api.post(f"{session}/segment", json={"logits": True}).json()
    api.post(f"{session}/boxes", json={"box": [16, 15, 44, 35]})
    second = api.post(f"{session}/segment", json={"logits": True}).json()

    assert_same(first, mask_from(first), expected[0])
    assert_same(second, mask_from(second), expected[1])


def test_a_client_with_the_state_draws_the_same_as_a_session(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    sam2: Sam2Segmenter,
    image: str,
    mask_from: Any,
) -> None:
    api = make_client(make_service({"sam2": sam2}))
    click = Point(30.0, 25.0)
    expected = alone(sam2, image, Prompts(points=(click,)), Prompts(Box(16, 15, 44, 35), (click,)))
    body: dict[str, Any] = {"image": image, "points": [{"x": 30, "y": 25}]}

    first = api.post("predict_with_state", json=body).json()
    del body["image"]
    body |= {"image_sha256": first["image_sha256"], "box": [16, 15, 44, 35]}
    second = api.post("predict_with_state", json=body | {"previous_logits": first["logits"]}).json()

    assert_same(second, mask_from(second), expected[1])
    assert api.get("health").json()["encoder_passes"] == 1


def test_logits_of_another_network_are_refused(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    sam2: Sam2Segmenter,
    image: str,
) -> None:
    api = make_client(make_service({"sam2": sam2}))
    other = {"shape": [64, 63], "data": base64.b64encode(bytes(4 * 64 * 63)).decode()}

    answer = api.post(
        "predict", json={"image": image, "box": [1, 1, 9, 9], "previous_logits": other}
    )

    assert answer.status_code == 422
    assert "float32" in answer.json()["detail"]
