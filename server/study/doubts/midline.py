"""Which half of the body a mask lies in: the body's middle, from left to right, by its own mask.

Only where the view shows the body from side to side: in a view of a part, the middle of what is
seen is not that of the patient.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicom_node.values import SourceVolume
from dicom_node.voxels import Voxels

_FINEST = 72  # voxels along an axis that are looked at: a body of 400 mm in steps of 6
_BODY_HU = -300.0  # between fat and lung
_BODY_SHARE = 0.12  # of the brightest hundredth, where the unit is unknown (MR): above noise
_MOST_AT_SIDE = 0.12  # of a side of the view: body there means that more of it lies beyond
_LEAST_BODY = 0.02  # of the view: less is no body


def share_left(voxels: Voxels, volume: SourceVolume) -> float | None:
    """The share of a mask on the patient's left half of the body, 0..1.

    None where the middle is not known: on single images, on modalities other than CT and MR, and
    where the view cuts the body at its left or right.
    """
    middle_mm = _middle_mm(volume, voxels)
    if middle_mm is None:
        return None
    return float(np.mean(_left_mm(volume, np.argwhere(voxels.box) + voxels.origin) > middle_mm))


def _middle_mm(volume: SourceVolume, voxels: Voxels) -> float | None:
    """The LPS x of the body's centroid at the height of the mask, mm; None where not known."""
    if volume.single_image or volume.modality not in ("CT", "MR"):
        return None
    steps = [max(1, -(-size // _FINEST)) for size in volume.intensities.shape]
    grid = tuple(slice(None, None, step) for step in steps)
    coarse = np.asarray(volume.intensities[grid], dtype=np.float32)
    body = _largest_part(coarse > _threshold(volume, coarse))
    indices = np.argwhere(body) * steps
    if len(indices) < _LEAST_BODY * body.size or _cut_at_side(body, volume.affine_zyx_to_lps):
        return None
    height_mm = _height_mm(volume, indices)
    mask_mm = _height_mm(volume, _corners(voxels))
    near = (height_mm >= mask_mm.min()) & (height_mm <= mask_mm.max())
    # a thin mask may lie between two of the slices that are looked at: then the whole body counts
    return float(_left_mm(volume, indices[near] if near.any() else indices).mean())


def _threshold(volume: SourceVolume, coarse: NDArray[np.float32]) -> float:
    if volume.modality == "CT":
        return _BODY_HU
    return _BODY_SHARE * float(np.percentile(coarse, 99))


def _largest_part(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without table, blankets and arms that lie apart."""
    labels, count = ndimage.label(inside)
    if count == 0:
        return inside
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax())


def _cut_at_side(body: NDArray[np.bool_], affine: NDArray[np.float64]) -> bool:
    """Whether the body goes on beyond the left or the right side of the view."""
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    axis = int(np.abs(cosines[0]).argmax())  # of the array, the one nearest to left and right
    sides = (body.take(0, axis=axis), body.take(-1, axis=axis))
    return any(float(side.mean()) > _MOST_AT_SIDE for side in sides)


def _corners(voxels: Voxels) -> NDArray[np.int64]:
    """The indices (8, 3) of a box's corners."""
    first, last = np.array(voxels.origin), np.add(voxels.origin, voxels.box.shape) - 1
    return np.array([np.where(np.array(corner), last, first) for corner in np.ndindex(2, 2, 2)])


def _left_mm(volume: SourceVolume, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """LPS x of voxels (n, 3): how far to the left, mm."""
    affine = volume.affine_zyx_to_lps
    return np.asarray(indices @ affine[0, :3] + affine[0, 3])


def _height_mm(volume: SourceVolume, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """LPS z of voxels (n, 3): how far up, mm."""
    affine = volume.affine_zyx_to_lps
    return np.asarray(indices @ affine[2, :3] + affine[2, 3])
