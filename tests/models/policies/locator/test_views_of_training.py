"""The views that are kept of training, and the distances of patients left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.policies.locator.btcv import LabelledSlice
from models.policies.locator.learnt_views import LearntViews
from models.policies.locator.net import EMBEDDING_SHAPE
from models.policies.locator.policy import VIEWS
from models.policies.locator.views_of_training import (
    VARIED,
    LearntView,
    left_out_distances,
    other_rims,
    views_of,
)


def body() -> NDArray[np.float32]:
    """A windowed cross-section, 100 pixels wide and 60 high."""
    y, x = np.mgrid[:128, :128]
    return np.where(((y - 64) / 30) ** 2 + ((x - 64) / 50) ** 2 < 1, 0.5, 0).astype(np.float32)


def test_the_rims_are_cut_widened_and_left_out() -> None:
    cut, wider, without = other_rims(body())

    assert cut.shape[0] < cut.shape[1] < 128
    assert np.count_nonzero(cut) == np.count_nonzero(wider) == np.count_nonzero(body())
    assert wider.shape == (128 + 180, 128 + 180)
    assert without.shape == (116, 116)


def test_one_slice_in_so_many_is_varied() -> None:
    # Arrange
    pixels = (body() * 200).astype(np.uint8)
    slices = [
        LabelledSlice(str(n // 3), f"{n}", pixels, np.zeros_like(pixels)) for n in range(VARIED)
    ]
    shapes = []

    def encode(image: NDArray[np.float32]) -> NDArray[np.float32]:
        shapes.append(image.shape)
        return np.full(EMBEDDING_SHAPE, image.mean(), dtype=np.float32)

    # Act
    views = list(views_of(slices, encode))

    # Assert
    assert len(views) == len(shapes) == VARIED + 4
    assert [view.plain for view in views].count(False) == 4
    assert {view.patient for view in views if not view.plain} == {"1"}


def test_a_patient_unlike_the_others_is_far_when_left_out() -> None:
    rng = np.random.default_rng(0)
    views = [
        LearntView(
            patient, rng.normal(3.0 if patient == "odd" else 0.0, 1, 8).astype(np.float32), True
        )
        for patient in ("one", "two", "three", "odd")
        for _ in range(10)
    ]

    distances = left_out_distances(views)

    assert list(distances) == ["one", "two", "three", "odd"]
    assert min(distances["odd"]) > max(distances["one"])


def test_the_file_is_small_enough_to_travel(tmp_path: Path) -> None:
    LearntViews.load(VIEWS).save(tmp_path / "again.safetensors")

    assert (tmp_path / "again.safetensors").read_bytes() == VIEWS.read_bytes()
    assert VIEWS.stat().st_size < 100_000
