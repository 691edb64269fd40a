"""The size of a single image's pixels, from each attribute that may state it."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicom_node.volume.pixel_size import PixelSize, pixel_size


def stated(**values: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def region(row_cm: float, column_cm: float, **changes: Any) -> Dataset:
    """An ultrasound region of tissue in two dimensions, in centimetres."""
    two_dimensional: dict[str, Any] = {
        "RegionSpatialFormat": 1,
        "PhysicalUnitsXDirection": 3,
        "PhysicalUnitsYDirection": 3,
        "PhysicalDeltaX": column_cm,
        "PhysicalDeltaY": row_cm,
    }
    return stated(**two_dimensional | changes)


def test_pixel_spacing_comes_before_all_others() -> None:
    ds = stated(PixelSpacing=[0.5, 0.25], ImagerPixelSpacing=[0.1, 0.1])

    assert pixel_size(ds) == PixelSize((0.5, 0.25), sized=True)


@pytest.mark.parametrize("spacing", [[0.0, 0.5], [-1.0, 0.5], [0.5]])
def test_a_spacing_that_is_none_is_passed_over(spacing: list[float]) -> None:
    size = pixel_size(stated(PixelSpacing=spacing, NominalScannedPixelSpacing=[0.2, 0.1]))

    assert size.spacing_mm == (0.2, 0.1)
    assert size.warning == "Sizes are those on the film that was scanned."


def test_a_region_of_ultrasound_is_in_centimetres_and_of_any_direction() -> None:
    ds = stated(SequenceOfUltrasoundRegions=[region(-0.02, 0.01)])

    size = pixel_size(ds)

    assert size.spacing_mm == pytest.approx((0.2, 0.1))
    assert size.sized


@pytest.mark.parametrize(
    "other",
    [
        region(0.5, 0.5, RegionSpatialFormat=3),  # Doppler: time across
        region(0.5, 0.5, PhysicalUnitsXDirection=4),  # seconds
        region(0.0, 0.5),
    ],
)
def test_only_regions_of_tissue_in_centimetres_count(other: Dataset) -> None:
    assert pixel_size(stated(SequenceOfUltrasoundRegions=[other])).sized is False
    both = pixel_size(stated(SequenceOfUltrasoundRegions=[other, region(0.02, 0.02)]))
    assert both.spacing_mm == pytest.approx((0.2, 0.2))


def test_regions_of_two_scales_give_no_size() -> None:
    size = pixel_size(stated(SequenceOfUltrasoundRegions=[region(0.02, 0.02), region(0.03, 0.03)]))

    assert not size.sized
    assert size.warning == "Parts of the image have different scales: sizes are told in pixels."


def test_sizes_at_the_detector_are_divided_by_the_magnification() -> None:
    ds = stated(ImagerPixelSpacing=[0.2, 0.1], EstimatedRadiographicMagnificationFactor=1.25)

    assert pixel_size(ds).spacing_mm == pytest.approx((0.16, 0.08))


@pytest.mark.parametrize("factor", [None, 0.5, 0.0])
def test_without_a_sound_magnification_they_are_those_at_the_detector(factor: float | None) -> None:
    ds = stated(ImagerPixelSpacing=[0.2, 0.1])
    if factor is not None:
        ds.EstimatedRadiographicMagnificationFactor = factor

    size = pixel_size(ds)

    assert (size.spacing_mm, size.sized) == ((0.2, 0.1), True)
    assert "the magnification is not known" in size.warning


@pytest.mark.parametrize(("ratio", "height"), [([4, 2], 2.0), ([0, 2], 1.0), (None, 1.0)])
def test_without_a_size_the_ratio_of_the_sides_counts(
    ratio: list[int] | None, height: float
) -> None:
    size = pixel_size(stated() if ratio is None else stated(PixelAspectRatio=ratio))

    assert size.spacing_mm == (height, 1.0)
    assert not size.sized
    assert size.warning.endswith("how large a pixel is: sizes are told in pixels.")
