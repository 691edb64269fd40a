"""A label map on the grid of its image, where both have the same voxels in another order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.geometry import Geometry
from models.training.datasets.truths import same_grid

_OFF_AXIS = 0.05  # of a step, over the whole length of an axis


def turned_onto(voxels: NDArray[Any], stored: Geometry, grid: Geometry) -> NDArray[Any]:
    """`voxels` (z, y, x), which lie on `stored`, in the order of `grid`: axes exchanged and
    mirrored, no value changed. ValueError where the voxels of both do not fall together.
    """
    onto = np.linalg.inv(grid.affine_zyx_to_lps) @ stored.affine_zyx_to_lps
    steps = np.rint(onto[:3, :3]).astype(int)
    off = np.abs(onto[:3, :3] - steps) * np.array(stored.shape)
    if off.max() > _OFF_AXIS or not (np.abs(steps).sum(axis=0) == 1).all():
        raise ValueError("its axes are not those of its image")
    order = [int(np.abs(steps[axis]).argmax()) for axis in range(3)]
    if sorted(order) != [0, 1, 2]:
        raise ValueError("its axes are not those of its image")
    turned = np.transpose(voxels, order)
    falling = tuple(axis for axis in range(3) if steps[axis].sum() < 0)
    columns = stored.affine_zyx_to_lps[:, [*order, 3]].copy()
    for axis in falling:
        columns[:, 3] += columns[:, axis] * (turned.shape[axis] - 1)
        columns[:, axis] *= -1
    depth, rows, width = turned.shape
    if not same_grid(Geometry((depth, rows, width), columns), grid):
        raise ValueError(f"its shape {voxels.shape} or place is another than that of its image")
    return np.flip(turned, falling)
