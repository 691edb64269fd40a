"""Whether what was drawn can be what was asked for: its volume, side, parts and mean on CT.

Each doubt is a sentence for the reader. It marks the result for review and takes nothing away: a
mirrored patient (situs inversus), a removed kidney's neighbour that has grown, a spleen in pieces
after an injury are all real.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from dicom_node.datasets.intensity_units import HOUNSFIELD_UNIT
from dicom_node.datasets.patient_age import age_years
from dicom_node.results.measurements import voxels_ml
from dicom_node.results.result_header import source_header
from dicom_node.values import SourceVolume
from dicom_node.voxels import Voxels
from server.rules.expectations import Expectation, Span
from server.study.doubts.midline import share_left
from server.values import TargetSummary, whole_ml

REVIEW = "for review: let a person look at it before it is used"
"""The last sentence about a target that is in doubt."""

ADULT_YEARS = 18.0
UNSURE = 0.5
"""A confidence below this is a doubt by itself: the planner is unsure of the outline."""

_WRONG_HALF = 0.7  # of its voxels: what is expected on one side may reach over the middle
_LARGE_PART = 0.1  # of its voxels; less is a crumb
_AIR_BELOW_HU = -500.0
_EDGES = (("right", "left"), ("front", "back"), ("lower", "upper"))  # at the ends of LPS x, y, z


@dataclass(frozen=True, eq=False)
class DrawnStructure:
    """A mask on the volume that it was drawn on; `age_years` of the patient, None if unknown."""

    voxels: Voxels
    volume: SourceVolume
    age_years: float | None

    @classmethod
    def of(cls, voxels: Voxels, volume: SourceVolume) -> DrawnStructure:
        """With the patient's age as the source's first file says it."""
        age = age_years(source_header(volume)) if volume.frames else None
        return cls(voxels, volume, age)


def in_doubt(
    summary: TargetSummary,
    drawn_structure: DrawnStructure,
    expectations: Mapping[str, Expectation],
    others: tuple[str, ...] = (),
) -> TargetSummary:
    """The summary of a segmented target with its doubts and, where there are any, marked for
    review; `others` are sentences from elsewhere: voxels that other structures claim, another mask
    of a second segmenter.

    Where the view cuts it off is said, and is no doubt: most scans end within some organ.
    """
    expectation = expectations.get(summary.structure or "", Expectation(single=False))
    doubts = (*others, *implausible(drawn_structure, expectation))
    unsure = summary.confidence is not None and summary.confidence < UNSURE
    for_review = bool(doubts) or unsure
    return replace(
        summary,
        for_review=for_review,
        warnings=(
            *summary.warnings,
            *cut_off_in_plane(drawn_structure),
            *doubts,
            *((REVIEW,) if for_review else ()),
        ),
    )


def implausible(drawn_structure: DrawnStructure, expectation: Expectation) -> tuple[str, ...]:
    """A sentence for each thing that is not as expected; none for a single image."""
    if drawn_structure.volume.single_image:
        return ()
    doubts = (
        _odd_volume(drawn_structure, expectation.volume_ml),
        _wrong_half(drawn_structure, expectation.side),
        _odd_parts(drawn_structure) if expectation.single else "",
        _odd_mean(drawn_structure, expectation.mean_hu),
    )
    return tuple(doubt for doubt in doubts if doubt)


def cut_off_in_plane(drawn_structure: DrawnStructure) -> tuple[str, ...]:
    """A sentence for each side of its slices that a mask touches; the agent tells of the first and
    the last slice.
    """
    if drawn_structure.volume.single_image:
        return ()
    return tuple(
        f"the structure is cut off by the {_edge_name(drawn_structure.volume, axis, last)} edge of "
        "the view"
        for axis, last in _edges_touched(drawn_structure.voxels)
        if axis > 0
    )


def _edges_touched(voxels: Voxels) -> list[tuple[int, bool]]:
    """The array axis of each face of the grid that a mask touches, and whether it is the last."""
    ends = np.add(voxels.origin, voxels.box.shape)
    faces = [(axis, False) for axis in range(3) if voxels.origin[axis] == 0]
    return faces + [(axis, True) for axis in range(3) if ends[axis] == voxels.shape[axis]]


def _edge_name(volume: SourceVolume, axis: int, last: bool) -> str:
    direction = volume.affine_zyx_to_lps[:3, axis]
    lps = int(np.abs(direction).argmax())
    return _EDGES[lps][int(last == bool(direction[lps] > 0))]


def _odd_volume(drawn_structure: DrawnStructure, expected: Span | None) -> str:
    age = drawn_structure.age_years
    if expected is None or (age is not None and age < ADULT_YEARS):
        return ""
    size_ml = voxels_ml(drawn_structure.voxels, drawn_structure.volume)
    usual = f"the {expected.low:g} to {expected.high:g} ml that are expected of an adult's"
    if size_ml > expected.high:
        return f"{whole_ml(size_ml)} ml is more than {usual}"
    whole = age is not None and not _edges_touched(drawn_structure.voxels)
    if whole and size_ml < expected.low:
        return f"{whole_ml(size_ml)} ml is less than {usual}"
    return ""


def _wrong_half(drawn_structure: DrawnStructure, side: str) -> str:
    left = share_left(drawn_structure.voxels, drawn_structure.volume) if side else None
    if left is None:
        return ""
    wrong, other = (left, "left") if side == "right" else (1.0 - left, "right")
    if wrong < _WRONG_HALF:
        return ""
    return (
        f"{wrong:.0%} of it lies in the {other} half of the body, and the {side} one is expected: "
        "the sides may be mistaken for each other"
    )


def _odd_parts(drawn_structure: DrawnStructure) -> str:
    if _edges_touched(drawn_structure.voxels):
        return ""  # what joins them may lie beyond the view
    labels, count = ndimage.label(drawn_structure.voxels.box, np.ones((3, 3, 3)))
    if count < 2:
        return ""
    sizes = np.bincount(labels.ravel())[1:]
    large = int(np.count_nonzero(sizes > _LARGE_PART * sizes.sum()))
    if large < 2:
        return ""
    return f"it is in {large} large parts that do not touch, and one is expected"


def _odd_mean(drawn_structure: DrawnStructure, expected: Span | None) -> str:
    volume = drawn_structure.volume
    if expected is None or volume.modality != "CT" or not _in_hu(volume):
        return ""
    mean = float(drawn_structure.voxels.of_grid(volume.intensities).mean(dtype=np.float64))
    if mean in expected:
        return ""
    return (
        f"its mean of {mean:.0f} HU is outside the {expected.low:g} to {expected.high:g} HU that "
        "are expected of it on CT"
    )


def _in_hu(volume: SourceVolume) -> bool:
    """Files other than DICOM name no unit: those without air's values were windowed."""
    if volume.frames:
        return volume.unit == HOUNSFIELD_UNIT
    return float(volume.intensities.min()) < _AIR_BELOW_HU
