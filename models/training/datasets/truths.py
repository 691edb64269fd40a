"""From label maps and masks to truths: each on its image's grid, or named and left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.case import Truth
from agent.geometry import Geometry
from agent.values import Target
from models.training.datasets.dataset import Tell

GRID_TOLERANCE = 0.05  # of the smallest step: affines are stored in single precision


def same_grid(truth: Geometry, image: Geometry) -> bool:
    """Whether a truth's voxels lie where the image's lie."""
    return truth.matches(image, tolerance_mm=GRID_TOLERANCE * min(image.spacing_mm))


def grid_fault(truth: Geometry, image: Geometry) -> str:
    """Why a truth does not lie on its image's grid, in a sentence; empty where it does."""
    if truth.shape != image.shape:
        return f"its shape (z, y, x) is {truth.shape} and that of its image {image.shape}."
    return "" if same_grid(truth, image) else "its affine is another than that of its image."


def truths_of_labels(
    labels: NDArray[Any], targets: Mapping[int, Target], file: str, tell: Tell
) -> tuple[Truth, ...]:
    """A truth for each of `targets` (by label value) in a label map (z, y, x) of whole numbers.

    A structure without a voxel is absent. Values without a target, and a structure that fills the
    whole image, are told and left out.
    """
    values, counts = np.unique(labels, return_counts=True)
    sizes = dict(zip(values.tolist(), counts.tolist(), strict=True))
    unknown = [value for value in sizes if value != 0 and value not in targets]
    if unknown:
        tell(file, f"its values {unknown[:5]} stand for no structure; they are left out.")
    truths = []
    for value, target in targets.items():
        if sizes.get(value) == labels.size:
            tell(file, f"the truth of {target.text} fills the whole image.")
        elif value in sizes:
            truths.append(Truth(target, labels == value))
        else:
            truths.append(Truth(target, nowhere(labels.shape)))
    return tuple(truths)


def truth_of_mask(
    mask: NDArray[np.bool_], target: Target, file: str, tell: Tell
) -> tuple[Truth, ...]:
    """The truth of a mask (z, y, x) bool, none where it fills the whole image."""
    if mask.all():
        tell(file, f"the truth of {target.text} fills the whole image.")
        return ()
    return (Truth(target, mask if mask.any() else nowhere(mask.shape)),)


def nowhere(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A mask without a voxel, which takes no memory."""
    return np.broadcast_to(np.False_, shape)
