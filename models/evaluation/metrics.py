"""How far a mask is from the truth: overlap, surfaces, volume. MONAI computes them.

Two empty masks agree: the structure was rightly said to be absent. An empty mask against one with
voxels agrees in nothing: Dice, IoU and NSD are 0, and HD95 is the diagonal of the image, the
farthest that two surfaces in it can lie apart; a failure must not raise a mean by its absence.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

SpacingMm = tuple[float, float, float]
"""Distances between voxel centres along (z, y, x), mm."""


@dataclass(frozen=True)
class Quality:
    """A mask against the truth: `dice`, `iou` and `nsd` in 0..1, `hd95_mm` the larger of the two
    directions' 95th percentiles of surface distance, `volume_error_ml` and `volume_error_share`
    (of the truth's volume) without a sign. None where it means nothing: millimetres without a known
    spacing, millilitres of a single slice, a share of nothing.
    """

    dice: float
    iou: float
    nsd: float | None
    hd95_mm: float | None
    volume_error_ml: float | None
    volume_error_share: float | None


def quality(
    mask: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    spacing_mm: SpacingMm | None,
    tolerance_mm: float,
) -> Quality:
    """Judge a mask (z, y, x) bool by the truth of the same shape; a single slice is judged in its
    plane. `spacing_mm` None: not known. ValueError for another shape.
    """
    if mask.shape != truth.shape:
        raise ValueError(f"a mask of {mask.shape} cannot be compared with a truth of {truth.shape}")
    voxels, true_voxels = int(np.count_nonzero(mask)), int(np.count_nonzero(truth))
    error = abs(voxels - true_voxels)
    share = error / true_voxels if true_voxels else None
    dice, iou = overlap(mask, truth)
    if spacing_mm is None:
        return Quality(dice, iou, None, None, None, share)
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    return Quality(
        dice,
        iou,
        surface_dice(mask, truth, spacing_mm, tolerance_mm),
        hd95_mm(mask, truth, spacing_mm),
        error * voxel_ml if mask.shape[0] > 1 else None,
        share,
    )


def overlap(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[float, float]:
    """Dice and IoU of two masks of one shape; 1 and 1 for two empty ones."""
    from monai.metrics.meandice import compute_dice
    from monai.metrics.meaniou import compute_iou

    either = mask | truth
    if not either.any():
        return 1.0, 1.0
    window = _window(either)
    first, second = _batch(mask[window]), _batch(truth[window])
    # without `ignore_empty` an empty truth gives 0 for a mask with voxels, as it must
    dice = compute_dice(first, second, ignore_empty=False)
    iou = compute_iou(first, second, ignore_empty=False)
    return float(dice), float(iou)


def surface_dice(
    mask: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    spacing_mm: SpacingMm,
    tolerance_mm: float,
) -> float:
    """NSD: the share of both surfaces (lengths of outlines in a single slice) that lies within
    `tolerance_mm` of the other; 1 for two empty masks, 0 where one is empty.

    Surface elements and their areas as in the package surface-distance, by which the challenges
    count.
    """
    from monai.metrics.surface_dice import compute_surface_dice

    if not (mask.any() and truth.any()):
        return float(mask.any() == truth.any())
    first, second, spacing = _surfaces(mask, truth, spacing_mm)
    with _without_warnings_of_monai():
        share = compute_surface_dice(
            first,
            second,
            [tolerance_mm],
            include_background=True,
            spacing=spacing,
            use_subvoxels=True,
        )
    return float(share)


def hd95_mm(mask: NDArray[np.bool_], truth: NDArray[np.bool_], spacing_mm: SpacingMm) -> float:
    """95 % Hausdorff distance of the edge voxels, mm; 0 for two empty masks, the diagonal of the
    image where one is empty.
    """
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance

    if not (mask.any() and truth.any()):
        sides_mm = np.multiply(mask.shape, spacing_mm)[1 if mask.shape[0] == 1 else 0 :]
        return 0.0 if mask.any() == truth.any() else float(np.linalg.norm(sides_mm))
    first, second, spacing = _surfaces(mask, truth, spacing_mm)
    with _without_warnings_of_monai():
        distance = compute_hausdorff_distance(
            first, second, include_background=True, percentile=95, spacing=spacing
        )
    return float(distance)


@contextmanager
def _without_warnings_of_monai() -> Iterator[None]:
    """MONAI 1.6 calls itself with an argument that it deprecates."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*always_return_as_numpy", FutureWarning)
        yield


def _window(either: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The box round what is True, so that a small structure in a large volume costs little. A voxel
    at its border lies at the edge of its mask all the same: beyond it both masks are empty.
    """
    spans = []
    for axis in range(either.ndim):
        others = tuple(other for other in range(either.ndim) if other != axis)
        filled = np.flatnonzero(either.any(axis=others))
        spans.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(spans)


def _surfaces(
    mask: NDArray[np.bool_], truth: NDArray[np.bool_], spacing_mm: SpacingMm
) -> tuple[torch.Tensor, torch.Tensor, list[float]]:
    """Two masks with voxels as MONAI takes them, and the spacing of their axes; a single slice has
    two axes.
    """
    if mask.shape[0] == 1:
        mask, truth = mask[0], truth[0]
    window = _window(mask | truth)
    return _batch(mask[window]), _batch(truth[window]), list(spacing_mm[-mask.ndim :])


def _batch(mask: NDArray[np.bool_]) -> torch.Tensor:
    """A mask as MONAI takes it: (1, 1, ...) float32."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32))[None, None]
