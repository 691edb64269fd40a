"""The one place where masks are tidied: holes filled, specks dropped.

A slice's mask is tidied as soon as the segmenter has answered, so that scores, propagated masks and
boxes are all of the same mask; the whole object is tidied once more at the end. An island is a
speck by its share of the largest island, not by its size: a structure may lie in several parts
(both lungs, a stomach that a slice cuts twice).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

LEAST_SHARE = 0.1
"""Islands smaller than this share of the largest are specks."""


def tidy_slice(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A slice's mask (rows, columns) bool with holes filled and specks dropped.

    Pixels of an island touch by their edges (4-connected).
    """
    if not mask.any():
        return mask
    window = _window(mask)
    tidy = np.zeros_like(mask)
    tidy[window] = _without_specks(_filled(mask[window]))
    return tidy


def tidy_object(voxels: NDArray[np.bool_], trusted_slices: Iterable[int]) -> NDArray[np.bool_]:
    """The object (z, y, x) bool without the parts that no trusted slice shows.

    The largest part stays, and each further one that is no speck and reaches a slice that the
    planner answers for, one of `trusted_slices`. Voxels of a part touch by face, edge or corner
    (26-connected), as oblique thin structures do.
    """
    window = _window(voxels)
    labels, count = ndimage.label(voxels[window], structure=np.ones((3, 3, 3)))
    if count < 2:
        return voxels
    sizes = _sizes(labels, count)
    keep = np.zeros(count + 1, dtype=np.bool_)
    for z in trusted_slices:
        z_in_window = z - window[0].start
        if 0 <= z_in_window < len(labels):
            keep[np.unique(labels[z_in_window])] = True
    keep &= sizes >= LEAST_SHARE * sizes.max()
    keep[sizes.argmax()] = True
    tidy = np.zeros_like(voxels)
    tidy[window] = keep[labels]  # `keep` by label: the background's is False
    return tidy


def _window(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The bounding box of a mask as slices: labelling more would cost time and memory."""
    spans = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        spans.append(slice(int(filled[0]), int(filled[-1]) + 1) if filled.size else slice(0, 0))
    return tuple(spans)


def _filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """All that the outside cannot reach over pixels' edges: everything but the background's part
    that touches the frame. One labelling is far faster than a fill that iterates.
    """
    background, _ = ndimage.label(np.pad(~mask, 1, constant_values=True))
    return np.asarray(background != background[0, 0])[1:-1, 1:-1]


def _without_specks(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, count = ndimage.label(mask)
    sizes = _sizes(labels, count)
    return np.asarray((sizes >= LEAST_SHARE * sizes.max())[labels] & (labels > 0))


def _sizes(labels: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Voxels of each part by label; the background, label 0, has none."""
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    return sizes
