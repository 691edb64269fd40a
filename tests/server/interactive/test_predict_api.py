"""Masks without a session: everything in one call, or with the state that the client keeps."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient

from agent.fakes import ScriptedSegmenter, segmentation
from agent.values import Box, Point, PromptKind, Segmentation
from server.interactive.service import Service

Mask = NDArray[np.bool_]
BOX = [16, 15, 44, 35]


def as_logits(array: NDArray[Any]) -> dict[str, Any]:
    data = base64.b64encode(np.asarray(array, "<f4").tobytes()).decode()
    return {"shape": list(array.shape), "data": data}


@pytest.fixture
def scripted(disc: Mask) -> ScriptedSegmenter:
    """Answers the same to everything, and remembers what it was asked; the first time is the
    trial.
    """
    return ScriptedSegmenter([segmentation(disc, 0.9)] * 20)


@pytest.fixture
def scripted_api(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    scripted: ScriptedSegmenter,
) -> TestClient:
    return make_client(make_service({"scripted": scripted}))


def test_an_image_and_a_box_give_a_mask(
    api: TestClient,
    image: str,
    drawn: Segmentation,
    mask_from: Callable[[dict[str, Any]], Mask],
) -> None:
    answer = api.post("predict", json={"image": image, "box": BOX})

    assert answer.status_code == 200
    assert np.array_equal(mask_from(answer.json()), drawn.mask)
    sha256 = hashlib.sha256(base64.b64decode(image)).hexdigest()
    assert answer.json()["image_sha256"] == sha256


def test_a_data_url_is_an_image_too(api: TestClient, image: str) -> None:
    body = {"image": f"data:image/png;base64,{image}", "box": BOX}

    assert api.post("predict", json=body).json() == (
        api.post("predict", json={"image": image, "box": BOX}).json()
    )


def test_all_prompts_reach_the_segmenter(
    scripted_api: TestClient,
    scripted: ScriptedSegmenter,
    image: str,
    png: Callable[..., str],
    disc: Mask,
) -> None:
    logits = np.linspace(-4, 4, 64 * 64, dtype=np.float32).reshape(64, 64)
    body = {
        "image": image,
        "box": BOX,
        "points": [{"x": 20, "y": 25}, {"x": 60, "y": 50, "positive": False}],
        "text": "liver",
        "mask": png(disc.astype(np.uint8) * 255),
        "previous_logits": as_logits(logits),
    }

    assert scripted_api.post("predict", json=body).status_code == 200

    asked = scripted.prompts[-1]
    assert asked.box == Box(16.0, 15.0, 44.0, 35.0)
    assert asked.points == (Point(20.0, 25.0), Point(60.0, 50.0, positive=False))
    assert asked.text == "liver"
    assert asked.mask is not None
    assert np.array_equal(asked.mask, disc)
    assert asked.previous_logits is not None
    assert asked.previous_logits.dtype == np.float32
    assert np.array_equal(asked.previous_logits, logits)


def test_clicks_of_one_call_follow_the_rules_of_a_session(
    scripted_api: TestClient, scripted: ScriptedSegmenter, image: str
) -> None:
    points = [{"x": 20, "y": 25}, {"x": 22, "y": 25, "positive": False}]

    scripted_api.post("predict", json={"image": image, "points": points})

    assert scripted.prompts[-1].points == (Point(22.0, 25.0, positive=False),)


def test_a_client_may_keep_the_state_itself(
    scripted_api: TestClient, scripted: ScriptedSegmenter, image: str
) -> None:
    first = scripted_api.post("predict_with_state", json={"image": image, "box": BOX}).json()
    second = scripted_api.post(
        "predict_with_state",
        json={
            "image_sha256": first["image_sha256"],
            "box": BOX,
            "points": [{"x": 20, "y": 25}],
            "previous_logits": first["logits"],
        },
    )

    assert second.status_code == 200
    assert second.json()["logits"] == first["logits"]  # it answers the same to everything
    assert scripted.prompts[-2].previous_logits is None
    assert scripted.prompts[-1].previous_logits is not None
    assert np.array_equal(scripted.prompts[-1].previous_logits, segmentation_logits(first))
    assert scripted_api.get("health").json()["encoder_passes"] == 1


def segmentation_logits(answer: dict[str, Any]) -> NDArray[np.float32]:
    sent = answer["logits"]
    return np.frombuffer(base64.b64decode(sent["data"]), "<f4").reshape(sent["shape"])


def test_an_image_that_is_not_kept_must_be_sent(api: TestClient) -> None:
    answer = api.post("predict_with_state", json={"image_sha256": "0" * 64, "box": BOX})

    assert (answer.status_code, answer.json()["type"]) == (
        404,
        "urn:segnode:problem:unknown-image",
    )


def test_logits_are_left_out_for_a_segmenter_that_takes_none(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    image: str,
    disc: Mask,
) -> None:
    boxes = ScriptedSegmenter(
        [segmentation(disc)] * 3, supported_prompts=frozenset({PromptKind.BOX})
    )
    api = make_client(make_service({"scripted": boxes}))
    logits = as_logits(np.zeros((64, 64)))

    answer = api.post("predict", json={"image": image, "box": BOX, "previous_logits": logits})

    assert answer.status_code == 200
    assert boxes.prompts[-1].previous_logits is None


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({}, "bad-prompt"),  # neither image nor hash
        ({"image": "x", "image_sha256": "0" * 64}, "bad-prompt"),
        ({"image_sha256": "0" * 63}, "bad-request"),
        ({"image_sha256": "G" * 64}, "bad-request"),
    ],
)
def test_the_image_is_named_once(api: TestClient, body: dict[str, Any], kind: str) -> None:
    answer = api.post("predict_with_state", json=body)

    assert (answer.status_code, answer.json()["type"]) == (422, f"urn:segnode:problem:{kind}")


@pytest.mark.parametrize("path", ["predict", "predict_with_state"])
@pytest.mark.parametrize(
    ("more", "detail"),
    [
        ({}, "nothing to draw from"),
        ({"points": [{"x": 80, "y": 0}]}, "leaves the image"),
        ({"box": [3, 3, 2, 4]}, "x0 <= x1"),
        ({"points": [{"x": 1, "y": 1}] * 100}, "100 boxes and clicks"),
        ({"segmenter": "sam3"}, "there is no segmenter called 'sam3'"),
    ],
)
def test_impossible_prompts_are_refused(
    api: TestClient, image: str, path: str, more: dict[str, Any], detail: str
) -> None:
    answer = api.post(path, json={"image": image, **more})

    assert answer.status_code == 422
    assert detail in answer.json()["detail"]


@pytest.mark.parametrize(
    ("logits", "detail"),
    [
        ({"shape": [64, 64], "data": "AAAA"}, "64 x 64 float32"),
        ({"shape": [32, 64], "data": base64.b64encode(bytes(4 * 32 * 64)).decode()}, "64 x 64"),
        ({"shape": [-64, -64], "data": base64.b64encode(bytes(4 * 64 * 64)).decode()}, "64 x 64"),
        ({"shape": [64, 64], "data": "no base64"}, "no base64"),
        ({"shape": [64, 64], "data": "\u00e4" * 8}, "no base64"),
        (as_logits(np.full((64, 64), np.nan)), "finite"),
        (as_logits(np.full((64, 64), -np.inf)), "finite"),
        (as_logits(np.full((64, 64), 3e38)), "finite"),
    ],
    ids=["short", "other shape", "negative", "no base64", "no ascii", "nan", "infinite", "huge"],
)
def test_logits_that_are_none_are_refused(
    scripted_api: TestClient,
    scripted: ScriptedSegmenter,
    image: str,
    logits: dict[str, Any],
    detail: str,
) -> None:
    asked_before = len(scripted.prompts)

    answer = scripted_api.post(
        "predict", json={"image": image, "box": BOX, "previous_logits": logits}
    )

    assert answer.status_code == 422
    assert detail in answer.json()["detail"]
    assert len(scripted.prompts) <= asked_before + 1  # at most the trial


@pytest.mark.parametrize(("key", "value"), [("text", "liver"), ("mask", "AAAA")])
def test_what_a_segmenter_cannot_read_is_refused(
    api: TestClient, image: str, key: str, value: str
) -> None:
    answer = api.post("predict", json={"image": image, "box": BOX, key: value})

    assert answer.json()["type"] == "urn:segnode:problem:prompt-not-understood"
    assert answer.json()["detail"].endswith("box, point.")


@pytest.mark.parametrize("shape", [(60, 81), (60, 80, 3), (1, 1)])
def test_a_mask_has_the_images_size(
    scripted_api: TestClient, image: str, png: Callable[..., str], shape: tuple[int, ...]
) -> None:
    body = {"image": image, "mask": png(np.zeros(shape, np.uint8))}

    answer = scripted_api.post("predict", json=body)

    assert answer.status_code == 422
    assert "60 x 80" in answer.json()["detail"]
