"""The position, orientation and spacing of a source's slices, in its own digits.

A result must lie exactly where its source lies: viewers refuse a segmentation whose orientation
differs in the seventh digit. So the source's decimal strings are copied; a value that is missing,
illegal or contradicts the volume's affine (a repaired series) is written from the affine instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.valuerep import format_number_as_ds

from dicom_node.datasets.dataset_files import read_dataset
from dicom_node.datasets.decimals import decimal_of
from dicom_node.values import SourceFrame, SourceVolume

# PS3.5 table 6.2-1, DS: at most 16 characters of a fixed or floating point number
_LEGAL_DS = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

# Functional groups that say where a frame is (PS3.3 C.7.6.16.2.1, .3 and .4)
_GROUP_OF = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
}


@dataclass(frozen=True)
class Planes:
    """The slices of a volume as legal decimal strings (DS), z in the volume's order.

    `positions` has one (x, y, z) LPS mm a slice, `orientation` six direction cosines (row, then
    column), `pixel_spacing_mm` the distances (between rows, between columns).
    """

    positions: tuple[tuple[str, ...], ...]
    orientation: tuple[str, ...]
    pixel_spacing_mm: tuple[str, ...]
    slice_thickness_mm: str


def read_planes(volume: SourceVolume) -> Planes:
    """The planes of `volume` as its source files state them. OSError when a file that must be read
    for that is gone.
    """
    stated = list(_stated(volume.frames))
    affine = volume.affine_zyx_to_lps
    spacing = np.linalg.norm(affine[:3, :3], axis=0)  # (z, y, x)
    # column 0 of the affine is the step from slice to slice, column 3 the first voxel's position
    origins = [affine[:3, 3] + z * affine[:3, 0] for z in range(len(stated))]
    cosines = np.concatenate([affine[:3, 2] / spacing[2], affine[:3, 1] / spacing[1]])
    first = stated[0]
    return Planes(
        positions=tuple(
            _verbatim(plane["ImagePositionPatient"], origin, max(float(spacing[0]) / 2, 1.0))
            for plane, origin in zip(stated, origins, strict=True)
        ),
        orientation=_verbatim(first["ImageOrientationPatient"], cosines, 1e-3),
        pixel_spacing_mm=_verbatim(
            first["PixelSpacing"], spacing[1:], 1e-3 * float(spacing[1:].min())
        ),
        slice_thickness_mm=_thickness(first["SliceThickness"], float(spacing[0])),
    )


def decimal_strings(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """The value of a DS attribute as written, split at the backslashes; empty when absent.

    It is read from the raw bytes, because pydicom refuses a value of more than 16 characters, which
    is illegal and of use all the same.
    """
    tag = Tag(keyword)
    if tag not in ds:
        return ()
    element = ds.get_item(tag)
    if isinstance(element, RawDataElement):
        text = (element.value or b"").decode("ascii", "replace")
        return tuple(part.strip(" \0") for part in text.split("\\"))
    value = ds[tag].value
    if value is None or value == "":
        return ()
    return tuple(str(part) for part in ([value] if isinstance(value, str | float) else value))


def numbers(parts: Iterable[str], count: int) -> NDArray[np.float64] | None:
    """`count` finite floats, or None when they are not all there."""
    values = [decimal_of(part) for part in parts]
    finite = [value for value in values if value is not None]
    return np.array(finite, dtype=np.float64) if len(finite) == len(values) == count else None


def _stated(frames: Sequence[SourceFrame]) -> Iterator[dict[str, tuple[str, ...]]]:
    """The header values of each frame; a file is read once at most, however many frames it holds,
    and not again where its frames know what it states.
    """
    for path, members in groupby(frames, key=lambda frame: frame.path):
        of_file = list(members)
        known = all(frame.stated for frame in of_file)
        ds = Dataset() if known else read_dataset(path)
        for frame in of_file:
            stated = frame.stated or stated_plane(ds, frame.frame_number)
            yield dict(zip(_GROUP_OF, stated, strict=True))


def stated_plane(ds: Dataset, frame_number: int | None = None) -> tuple[tuple[str, ...], ...]:
    """Image Position and Orientation (Patient), Pixel Spacing and Slice Thickness as the data set
    writes them for an image, or for its frame of this one-based number; each empty when absent.
    """
    return tuple(_stated_of(ds, keyword, frame_number) for keyword in _GROUP_OF)


def _stated_of(ds: Dataset, keyword: str, frame_number: int | None) -> tuple[str, ...]:
    """The value from the frame's own functional group, the shared one, or the data set itself."""
    places = []
    if frame_number is not None:
        per_frame = ds.get("PerFrameFunctionalGroupsSequence") or []
        places = [
            *per_frame[frame_number - 1 : frame_number],
            *(ds.get("SharedFunctionalGroupsSequence") or []),
        ]
    groups = [item for place in places for item in place.get(_GROUP_OF[keyword]) or []]
    return next(filter(None, (decimal_strings(item, keyword) for item in [*groups, ds])), ())


def _verbatim(
    stated: tuple[str, ...], expected: NDArray[np.float64], tolerance: float
) -> tuple[str, ...]:
    """The stated strings where they are within `tolerance` of `expected`, else its numbers.

    `expected` (n,) are the affine's, in the unit of `tolerance`.
    """
    values = numbers(stated, expected.size)
    if values is None or float(np.abs(values - expected).max()) > tolerance:
        return tuple(format_number_as_ds(float(value) + 0.0) for value in expected)
    return tuple(_legal(text) for text in stated)


def _legal(text: str) -> str:
    """`text` itself if it is a legal DS, otherwise its number in at most 16 characters."""
    return (
        text
        if len(text) <= 16 and _LEGAL_DS.fullmatch(text)
        else format_number_as_ds(decimal_of(text) or 0.0)
    )


def _thickness(stated: tuple[str, ...], step_mm: float) -> str:
    """The stated slice thickness, or the distance between slices when there is none above zero."""
    values = numbers(stated, 1)
    if values is None or not math.isfinite(values[0]) or values[0] <= 0:
        return format_number_as_ds(step_mm)
    return _legal(stated[0])
