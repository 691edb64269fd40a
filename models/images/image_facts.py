"""How the slices of an image lie in the patient, as far as that is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.values import ImageFacts, Volume

_ALONG = 0.8  # cosine: an axis further than 37 degrees from the patient's has no name
# the axes of LPS: what lies where each begins and where it ends, and the plane across it
_ENDS = (("right", "left"), ("front", "back"), ("feet", "head"))
_PLANES = ("sagittal", "coronal", "axial")


def facts_of(volume: Volume) -> ImageFacts:
    """What is known of the slices of `volume`; nothing of one that is not placed but its scale and
    contrast.
    """
    if not volume.placed:
        return ImageFacts(sized=volume.sized, contrast=volume.contrast)
    columns = volume.geometry.affine_zyx_to_lps[:3, :3]
    axes = [_axis_along(columns[:, axis]) for axis in range(3)]
    through, down, across = axes
    return ImageFacts(
        plane="" if through is None else _PLANES[abs(through) - 1],
        left=_beginning(across),
        top=_beginning(down),
        sized=volume.sized,
        contrast=volume.contrast,
    )


def _axis_along(column: NDArray[np.float64]) -> int | None:
    """Which of the axes of LPS, counted from 1, a step in mm runs along, negative where against it;
    None where it runs between them.
    """
    cosines = column / np.linalg.norm(column)
    nearest = int(np.abs(cosines).argmax())
    if abs(cosines[nearest]) < _ALONG:
        return None
    return (nearest + 1) * (1 if cosines[nearest] > 0 else -1)


def _beginning(axis: int | None) -> str:
    """What of the patient lies where `axis` begins, "" where nobody can say."""
    if axis is None:
        return ""
    first, last = _ENDS[abs(axis) - 1]
    return first if axis > 0 else last
