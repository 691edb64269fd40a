"""Dice against the sample's reference mask, brought to the source grid by affine, not index."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def reference_labels_on(
    reference: Path, shape: tuple[int, int, int], affine_zyx_to_lps: NDArray[np.float64]
) -> NDArray[np.int16]:
    """A NIfTI label map read at the voxel centres of a grid: (z, y, x) int16, 0 outside the map.

    `affine_zyx_to_lps` is the grid's; NIfTI's own affine maps (i, j, k) to RAS mm.
    """
    image = nibabel.nifti1.Nifti1Image.from_filename(reference)
    labels = np.asarray(image.dataobj).astype(np.int16)
    index_from_zyx = np.linalg.inv(image.affine) @ RAS_FROM_LPS @ affine_zyx_to_lps
    return np.asarray(
        ndimage.affine_transform(
            labels, index_from_zyx, output_shape=shape, order=0, mode="constant", cval=0
        )
    )


def dice(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Twice the overlap over the sum of both; 1.0 where both are empty.

    >>> dice(np.array([True, True, False]), np.array([True, False, False]))
    0.6666666666666666
    """
    total = np.count_nonzero(mask) + np.count_nonzero(other)
    return 1.0 if total == 0 else float(2 * np.count_nonzero(mask & other) / total)
