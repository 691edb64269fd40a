"""Modality and window that a client names: the image is shown as `segnode segment` shows it, the
answer says how, and what is no modality or window is refused in a sentence.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient

from agent.fakes import ThresholdPolicy
from agent.values import Box, Prompts, Volume
from models.images.preprocessing import WorkingGrid
from models.images.readers import UPRIGHT, as_volume, read_volume
from models.loaded_models import LoadedModels
from models.segmenters.litemedsam import LiteMedSam
from server.interactive.service import Service
from server.local import source_at
from server.study.source_files import agent_volume

Mask = NDArray[np.bool_]
BOX = [16, 15, 44, 35]


def on_working_grid(volume: Volume) -> NDArray[np.float32]:
    return WorkingGrid.of(volume.geometry).to_working(volume).intensities


@pytest.fixture(scope="module")
def liver(shared_data: Path) -> tuple[NDArray[np.float32], Mask]:
    """The sample CT's slice (y, x) with the most liver, in HU, and the liver on it."""
    folder = shared_data / "ct_dicom_totalseg"
    source = source_at(folder / "dicom", ())
    hu = on_working_grid(agent_volume(source.load(source.assignment)))
    names = json.loads((folder / "labels.json").read_text())
    number = next(int(key) for key, name in names.items() if name == "liver")
    labels = on_working_grid(read_volume(folder / "example_seg_dicom.nii.gz", modality="SEG"))
    truth = labels == number
    z = int(truth.sum(axis=(1, 2)).argmax())
    return hu[z], truth[z]


def test_the_api_draws_what_segment_draws(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    npy: Callable[..., str],
    liver: tuple[NDArray[np.float32], Mask],
    mask_from: Callable[[dict[str, Any]], Mask],
) -> None:
    # Arrange
    hu, truth = liver
    litemedsam, box = LiteMedSam(threads=1, eager=True), Box.around(truth)
    bench = LoadedModels(ThresholdPolicy(), litemedsam)
    slices = bench.prepare(as_volume(hu[None], UPRIGHT, "CT"), None).slices_for("liver")
    expected = litemedsam.segment(slices.encoding(0), Prompts(box))
    api = make_client(make_service({"litemedsam": litemedsam}))
    body = {"image": npy(hu), "box": [box.x0, box.y0, box.x1, box.y1], "modality": "CT"}

    # Act
    answer = api.post("predict", json=body).json()

    # Assert
    mask = mask_from(answer)
    assert np.array_equal(mask, expected.mask)
    assert answer["shown"] == slices.window
    assert 2 * np.sum(mask & truth) / (mask.sum() + truth.sum()) > 0.95


def test_a_session_says_how_its_image_is_shown(api: TestClient, image: str) -> None:
    as_sent = api.post("sessions", json={"image": image}).json()
    windowed = api.post("sessions", json={"image": image, "window": "0..210"}).json()

    assert as_sent["shown"] == "as sent"
    assert windowed["shown"] == "OT 0..210 (as asked)"
    drawn = api.post(f"sessions/{windowed['id']}/boxes", json={"box": BOX})
    assert drawn.json()["shown"] == windowed["shown"]
    answer = api.post(f"sessions/{windowed['id']}/segment").json()
    assert answer["shown"] == windowed["shown"]


def test_an_image_is_named_with_its_view(api: TestClient, image: str) -> None:
    first = api.post("predict", json={"image": image, "box": BOX, "window": "0..210"}).json()
    named = {"image_sha256": first["image_sha256"], "box": BOX}

    same = api.post("predict_with_state", json=named | {"window": "0..210"})
    other = api.post("predict_with_state", json=named | {"window": "0..100"})

    assert same.json()["shown"] == first["shown"]
    assert other.status_code == 404


def test_integers_below_zero_need_a_modality(api: TestClient, npy: Callable[..., str]) -> None:
    hu = npy(np.full((20, 30), -1000, np.int16))

    refused = api.post("sessions", json={"image": hu})

    assert refused.status_code == 422
    assert "need a modality or a window" in refused.json()["detail"]
    assert api.post("sessions", json={"image": hu, "modality": "CT"}).status_code == 201


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"modality": "ct"}, "a modality is written as in DICOM, such as CT or MR"),
        ({"modality": ""}, "a modality is written as in DICOM, such as CT or MR"),
        ({"window": "wide"}, "a window is written as -160..240"),
        ({"window": "nan..1"}, "a window is written as -160..240"),
        ({"window": "240..-160"}, "240..-160 has no width"),
        ({"window": "40/0"}, "40/0 has no width"),
    ],
)
def test_what_is_no_modality_or_window_is_refused(
    api: TestClient, image: str, asked: dict[str, str], sentence: str
) -> None:
    for path in ("sessions", "predict"):
        answer = api.post(path, json={"image": image} | asked)
        assert answer.status_code == 422
        assert sentence in answer.json()["detail"]


def test_colour_has_no_window(api: TestClient, png: Callable[..., str]) -> None:
    colour = np.zeros((20, 30, 3), np.uint8)
    colour[..., 0] = 200

    answer = api.post("sessions", json={"image": png(colour), "window": "0..100"})

    assert answer.status_code == 422
    assert "colour" in answer.json()["detail"]
