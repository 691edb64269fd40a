"""Sessions as they are kept: whose they are, how long, how many, and in how much memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from starlette.testclient import TestClient

from agent.fakes import ScriptedSegmenter, segmentation
from agent.values import Point
from server.interactive.service import Service
from tests.server.interactive.conftest import Clock
from tests.support.http.sessions import BOX, Mask, opened


def test_undo_brings_back_prompts_mask_and_logits(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    image: str,
    disc: Mask,
) -> None:
    answers = [segmentation(disc, 0.1 * number) for number in range(1, 5)]
    segmenter = ScriptedSegmenter(answers)
    api = make_client(make_service({"scripted": segmenter}))
    session = opened(api, image)
    api.post(f"{session}/boxes", json=BOX)
    api.post(f"{session}/segment")
    api.post(f"{session}/points", json={"x": 50, "y": 50, "positive": False})
    api.post(f"{session}/segment")

    undone = api.post(f"{session}/undo").json()
    again = api.post(f"{session}/segment").json()
    api.post(f"{session}/points", json={"x": 1, "y": 1})
    api.post(f"{session}/segment")

    assert (undone["points"], undone["steps"], undone["segmented"]) == ([], 1, True)
    assert undone["predicted_iou"] == again["predicted_iou"] == pytest.approx(0.2)
    assert segmenter.prompts[-1].points == (Point(1.0, 1.0),)
    assert segmenter.prompts[-1].previous_logits is answers[1].logits  # not the third's


def test_undo_ends_at_the_empty_session(api: TestClient, image: str) -> None:
    session = opened(api, image)
    api.post(f"{session}/boxes", json=BOX)

    steps = [api.post(f"{session}/undo") for _ in range(2)]

    assert steps[0].json()["box"] is None
    assert (steps[1].status_code, steps[1].json()["type"]) == (
        409,
        "urn:segnode:problem:nothing-to-undo",
    )


def test_a_closed_session_is_gone(api: TestClient, image: str) -> None:
    session = opened(api, image)

    assert api.delete(session).status_code == 204
    assert api.get(session).status_code == 404
    assert api.delete(session).status_code == 404
    assert api.post(f"{session}/segment").json()["type"] == "urn:segnode:problem:unknown-session"


def test_a_session_belongs_to_its_token(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    image: str,
    other_token: str,
) -> None:
    service = make_service()
    owner, other = make_client(service), make_client(service, token=other_token)
    session = opened(owner, image)

    seen = [
        other.get(session),
        other.post(f"{session}/boxes", json=BOX),
        other.post(f"{session}/undo"),
        other.post(f"{session}/segment"),
        other.delete(session),
    ]

    assert [each.status_code for each in seen] == [404] * 5
    assert owner.get(session).json()["box"] is None


def test_a_session_that_nobody_uses_ends(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    image: str,
    clock: Clock,
) -> None:
    api = make_client(make_service(idle_s=60))
    used, idle = opened(api, image), opened(api, image)

    clock.seconds += 50
    api.get(used)
    clock.seconds += 50

    assert api.get(used).status_code == 200
    assert api.get(idle).status_code == 404
    assert api.get("health").json()["sessions"] == 1


def test_no_more_sessions_than_allowed(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    image: str,
    clock: Clock,
) -> None:
    api = make_client(make_service(max_sessions=2, idle_s=60))
    first = opened(api, image)
    opened(api, image)

    refused = api.post("sessions", json={"image": image})
    api.delete(first)
    taken = api.post("sessions", json={"image": image})
    clock.seconds += 61
    after = api.post("sessions", json={"image": image})

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
    assert "sessions.max_sessions" in refused.json()["detail"]
    assert (taken.status_code, after.status_code) == (201, 201)


def test_masks_count_against_memory(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    png: Callable[..., str],
) -> None:
    image = png(np.zeros((100, 100), np.uint8))
    api = make_client(make_service(memory_bytes=120_000))  # a mask and its logits take 26,384
    session = opened(api, image)
    statuses = []

    for x in range(5):
        api.post(f"{session}/points", json={"x": 20 * x, "y": 5})
        statuses.append(api.post(f"{session}/segment").status_code)
    freed = [api.post(f"{session}/undo") for _ in range(4)][-1]

    assert statuses == [200, 200, 200, 429, 429]
    assert freed.status_code == 200
    assert api.post(f"{session}/segment").status_code == 200


def test_a_session_takes_so_many_prompts(
    make_client: Callable[..., TestClient], make_service: Callable[..., Service], image: str
) -> None:
    api = make_client(make_service(max_prompts=3))
    session = opened(api, image)

    statuses = [
        api.post(f"{session}/points", json={"x": 10 * x, "y": 5}).status_code for x in range(5)
    ]

    assert statuses == [200, 200, 200, 422, 422]
    assert api.post(f"{session}/segment").status_code == 200
