"""A session from its image to its mask, as a client sees it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from agent.fakes import FakeSegmenter, ScriptedSegmenter, segmentation
from agent.values import Point, PromptKind, Segmentation
from server.interactive.service import Service
from tests.support.http.sessions import BOX, Mask, opened

ReadMask = Callable[[dict[str, Any]], Mask]


def test_an_image_becomes_a_session(api: TestClient, image: str) -> None:
    answer = api.post("sessions", json={"image": image, "target": "liver"})

    body = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/v1/segmentation/sessions/{body['id']}"
    assert len(body["id"]) == 32
    assert body["shape"] == [60, 80]
    assert (body["segmenter"], body["target"]) == ("fake", "liver")
    assert body["understands"] == ["box", "point"]
    assert (body["box"], body["points"], body["steps"], body["segmented"]) == (None, [], 0, False)


@pytest.mark.parametrize("mask_format", ["png", "rle"])
def test_a_box_gives_the_mask(
    api: TestClient, image: str, drawn: Segmentation, mask_from: ReadMask, mask_format: str
) -> None:
    session = opened(api, image)

    told = api.post(f"{session}/boxes", json=BOX).json()
    sent = api.post(f"{session}/segment", json={"mask_format": mask_format}).json()

    assert (told["box"], told["steps"], told["segmented"]) == ([16, 15, 44, 35], 1, False)
    assert sent["mask"]["shape"] == [60, 80]
    assert np.array_equal(mask_from(sent), drawn.mask)
    assert sent["area_px"] == np.count_nonzero(drawn.mask)
    assert sent["predicted_iou"] == pytest.approx(drawn.predicted_iou)
    assert (sent["choice"], sent["candidate_ious"], sent["logits"]) == (0, [], None)
    assert api.get(session).json()["segmented"] is True


def test_logits_are_sent_when_asked_for(api: TestClient, image: str) -> None:
    session = opened(api, image)
    api.post(f"{session}/boxes", json=BOX)

    sent = api.post(f"{session}/segment", json={"logits": True}).json()["logits"]

    logits = np.frombuffer(base64.b64decode(sent["data"]), "<f4").reshape(sent["shape"])
    assert sent["shape"] == [64, 64]
    assert set(np.unique(logits)) == {-8.0, 8.0}


def test_clicks_add_up_and_opposite_ones_nearby_take_back(api: TestClient, image: str) -> None:
    session = opened(api, image)
    for x, y, positive in ((10, 10, True), (50, 50, False), (52, 50, True)):
        answer = api.post(f"{session}/points", json={"x": x, "y": y, "positive": positive})

    body = answer.json()
    assert body["points"] == [
        {"x": 10.0, "y": 10.0, "positive": True},
        {"x": 52.0, "y": 50.0, "positive": True},
    ]
    assert body["steps"] == 3


def test_a_second_box_replaces_the_first(api: TestClient, image: str) -> None:
    session = opened(api, image)
    api.post(f"{session}/boxes", json={"box": [0, 0, 1, 1]})

    assert api.post(f"{session}/boxes", json=BOX).json()["box"] == [16, 15, 44, 35]


def test_every_prompt_and_the_last_logits_go_into_every_call(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    image: str,
    disc: Mask,
) -> None:
    answers = [segmentation(disc, 0.1 * number) for number in range(1, 5)]
    segmenter = ScriptedSegmenter(answers)
    api = make_client(make_service({"scripted": segmenter}))
    session = opened(api, image, target="liver")

    api.post(f"{session}/boxes", json=BOX)
    api.post(f"{session}/segment")
    api.post(f"{session}/points", json={"x": 50, "y": 50, "positive": False})
    api.post(f"{session}/points", json={"x": 20, "y": 25})
    api.post(f"{session}/segment")

    first, second = segmenter.prompts[1:]  # the trial came before
    assert (first.previous_logits, first.points, first.text) == (None, (), "liver")
    assert second.box == first.box is not None
    assert second.points == (Point(50.0, 50.0, positive=False), Point(20.0, 25.0))
    assert second.previous_logits is answers[1].logits


def test_no_logits_go_to_a_segmenter_that_does_not_go_on_from_them(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    image: str,
    disc: Mask,
) -> None:
    segmenter = ScriptedSegmenter(
        [segmentation(disc)] * 4, supported_prompts=frozenset({PromptKind.BOX})
    )
    api = make_client(make_service({"scripted": segmenter}))
    session = opened(api, image, target="liver")

    for _ in range(2):
        api.post(f"{session}/boxes", json=BOX)
        api.post(f"{session}/segment")

    assert [(each.previous_logits, each.text) for each in segmenter.prompts[1:]] == [(None, "")] * 2


def test_the_same_question_is_not_asked_twice(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    image: str,
    disc: Mask,
) -> None:
    segmenter = ScriptedSegmenter([segmentation(disc)] * 2)
    api = make_client(make_service({"scripted": segmenter}))
    session = opened(api, image)
    api.post(f"{session}/boxes", json=BOX)

    answers = [api.post(f"{session}/segment") for _ in range(3)]

    assert [each.status_code for each in answers] == [200] * 3
    assert answers[0].json() == answers[2].json()
    assert len(segmenter.prompts) == 2  # the trial, and this


def test_an_image_is_encoded_once_for_all_sessions(api: TestClient, image: str) -> None:
    for _ in range(3):
        session = opened(api, image)
        api.post(f"{session}/boxes", json=BOX)
        api.post(f"{session}/segment")

    assert api.get("health").json()["encoder_passes"] == 1


def test_an_evicted_image_is_encoded_again_for_its_session(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    image: str,
    drawn: Segmentation,
    mask_from: ReadMask,
    png: Callable[..., str],
) -> None:
    api = make_client(
        make_service(memory_bytes=2 * 20_000)
    )  # one encoding of the fake takes 16,384
    session = opened(api, image)
    api.post(f"{session}/boxes", json=BOX)
    opened(api, png(np.zeros((60, 80), np.uint8)))

    sent = api.post(f"{session}/segment").json()

    assert np.array_equal(mask_from(sent), drawn.mask)
    told = api.get("health").json()
    assert (told["encoder_passes"], told["encodings_bytes"]) == (3, 16_384)


def test_segmenters_are_chosen_by_name_and_opened_when_needed(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    image: str,
    disc: Mask,
) -> None:
    boxes_only = ScriptedSegmenter([segmentation(disc)] * 9, frozenset({PromptKind.BOX}))
    boxes_only.name = "boxes"
    api = make_client(make_service({"fake": FakeSegmenter(), "boxes": boxes_only}))
    assert boxes_only.prompts == []

    chosen = api.get(opened(api, image, segmenter="boxes")).json()
    default = api.get(opened(api, image)).json()
    unknown = api.post("sessions", json={"image": image, "segmenter": "sam3"})

    assert (chosen["segmenter"], chosen["understands"]) == ("boxes", ["box"])
    assert default["segmenter"] == "fake"
    assert unknown.status_code == 422
    assert "fake, boxes" in unknown.json()["detail"]
    assert api.get("health").json()["segmenters"] == ["fake", "boxes"]


def test_a_prompt_that_is_not_understood_is_refused_and_changes_nothing(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    image: str,
    disc: Mask,
) -> None:
    segmenter = ScriptedSegmenter([segmentation(disc)] * 9, frozenset({PromptKind.BOX}))
    api = make_client(make_service({"scripted": segmenter}))
    session = opened(api, image)

    refused = api.post(f"{session}/points", json={"x": 3, "y": 3})

    assert refused.status_code == 422
    assert refused.json()["type"] == "urn:segnode:problem:prompt-not-understood"
    assert refused.json()["detail"] == (
        "scripted needs a prompt of one of these kinds and no other: box."
    )
    assert api.get(session).json()["steps"] == 0


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("boxes", {"box": [5, 5, 4, 6]}, "bad-prompt"),
        ("boxes", {"box": [-1, 0, 5, 5]}, "bad-prompt"),
        ("boxes", {"box": [0, 0, 80, 59]}, "bad-prompt"),  # the last column is 79
        ("boxes", {"box": [0, 0, "inf", 5]}, "bad-request"),
        ("boxes", {"box": [0, 0, 5]}, "bad-request"),
        ("boxes", {"box": "all"}, "bad-request"),
        ("boxes", {}, "bad-request"),
        ("points", {"x": 0, "y": 60}, "bad-prompt"),
        ("points", {"x": 1e300, "y": 0}, "bad-prompt"),
        ("points", {"x": 0}, "bad-request"),
        ("points", {"x": 0, "y": 0, "label": 1}, "bad-request"),
        ("segment", {}, "bad-prompt"),  # nothing to draw from
        ("segment", {"mask_format": "gif"}, "bad-request"),
    ],
)
def test_prompts_that_cannot_be_are_refused_and_change_nothing(
    api: TestClient, image: str, path: str, body: dict[str, Any], kind: str
) -> None:
    session = opened(api, image)

    answer = api.post(f"{session}/{path}", json=body)

    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:segnode:problem:{kind}"
    assert api.get(session).json()["steps"] == 0


def test_a_segmenter_that_fails_fails_the_call_alone(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    image: str,
    disc: Mask,
) -> None:
    segmenter = ScriptedSegmenter([segmentation(disc), "out of order", segmentation(disc)])
    api = make_client(make_service({"scripted": segmenter}))
    session = opened(api, image)
    api.post(f"{session}/boxes", json=BOX)

    failed, mended = (api.post(f"{session}/segment") for _ in range(2))

    assert (failed.status_code, mended.status_code) == (500, 200)


def test_an_opinion_that_is_no_number_is_none(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    image: str,
    disc: Mask,
) -> None:
    opinions = replace(segmentation(disc, float("nan")), candidate_ious=(2.0, float("inf"), 0.5))
    api = make_client(make_service({"scripted": ScriptedSegmenter([opinions] * 2)}))
    session = opened(api, image)
    api.post(f"{session}/boxes", json=BOX)

    sent = api.post(f"{session}/segment")

    assert sent.status_code == 200
    assert (sent.json()["predicted_iou"], sent.json()["candidate_ious"]) == (0.0, [1.0, 0.0, 0.5])
    assert api.get(session).json()["predicted_iou"] == 0.0
