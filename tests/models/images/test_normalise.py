"""The normalisation: the same picture whatever scale the numbers were stored on."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.images.normalise import (
    DISPLAY_LEVELS,
    body_mask,
    display_scale,
    measure_ct,
    normalise,
)

AIR, FAT, SOFT, BONE = -1000.0, -100.0, 70.0, 700.0


def abdomen(rows: int = 128, columns: int = 160) -> NDArray[np.float32]:
    """A body of fat with soft tissue and a spine in it, on a couch, in HU with a little noise."""
    y, x = np.mgrid[:rows, :columns]
    inside = ((y - 60) / 45) ** 2 + ((x - 80) / 65) ** 2
    hu = np.full((rows, columns), AIR, dtype=np.float32)
    hu[inside < 1] = FAT
    hu[inside < 0.7] = SOFT
    hu[85:95, 75:85] = BONE
    hu[112:114, 10:150] = 0.0
    noise = np.random.default_rng(1).normal(0, 8, hu.shape)
    return (hu + noise).astype(np.float32)


def test_hounsfield_units_are_shown_through_the_window() -> None:
    # Arrange
    hu = abdomen()
    expected = np.clip((hu + 160) / 400, 0, 1)

    # Act
    shown = normalise(hu)

    # Assert
    assert shown.dtype == np.float32
    assert np.abs(shown - expected).max() < 0.03


@pytest.mark.parametrize(("slope", "intercept"), [(0.08, 85.0), (3.0, -200.0), (1.0, 1024.0)])
def test_the_scale_of_storage_does_not_matter(slope: float, intercept: float) -> None:
    hu = abdomen()

    shown = normalise(hu * slope + intercept)

    assert np.abs(shown - normalise(hu)).max() < 0.02


def test_eight_bits_over_the_whole_range_give_nearly_the_same_picture() -> None:
    hu = abdomen()
    stored = np.round((hu - hu.min()) / (hu.max() - hu.min()) * 255).astype(np.uint8)

    shown = normalise(stored)

    assert np.abs(shown - normalise(hu)).mean() < 0.02


def test_padding_outside_the_scanners_circle_is_no_air() -> None:
    # Arrange
    hu = abdomen()
    y, x = np.mgrid[: hu.shape[0], : hu.shape[1]]
    outside = (y - 64) ** 2 + (x - 80) ** 2 > 82**2
    padded = np.where(outside, np.float32(-3024), hu)

    # Act
    scale, expected = measure_ct(padded), measure_ct(hu)

    # Assert
    assert outside.mean() > 0.05
    assert scale.low == pytest.approx(expected.low, abs=8)
    assert scale.high == pytest.approx(expected.high, abs=8)


def test_a_picture_windowed_before_is_left_as_it_is() -> None:
    stored = np.round(np.clip((abdomen() + 160) / 400, 0, 1) * 255).astype(np.uint8)

    assert np.abs(normalise(stored) - stored / 255).max() < 0.01


def chest() -> NDArray[np.float32]:
    """Little else than lung and bone within fat: what is brightest is no soft tissue."""
    hu = abdomen()
    y, x = np.mgrid[: hu.shape[0], : hu.shape[1]]
    hu[((y - 60) / 42) ** 2 + ((x - 80) / 60) ** 2 < 1] = -800
    hu[80:95, 70:90] = BONE
    return hu


@pytest.mark.parametrize("window", [(-160, 240), (-125, 225), (-25, 230)])
def test_no_volume_in_8_bits_is_windowed_twice(window: tuple[float, float]) -> None:
    low, high = window
    hu = np.stack([chest(), abdomen(), chest()])
    stored = np.round(np.clip((hu - low) / (high - low), 0, 1) * 255).astype(np.uint8)

    assert display_scale(stored) == measure_ct(stored) == DISPLAY_LEVELS


@pytest.mark.parametrize("scale", [1.0, 0.9])
def test_a_picture_scaled_to_its_own_range_is_not_taken_for_a_windowed_one(scale: float) -> None:
    hu = np.stack([abdomen(), chest()])
    stored = np.round((hu - hu.min()) / (hu.max() - hu.min()) * 255 * scale).astype(np.uint8)

    assert display_scale(stored) is None
    assert display_scale(hu) is None


def test_a_volume_has_one_scale() -> None:
    volume = np.stack([abdomen(), abdomen() + 15, abdomen()])

    shown = normalise(volume)

    assert shown.shape == volume.shape
    assert np.median(shown[1] - shown[0]) == pytest.approx(0.0, abs=0.04)
    tissue = (slice(40, 60), slice(60, 100))
    assert shown[1][tissue].mean() > shown[0][tissue].mean() + 0.02


def test_the_body_is_found_without_the_couch() -> None:
    body = body_mask(abdomen())

    assert body[60, 80]
    assert body[20, 80]
    assert not body[113, 80]
    assert not body[5, 5]


def test_other_modalities_run_between_their_percentiles() -> None:
    pixels = np.zeros((64, 64), dtype=np.float32)
    pixels[16:48, 16:48] = np.linspace(100, 900, 1024).reshape(32, 32)

    shown = normalise(pixels, modality="MR")

    assert shown[0, 0] == 0
    assert shown[16, 16] == pytest.approx(0.0, abs=0.01)
    assert shown[47, 47] == pytest.approx(1.0, abs=0.01)


def test_a_constant_slice_is_no_error() -> None:
    shown = normalise(np.full((32, 32), 5.0, dtype=np.float32))

    assert np.isfinite(shown).all()


@pytest.mark.parametrize("pixels", [np.zeros(5), np.zeros((0, 4)), np.full((8, 8), np.nan)])
def test_what_is_no_picture_is_refused(pixels: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="pixels"):
        normalise(pixels)
