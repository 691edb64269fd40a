"""The one place where masks are tidied: holes filled, specks dropped.

A slice's mask is tidied as soon as the segmenter has answered, so that scores, carried masks and
boxes all speak of the same mask; the whole object once more at the end. Islands are judged by
their share of the largest one, because a structure may truly lie in several parts (both lungs, a
stomach cut twice by one slice).
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
    """A slice's mask (rows, columns) bool with holes filled and specks dropped; islands touch by edges."""
    if not mask.any():
        return mask
    window = ndimage.find_objects(mask.astype(np.uint8))[0]
    tidy = np.zeros_like(mask)
    tidy[window] = _without_specks(_filled(mask[window]))
    return tidy


def tidy_object(voxels: NDArray[np.bool_], key_slices: Iterable[int]) -> NDArray[np.bool_]:
    """The object (z, y, x) bool without the parts that were never looked at in full.

    The largest part stays, and each further one that is no speck and reaches a key slice. Voxels
    touch by face, edge or corner, for thin structures run obliquely from slice to slice.
    """
    labels, count = ndimage.label(voxels, structure=np.ones((3, 3, 3)))
    if count < 2:
        return voxels
    sizes = _sizes(labels, count)
    on_key = np.unique([part for z in key_slices for part in np.unique(labels[z])])
    keep = sizes >= LEAST_SHARE * sizes.max()
    keep[[part for part in range(1, count + 1) if part not in on_key]] = False
    keep[sizes.argmax()] = True
    return np.asarray(keep[labels])


def _filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Everything that the outside cannot reach by pixels' edges; labelling is far faster than filling."""
    background, _ = ndimage.label(np.pad(~mask, 1, constant_values=True))
    return np.asarray(background != background[0, 0])[1:-1, 1:-1]


def _without_specks(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, count = ndimage.label(mask)
    sizes = _sizes(labels, count)
    return np.asarray((sizes >= LEAST_SHARE * sizes.max())[labels] & (labels > 0))


def _sizes(labels: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Voxels of each part by label; the background, label 0, counts as nothing."""
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    return sizes
