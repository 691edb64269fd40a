"""The masks of the fake segmenters (agent/fakes.py), as pure functions of arrays.

Images are (rows, columns), volumes (z, y, x), float32 in 0..1; masks are bool of the same shape.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from agent.errors import SegmenterFailed
from agent.values import Box, VoxelBox

PROPAGATION_TOLERANCE = 0.05
"""Intensities this near an outline's median are of its object."""

CLICK_RADIUS_PX = 3.0
"""How far a click reaches, in pixels or voxels."""

_TOLERANCE = 0.025  # intensities this near the box's centre belong to the structure
_LOW_RES = 64  # side of the fake's logits


def bright_as_centre(image: NDArray[np.float32], box: Box) -> NDArray[np.bool_]:
    """The largest island in `box` of pixels as bright as the median of the box's inner half."""
    x0, x1 = int(np.ceil(box.x0)), int(np.floor(box.x1)) + 1
    y0, y1 = int(np.ceil(box.y0)), int(np.floor(box.y1)) + 1
    mask = np.zeros(image.shape, dtype=np.bool_)
    inner = image[
        (3 * y0 + y1) // 4 : (y0 + 3 * y1) // 4 + 1, (3 * x0 + x1) // 4 : (x0 + 3 * x1) // 4 + 1
    ]
    if inner.size:
        smooth = ndimage.median_filter(image[y0:y1, x0:x1], 3)
        mask[y0:y1, x0:x1] = np.abs(smooth - np.median(inner)) <= _TOLERANCE
    return largest_island(mask)


def bright_in_volume(volume: NDArray[np.float32], box: VoxelBox) -> NDArray[np.bool_]:
    """All voxels as bright as the centre of `box` that are connected to it by faces.

    SegmenterFailed for a box with slices outside the volume.
    """
    middle = (box.z0 + box.z1) // 2
    if box.z0 < 0 or box.z1 >= len(volume):
        raise SegmenterFailed(f"a box on slices {box.z0} to {box.z1}: there are {len(volume)}")
    seed = bright_as_centre(volume[middle], Box(box.x0, box.y0, box.x1, box.y1))
    if not seed.any():
        return np.zeros(volume.shape, dtype=np.bool_)
    labels, _ = ndimage.label(
        np.abs(volume - np.median(volume[middle][seed])) <= PROPAGATION_TOLERANCE
    )
    return np.asarray(np.isin(labels, np.setdiff1d(labels[middle][seed], 0)))


def ball(shape: tuple[int, int, int], centre: Sequence[float]) -> NDArray[np.bool_]:
    """The voxels within CLICK_RADIUS_PX of `centre` (z, y, x); SegmenterFailed outside `shape`."""
    if not all(0 <= index < size for index, size in zip(centre, shape, strict=True)):
        raise SegmenterFailed(f"a prompt at {tuple(centre)} lies outside the volume {shape}")
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    squared = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2
    return np.asarray(squared <= CLICK_RADIUS_PX**2)


def largest_island(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The part of a mask with the most pixels, connected by edges; the mask itself if empty."""
    labels, count = ndimage.label(mask)
    if not count:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax())


def overlapping_island(
    bright: NDArray[np.bool_], before: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], float]:
    """The island that shares most pixels with `before`, and their overlap, 0..1 of the smaller."""
    labels, count = ndimage.label(ndimage.binary_opening(bright))
    shared = np.bincount(labels[before], minlength=count + 1)
    shared[0] = 0
    if not shared.any():
        return np.zeros_like(before), 0.0
    mask = np.asarray(labels == shared.argmax())
    return mask, float(shared.max() / min(np.count_nonzero(mask), np.count_nonzero(before)))


def filled_share(mask: NDArray[np.bool_]) -> float:
    """Share of the tight box of a mask of any dimensions that is filled; 0 for an empty one."""
    if not mask.any():
        return 0.0
    sides = [int(np.ptp(indices)) + 1 for indices in np.nonzero(mask)]
    return float(np.count_nonzero(mask) / np.prod(sides))


def low_res(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Nearest pixels at the fake's low resolution, (64, 64) float32."""
    rows = np.arange(_LOW_RES) * image.shape[0] // _LOW_RES
    columns = np.arange(_LOW_RES) * image.shape[1] // _LOW_RES
    return np.asarray(image[np.ix_(rows, columns)], dtype=np.float32)
