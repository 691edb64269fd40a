"""How large a pixel of a single image is, from any of the attributes that state it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from dicom_node.datasets.attribute_values import decimal, items
from dicom_node.datasets.source_planes import decimal_strings, numbers
from dicom_node.errors import UnusableValue

_CENTIMETRES = 3  # Physical Units X and Y Direction, PS3.3 C.8.5.5.1.1
_TWO_DIMENSIONAL = 1  # Region Spatial Format, tissue in two dimensions
_SAME = 1e-3  # relative: regions of one image with one scale


@dataclass(frozen=True)
class PixelSize:
    """`spacing_mm` between (rows, columns).

    Where `sized` is False only the ratio of the two counts, and columns are 1 mm apart.
    """

    spacing_mm: tuple[float, float]
    sized: bool
    warning: str = ""


def pixel_size(ds: Dataset) -> PixelSize:
    """The size of a pixel, from the first usable attribute.

    In order: Pixel Spacing (PS3.3 10.7), the regions of an ultrasound image (C.8.5.5), the spacing
    at the detector (C.8.11.3), that of the scanned film (C.8.6.2).
    """
    stated = _spacing(ds, "PixelSpacing")
    if stated:
        return PixelSize(stated, sized=True)
    if _regions(ds):
        return _of_regions(ds)
    detector = _spacing(ds, "ImagerPixelSpacing")
    if detector:
        return _of_detector(ds, detector)
    scanned = _spacing(ds, "NominalScannedPixelSpacing")
    if scanned:
        return PixelSize(
            scanned, sized=True, warning="Sizes are those on the film that was scanned."
        )
    return _unknown(ds)


def _spacing(ds: Dataset, keyword: str) -> tuple[float, float] | None:
    """Two numbers above zero, or None."""
    values = numbers(decimal_strings(ds, keyword), 2)
    if values is None or not (values > 0).all():
        return None
    return float(values[0]), float(values[1])


def _of_detector(ds: Dataset, spacing_mm: tuple[float, float]) -> PixelSize:
    """Sizes at the detector exceed those in the patient by the magnification, if known."""
    factor = numbers(decimal_strings(ds, "EstimatedRadiographicMagnificationFactor"), 1)
    if factor is None or factor[0] < 1:
        warning = "Sizes are those on the detector: the magnification is not known."
        return PixelSize(spacing_mm, sized=True, warning=warning)
    row, column = (value / float(factor[0]) for value in spacing_mm)
    return PixelSize((row, column), sized=True)


def _of_regions(ds: Dataset) -> PixelSize:
    """The scale of the two-dimensional regions, if they have one and it is a length."""
    scales = [scale for item in _regions(ds) if (scale := _of_region(item))]
    if not scales:
        return _unknown(ds)
    if any(not np.allclose(scale, scales[0], rtol=_SAME) for scale in scales):
        return _unknown(ds, "Parts of the image have different scales")
    return PixelSize(scales[0], sized=True)


def _regions(ds: Dataset) -> list[Dataset]:
    with suppress(UnusableValue):
        return items(ds, "SequenceOfUltrasoundRegions")
    return []


def _of_region(item: Dataset) -> tuple[float, float] | None:
    units = [_one(item, f"PhysicalUnits{axis}Direction") for axis in "XY"]
    tissue = _one(item, "RegionSpatialFormat") == _TWO_DIMENSIONAL
    if not tissue or units != [_CENTIMETRES, _CENTIMETRES]:
        return None
    row, column = (abs(_one(item, f"PhysicalDelta{axis}") or 0.0) * 10 for axis in "YX")
    return (row, column) if min(row, column) > 0 else None


def _one(item: Dataset, keyword: str) -> float | None:
    """The number of an attribute; None, so that the size is unknown, if it cannot be used."""
    with suppress(UnusableValue):
        return decimal(item, keyword)
    return None


def _unknown(ds: Dataset, why: str = "The header does not say how large a pixel is") -> PixelSize:
    ratio = numbers(decimal_strings(ds, "PixelAspectRatio"), 2)
    is_usable = ratio is not None and (ratio > 0).all()
    height = float(ratio[0] / ratio[1]) if ratio is not None and is_usable else 1.0
    return PixelSize((height, 1.0), sized=False, warning=f"{why}: sizes are told in pixels.")
